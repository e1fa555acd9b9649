//! What carries our mark and is not configured here: left over from an earlier configuration, or of a newer one
//! that another router has read already.
//!
//! What was there when this router came is removed: at once where it is the only router, and otherwise when its files
//! have had the time to arrive. What appears later is another router's.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::core::Event;
use super::keeper::Word;
use super::shared::Shared;
use crate::cluster::{KnownMembers, Members};
use crate::landscape::{LandscapeId, ServiceKey};

/// A changed ConfigMap is in every pod by then.
pub(super) const FILES: Duration = Duration::from_secs(180);

/// See the module's words.
#[derive(Default)]
pub(super) struct Strangers(Mutex<Known>);

#[derive(Default)]
struct Known {
    keys: HashSet<ServiceKey>,
    configured: HashSet<ServiceKey>,
    /// Landscapes whose ci.yml cannot be read: what is theirs is not known.
    unreadable: HashSet<LandscapeId>,
    /// Whoever is still a stranger goes.
    due: bool,
}

impl Strangers {
    /// Who is one. Not to be asked for under the mirror's lock.
    pub(super) fn all(&self) -> HashSet<ServiceKey> {
        self.0.lock().keys.clone()
    }
}

impl Shared {
    /// Nobody here looks after it.
    pub(super) fn meet(self: &Arc<Self>, key: &ServiceKey) {
        if self.adopted.load(Ordering::Acquire) {
            return;
        }
        let mut known = self.strangers.0.lock();
        if !known.configured.contains(key) {
            known.keys.insert(key.clone());
            // Before anybody can introduce it: what is said of it then is said later.
            self.say(key, None, Word::Event(Event::Declared(None)));
        }
    }

    /// These are configured, but for landscapes that cannot be read. To be called before anything is said of them.
    pub(super) fn introduce(&self, configured: HashSet<ServiceKey>, unreadable: HashSet<LandscapeId>) {
        let mut known = self.strangers.0.lock();
        known.keys.retain(|key| !configured.contains(key));
        (known.configured, known.unreadable) = (configured, unreadable);
    }

    /// Waits until those that are still strangers are left over.
    pub(super) async fn part_with_strangers(self: Arc<Self>, members: KnownMembers) {
        if self.strangers.0.lock().keys.is_empty() {
            return;
        }
        tokio::select! {
            () = is_alone(members) => {}
            () = tokio::time::sleep(FILES) => {}
        }
        self.strangers.0.lock().due = true;
        self.see_off();
    }

    /// Those go of whom it is known by now that they are left over.
    pub(super) fn see_off(self: &Arc<Self>) {
        let gone: Vec<ServiceKey> = {
            let mut known = self.strangers.0.lock();
            let Known { keys, unreadable, due, .. } = &mut *known;
            keys.extract_if(|key| *due && !unreadable.contains(&key.landscape)).collect()
        };
        for key in gone {
            tracing::info!(service = %key, "is in the cluster and not configured: removed");
            self.say(&key, None, Word::Event(Event::Left));
        }
    }
}

/// Until it is known that there is no other router.
async fn is_alone(mut members: KnownMembers) {
    let alone = |m: &Option<Members>| m.as_ref().is_some_and(|m| m.there.len() == 1);
    if members.wait_for(alone).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};
    use tokio::time::Instant;

    use super::*;
    use crate::backend::kubernetes::manifest::fixtures::settings;

    fn members(there: &[&str]) -> Option<Members> {
        let there = there.iter().map(|&name| name.into()).collect();
        Some(Members { there, run_out: Default::default(), complete: std::time::Instant::now() })
    }

    fn shared() -> Arc<Shared> {
        let shared = Arc::new(Shared::new(settings(), mpsc::unbounded_channel().0));
        shared.meet(&ServiceKey::new("4711", "old"));
        shared
    }

    fn introduce(shared: &Arc<Shared>, configured: HashSet<ServiceKey>, unreadable: HashSet<LandscapeId>) {
        shared.introduce(configured, unreadable);
        shared.see_off();
    }

    fn is_there(shared: &Shared) -> bool {
        shared.strangers.all().contains(&ServiceKey::new("4711", "old"))
    }

    #[tokio::test(start_paused = true)]
    async fn an_only_router_parts_with_what_is_left_over_as_soon_as_it_knows_that_it_is() {
        let shared = shared();
        let (tell, known) = watch::channel(None);
        let parting = tokio::spawn(shared.clone().part_with_strangers(known));
        tokio::time::sleep(Duration::from_secs(1)).await;
        tell.send_replace(members(&["a", "b"]));
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert!(is_there(&shared));
        tell.send_replace(members(&["a"]));
        parting.await.unwrap();
        assert!(!is_there(&shared));
    }

    #[tokio::test(start_paused = true)]
    async fn beside_others_it_waits_for_newer_files() {
        let shared = shared();
        let (_tell, known) = watch::channel(members(&["a", "b"]));
        let began = Instant::now();
        let parting = tokio::spawn(shared.clone().part_with_strangers(known));
        tokio::time::sleep(FILES - Duration::from_secs(1)).await;
        introduce(&shared, HashSet::new(), HashSet::new());
        assert!(is_there(&shared), "reloading is no reason");
        parting.await.unwrap();
        assert_eq!(began.elapsed(), FILES);
        assert!(!is_there(&shared));
    }

    #[tokio::test(start_paused = true)]
    async fn what_turns_out_to_be_configured_is_no_stranger_any_more() {
        let shared = shared();
        introduce(&shared, [ServiceKey::new("4711", "old")].into(), HashSet::new());
        assert!(!is_there(&shared));
        shared.meet(&ServiceKey::new("4711", "old"));
        assert!(!is_there(&shared), "seen before it was declared, and met after");
    }

    #[tokio::test(start_paused = true)]
    async fn a_landscape_that_cannot_be_read_keeps_what_it_has_until_it_can() {
        let shared = shared();
        introduce(&shared, HashSet::new(), [LandscapeId::from("4711")].into());
        let (_tell, known) = watch::channel(members(&["a"]));
        shared.clone().part_with_strangers(known).await;
        assert!(is_there(&shared));
        introduce(&shared, HashSet::new(), HashSet::new());
        assert!(!is_there(&shared));
    }
}
