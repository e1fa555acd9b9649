//! Replicas' seats on the private network: a landscape's own piece of the subnets, an address in it, and
//! the cable that leads there.

use std::io;
use std::net::Ipv4Addr;

use async_trait::async_trait;
use ipnet::Ipv4Net;

use super::addresses::hash;
use super::ground;
use super::network::{Known, PrivateNetwork};
use super::rejoin::interface;
use crate::backend::{Attached, Network};
use crate::landscape::LandscapeId;

/// Landscapes' networks are of this size.
const PIECE: u8 = 24;

impl PrivateNetwork {
    /// The landscape's network for processes, chosen if there is none yet.
    fn net(&self, id: &LandscapeId) -> io::Result<Ipv4Net> {
        let known = |known: &Known| known.landscapes.get(id).and_then(|l| l.net);
        if let Some(net) = known(&self.known.lock()) {
            return Ok(net);
        }
        // Asked now: another router of this machine may have begun since we did, and an earlier one of ours may
        // have left the bridge of a landscape that sleeps.
        let taken = self.at.within(|| ground::taken_beside(&self.segment_name(id, false)))?;
        let mut used: Vec<Ipv4Net> = taken.into_iter().map(|taken| taken.net).collect();
        used.push(self.range);
        let mut all = self.known.lock();
        if let Some(net) = known(&all) {
            return Ok(net);
        }
        used.extend(all.landscapes.values().filter_map(|l| l.net));
        let pieces = self.settings.subnets.iter().flat_map(|net| net.subnets(PIECE));
        let pieces: Vec<Ipv4Net> = pieces.flatten().collect();
        let net = piece(&pieces, &format!("{}/{id}", self.instance()), &used).ok_or_else(|| {
            io::Error::other("private.subnets has no network left for another landscape: add one that is free here")
        })?;
        all.landscape(id).net = Some(net);
        Ok(net)
    }

    /// A free address in the landscape's network, and whether a replica had it that has ended since.
    fn take(&self, id: &LandscapeId, net: Ipv4Net) -> io::Result<(Ipv4Addr, bool)> {
        let mut known = self.known.lock();
        let landscape = known.landscape(id);
        if landscape.net != Some(net) {
            return Err(io::Error::other(format!("the landscape was removed meanwhile, and {net} is not its own")));
        }
        // The first one is the bridge's.
        let address = net.hosts().skip(1).find(|address| !landscape.taken.contains(address));
        let address = address.ok_or_else(|| io::Error::other(format!("all addresses of {net} are in use")))?;
        landscape.taken.insert(address);
        Ok((address, landscape.ended.remove(&address)))
    }

    /// This machine's end of the cable to the replica with this address.
    pub(super) fn cable(&self, address: Ipv4Addr) -> String {
        interface("lc", &[self.instance(), &address.to_string()])
    }

    /// The landscape's bridge for processes.
    async fn bridge(&self, id: &LandscapeId, net: Ipv4Net) -> io::Result<(String, Ipv4Net)> {
        let name = self.segment_name(id, false);
        let gateway = ground::gateway_of(net).ok_or_else(|| io::Error::other(format!("{net} is too small")))?;
        let _one = self.turn().await;
        if let Some(ground) = &*self.ground.lock() {
            self.at.within(|| ground.ensure_bridge(&name, gateway))?;
        }
        self.join_in_turn(id, false, &name, gateway).await?;
        Ok((name, gateway))
    }
}

/// One of `pieces` that overlaps none of `used`: where the name leads, else the next one.
fn piece(pieces: &[Ipv4Net], name: &str, used: &[Ipv4Net]) -> Option<Ipv4Net> {
    let start = usize::try_from(hash(name) % pieces.len().max(1) as u64).unwrap_or(0);
    let (before, from) = pieces.split_at(start);
    ground::pick_range(&[from, before].concat(), used)
}

#[async_trait]
impl Network for PrivateNetwork {
    fn lacks_egress(&self) -> bool {
        self.settings.egress && self.hub().is_some()
    }

    async fn attach(&self, landscape: &LandscapeId) -> io::Result<Attached> {
        let has_net = self.known.lock().landscapes.get(landscape).is_some_and(|l| l.net.is_some());
        if !has_net && self.has_departed() {
            self.sweep().await;
        }
        let net = self.net(landscape)?;
        let (bridge, gateway) = self.bridge(landscape, net).await?;
        loop {
            let (address, had) = self.take(landscape, net)?;
            let (cable, bridge) = (self.cable(address), bridge.clone());
            let make = move || {
                if had {
                    ground::cut(&cable)?;
                }
                ground::attach(&bridge, net, address, &cable)
            };
            let at = self.at.clone();
            let made = tokio::task::spawn_blocking(move || at.within(make)).await;
            match made.map_err(io::Error::other).flatten() {
                Ok(namespace) => {
                    let hub = self.hub().cloned();
                    return Ok(Attached { namespace, address, resolver: gateway.addr(), hub });
                }
                // A replica has it that an earlier router made, and that is still to be found.
                Err(error) if !had && error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    self.release(landscape, address);
                    return Err(error);
                }
            }
        }
    }

    async fn keep(&self, landscape: &LandscapeId, address: Ipv4Addr) -> io::Result<()> {
        let net = Ipv4Net::new(address, PIECE).map_err(io::Error::other)?.trunc();
        {
            let mut known = self.known.lock();
            let kept = known.landscape(landscape);
            kept.net.get_or_insert(net);
            kept.taken.insert(address);
        }
        self.bridge(landscape, net).await.map(drop)
    }

    fn release(&self, landscape: &LandscapeId, address: Ipv4Addr) {
        if let Some(landscape) = self.known.lock().landscapes.get_mut(landscape) {
            landscape.taken.remove(&address);
            landscape.ended.insert(address);
        }
    }

    fn bridge_name(&self, landscape: &LandscapeId) -> String {
        self.segment_name(landscape, true)
    }

    async fn bridged(&self, landscape: &LandscapeId, gateway: Ipv4Net) -> io::Result<Ipv4Addr> {
        self.join(landscape, true, &self.bridge_name(landscape), gateway).await?;
        Ok(gateway.addr())
    }

    async fn unbridged(&self, landscape: &LandscapeId) {
        self.leave(landscape, true);
        if let Err(e) = self.settle().await {
            tracing::warn!("the private network could not be changed: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_nobody_elses() {
        let range: Ipv4Net = "10.214.0.0/22".parse().unwrap();
        let pieces: Vec<Ipv4Net> = range.subnets(PIECE).unwrap().collect();
        let mut used: Vec<Ipv4Net> = vec!["10.214.1.1/26".parse().unwrap()];
        while let Some(next) = piece(&pieces, "a/shop", &used) {
            assert!(next != pieces[1] && !used.contains(&next), "{next}");
            used.push(next);
        }
        assert_eq!(used.len(), pieces.len());
    }
}
