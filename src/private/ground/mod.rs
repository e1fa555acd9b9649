//! The ground that the private network stands on: everything that touches this machine's kernel.
//!
//! [`rights`] says what is possible. [`Ground::open`] makes a range of virtual addresses local by one
//! route, so that a socket can be bound to any of them. A landscape's processes share a bridge
//! ([`Ground::ensure_bridge`]), each replica in a namespace of its own ([`attach()`]); containers have a
//! bridge of the engine's. On each bridge the router listens at virtual addresses ([`listen_tcp`]), and
//! [`filter::render`] and [`apply`] fence what may pass besides. Connections to a replica may also be
//! made from inside its [`Namespace`].
//!
//! Everything here blocks, for milliseconds at most where it does not say otherwise, and speaks of the
//! namespace of the calling thread. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN, and
//! CAP_SYS_PTRACE to find the namespace of a replica: on this machine, or in a user namespace ([`user`]),
//! where a hub takes the machine's place ([`Place`]). IPv4 only.

mod attach;
mod engine_rules;
pub mod filter;
pub mod hosts_file;
mod hub;
mod links;
mod listen;
mod mounts;
mod names;
mod namespace;
mod nft;
mod ranges;
mod survey;
#[cfg(test)]
mod tests;
pub mod user;
mod wire;

use std::collections::{HashMap, HashSet};
use std::io;

use ipnet::Ipv4Net;

pub use attach::{attach, gateway_of};
pub use engine_rules::allow_through_docker;
pub use hub::{Place, hub_of, keep_hub, new_hub};
pub use listen::{bind_udp, device_of, listen_tcp};
pub use mounts::{own_mounts, show};
pub use names::bridge_name;
pub use namespace::Namespace;
pub use nft::apply;
pub use ranges::{Taken, overlap, pick_range};
use survey::RIGHTS;
pub use survey::{Lack, Survey, forward, may_forward, rights};
use wire::Wire;

/// The kernel's number of an interface.
pub fn index_of(interface: &str) -> io::Result<u32> {
    let link = Wire::open()?.link(interface)?;
    link.map(|link| link.index)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {interface}")))
}

/// Removes an interface: a bridge, or this end of a cable whose other end is in a namespace that nothing is left
/// of, where the kernel takes its time to do so. That it is gone already is no error.
pub fn cut(interface: &str) -> io::Result<()> {
    let mut wire = Wire::open()?;
    match wire.link(interface)? {
        Some(link) => wire.remove_link(link.index).or_else(gone),
        None => Ok(()),
    }
}

/// The bridges that anything is on, whoever made them, each with its address and the size of its net.
pub fn bridges_in_use() -> io::Result<HashMap<String, Ipv4Net>> {
    let mut wire = Wire::open()?;
    let links = wire.links()?;
    let used: HashSet<u32> = links.iter().filter_map(|link| link.bridge).collect();
    let bridges = links.into_iter().filter(|link| link.is_bridge && used.contains(&link.index));
    let addresses = wire.addresses()?;
    let address = |of: u32| addresses.iter().find(|(index, _)| *index == of).map(|(_, address)| *address);
    Ok(bridges.filter_map(|link| Some((link.name, address(link.index)?))).collect())
}

/// A bridge of a router, and the interfaces of cables on it: to replicas, also to those that have ended just now.
struct Bridge {
    name: String,
    cables: Vec<String>,
}

/// The bridges of an instance, also those of earlier routers.
fn bridges_of(instance: &str) -> io::Result<Vec<Bridge>> {
    let links = Wire::open()?.links()?;
    let prefix = names::bridge_prefix(instance);
    let ours = links.iter().filter(|link| link.is_bridge && link.name.starts_with(&prefix));
    let on = |bridge: u32| links.iter().filter(move |link| link.bridge == Some(bridge)).map(|link| link.name.clone());
    Ok(ours.map(|link| Bridge { name: link.name.clone(), cables: on(link.index).collect() }).collect())
}

/// Removes the bridges of an instance that no replica is on, but those that are `kept`. The first failure is told,
/// after all were tried.
pub fn remove_unused(instance: &str, kept: &HashSet<String>) -> io::Result<()> {
    let all = bridges_of(instance)?.into_iter();
    let unused = all.filter(|bridge| bridge.cables.is_empty() && !kept.contains(&bridge.name));
    unused.map(|bridge| cut(&bridge.name)).fold(Ok(()), Result::and)
}

fn gone(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::ENODEV) { Ok(()) } else { Err(error) }
}

