//! A router that comes after another one takes up its segments, before anything of theirs is changed.
//!
//! Packet filters are replaced whole: without this a successor's first ones would know no segment, and
//! until it has found every replica these would be without a fence and without a way to each other.

use std::collections::HashMap;
use std::io;

use ipnet::Ipv4Net;

use super::addresses::hash;
use super::ground;
use super::network::PrivateNetwork;
use crate::landscape::LandscapeId;

impl PrivateNetwork {
    /// Has the router's sockets on the bridges of these landscapes that replicas are on already. The filters
    /// are not changed yet.
    pub(super) async fn rejoin(&self, landscapes: impl IntoIterator<Item = LandscapeId>) {
        let at = self.at.clone();
        let asked = tokio::task::spawn_blocking(move || at.within(ground::bridges_in_use)).await;
        let in_use = asked.map_err(io::Error::other).flatten().unwrap_or_else(|e| {
            tracing::warn!("what runs already cannot call other services yet: {e}");
            HashMap::new()
        });
        for id in landscapes {
            for by_engine in [false, true] {
                let name = self.segment_name(&id, by_engine);
                let Some(gateway) = in_use.get(&name) else { continue };
                if let Err(e) = self.rejoin_one(&id, by_engine, &name, *gateway) {
                    tracing::warn!(landscape = %id, "what runs there cannot call other services yet: {name}: {e}");
                }
            }
        }
    }

    fn rejoin_one(&self, id: &LandscapeId, by_engine: bool, name: &str, gateway: Ipv4Net) -> io::Result<()> {
        if !by_engine {
            self.has_net(id, gateway.trunc());
        }
        self.place(id, by_engine, name, gateway).map(drop)
    }

    /// The name of a landscape's bridge.
    pub(super) fn segment_name(&self, id: &str, by_engine: bool) -> String {
        if by_engine {
            // Not to be taken for one of the router's own.
            interface("le", &[self.instance(), id])
        } else {
            ground::bridge_name(self.instance(), id)
        }
    }
}

/// A name for an interface: at most 15 bytes.
pub(super) fn interface(prefix: &str, parts: &[&str]) -> String {
    format!("{prefix}{:013x}", hash(&parts.join("/")) >> 12)
}
