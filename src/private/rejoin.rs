//! A router that comes after another one takes up its segments, before anything of theirs is changed.
//!
//! Packet filters are replaced whole: without this a successor's first ones would know no segment, and
//! until it has found every replica these would be without a fence and without a way to each other.

use std::io;

use super::addresses::hash;
use super::ground;
use super::network::PrivateNetwork;
use crate::landscape::LandscapeId;

impl PrivateNetwork {
    /// Has the router's sockets on the bridges of these landscapes that replicas are on already. The filters
    /// are not changed yet.
    pub(super) fn rejoin(&self, landscapes: impl IntoIterator<Item = LandscapeId>) {
        for id in landscapes {
            for by_engine in [false, true] {
                let name = self.segment_name(&id, by_engine);
                if let Err(e) = self.rejoin_one(&id, by_engine, &name) {
                    tracing::warn!(landscape = %id, "what runs there cannot call other services yet: {name}: {e}");
                }
            }
        }
    }

    fn rejoin_one(&self, id: &LandscapeId, by_engine: bool, name: &str) -> io::Result<()> {
        let Some(gateway) = self.within(|| ground::in_use(name))? else { return Ok(()) };
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