/// The addresses that this machine uses beside those of `instance`: what [`pick_range`] must avoid.
pub fn taken(instance: &str) -> io::Result<Vec<Taken>> {
    ranges::taken(&mut Wire::open()?, &names::bridge_prefix(instance))
}

/// The addresses that this machine uses beside those of this one bridge: what its own must avoid.
pub fn taken_beside(bridge: &str) -> io::Result<Vec<Taken>> {
    ranges::taken(&mut Wire::open()?, bridge)
}

/// Whether these ranges are apart and nothing on this machine uses them beside `instance`; of those to `cut`
/// from other routers may have pieces.
pub fn vacant(instance: &str, whole: &[Ipv4Net], cut: &[Ipv4Net]) -> Result<(), Lack> {
    // What this machine uses can be asked by everyone; where not, opening the ground says more.
    ranges::check(whole, cut, &taken(instance).unwrap_or_default())
}

/// The virtual addresses and the bridges of one router's instance.
#[derive(Debug)]
pub struct Ground {
    instance: String,
    range: Ipv4Net,
    loopback: u32,
}

impl Ground {
    /// Makes `range`, the virtual addresses, local. Nothing else of this machine may use it, nor
    /// `subnets`, from which bridges will get theirs; what an earlier router of the instance left is its own,
    /// and what other routers cut from them is theirs.
    pub fn open(instance: &str, range: Ipv4Net, subnets: &[Ipv4Net]) -> Result<Self, Lack> {
        let range = range.trunc();
        let failed =
            |error: io::Error| Lack::new(format!("the private range {range} cannot be made local ({error})"), RIGHTS);
        let mut wire = Wire::open().map_err(failed)?;
        let taken = ranges::taken(&mut wire, &names::bridge_prefix(instance)).map_err(failed)?;
        let cut: Vec<Ipv4Net> = subnets.iter().map(Ipv4Net::trunc).collect();
        ranges::check(&[range], &cut, &taken)?;
        let loopback = wire.link("lo").map_err(failed)?.map_or(1, |link| link.index);
        wire.make_local(range, names::route_metric(instance), loopback).map_err(failed)?;
        Ok(Self { instance: instance.to_owned(), range, loopback })
    }

    /// Sees to a bridge of that name (see [`bridge_name`]) which is up and has `gateway`, an address with
    /// the size of its net, as its only address. Adopts the one of an earlier router.
    pub fn ensure_bridge(&self, name: &str, gateway: Ipv4Net) -> io::Result<()> {
        let mut wire = Wire::open()?;
        let link = match wire.link(name)? {
            Some(link) => link,
            None => {
                wire.make_bridge(name)?;
                wire.link(name)?.ok_or_else(|| io::Error::other(format!("the bridge {name} did not appear")))?
            }
        };
        if !link.is_bridge {
            return Err(io::Error::other(format!(
                "the interface {name} is not a bridge: remove it (ip link del {name})"
            )));
        }
        for (index, address) in wire.addresses()? {
            if index == link.index && address != gateway {
                wire.remove_address(index, address)?;
            }
        }
        wire.add_address(link.index, gateway)?;
        wire.set_up(link.index)
    }

    /// The bridges of this instance, also those of earlier routers: their names, and whether any replica
    /// is on it.
    pub fn bridges(&self) -> io::Result<Vec<(String, bool)>> {
        let all = bridges_of(&self.instance)?;
        Ok(all.into_iter().map(|bridge| (bridge.name, !bridge.cables.is_empty())).collect())
    }

    /// Removes what is unused: cables on its bridges but those that are `kept`, bridges without replicas, and
    /// when none is left, and no `containers` are either, the filters and the route. What replicas that go on
    /// running are fenced with stays. Does what it can; the first failure is told.
    pub fn close(self, kept: &HashSet<String>, containers: bool) -> io::Result<()> {
        let mut result = Ok(());
        let mut keep = |done: io::Result<()>| {
            if result.is_ok() {
                result = done;
            }
        };
        let cables = bridges_of(&self.instance)?.into_iter().flat_map(|bridge| bridge.cables);
        for cable in cables.filter(|cable| !kept.contains(cable)) {
            keep(cut(&cable));
        }
        let mut left = Vec::new();
        for (name, used) in self.bridges()? {
            if used { left.push(name) } else { keep(cut(&name)) }
        }
        if left.is_empty() && !containers {
            keep(apply(&filter::removal(&self.instance)));
            let route = Wire::open()
                .and_then(|mut wire| wire.unmake_local(self.range, names::route_metric(&self.instance), self.loopback));
            keep(route);
        }
        keep(allow_through_docker(&self.instance, &left).map_err(io::Error::other));
        result
    }
}
