//! Landscapes that left the configuration give their networks back, once nothing of them runs any more.

use std::collections::HashSet;
use std::io;

use super::ground;
use super::network::PrivateNetwork;
use crate::landscape::LandscapeId;

impl PrivateNetwork {
    /// Whether a piece of the subnets is a landscape's that needs it no more.
    pub(super) fn has_departed(&self) -> bool {
        self.known.lock().landscapes.values().any(|l| l.has_departed() && l.net.is_some())
    }

    /// Forgets landscapes that have departed, and removes bridges that no replica is on but those of the
    /// others; so, too, what an earlier router left. An engine's network goes with the engine's word.
    pub(super) async fn sweep(&self) {
        // Whoever joins has its bridge made in the same turn, or finds that its piece is not its own any more.
        let _one = self.turn().await;
        let (departed, cables, kept) = {
            let mut known = self.known.lock();
            let departed = known.landscapes.iter().filter(|(_, l)| l.has_departed());
            let departed: Vec<LandscapeId> = departed.map(|(id, _)| id.clone()).collect();
            let mut cables = Vec::new();
            for id in &departed {
                cables.extend(known.give_up(id).iter().map(|address| self.cable(*address)));
            }
            let stay = known.landscapes.iter().filter(|(_, l)| !l.has_departed());
            let kept: HashSet<String> = stay.map(|(id, _)| self.segment_name(id, false)).collect();
            (departed, cables, kept)
        };
        for id in &departed {
            self.leave(id, false);
        }
        let (at, instance) = (self.at.clone(), self.instance().to_owned());
        let remove = move || {
            let cut = cables.iter().map(|cable| ground::cut(cable)).fold(Ok(()), Result::and);
            cut.and(ground::remove_unused(&instance, &kept))
        };
        let removed = tokio::task::spawn_blocking(move || at.within(remove)).await;
        if let Err(e) = removed.map_err(io::Error::other).flatten() {
            tracing::warn!("networks of removed landscapes stay for now: {e}");
        }
    }
}
