//! What an earlier router left.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::{Core, Effect, Leaving, Pod, PodState, Replica, pods};
use crate::backend::{Addresses, Found, Goal, ReplicaId};
use crate::landscape::{RunDigest, ServiceKey};

impl Core {
    /// Takes over what is there: every pod that lives is a replica. Which one its annotation says; one
    /// without gets the lowest ordinal that is free, the oldest first, and `generation`, which is greater
    /// than any that was used. To be called once, after the first look and before any wish.
    pub fn adopt(&mut self, key: &ServiceKey, generation: u64) -> (Vec<Found>, Vec<Effect>) {
        let mut all: Vec<Pod> = self.all_pods().filter(|p| p.lives() || p.terminating).cloned().collect();
        all.sort_by(|a, b| (a.replica.is_none(), a.created, &a.name).cmp(&(b.replica.is_none(), b.created, &b.name)));
        let mut found = Vec::new();
        let mut fresh = generation;
        for pod in all {
            if let Some(one) = self.take(pod, &mut fresh) {
                found.push(Found { service: key.clone(), ..one });
            }
        }
        if found.is_empty() && self.known.is_some_and(|known| known > 0) && self.asked.is_some() && !self.attached {
            // It was on its way when the earlier router ended, and nobody wants it.
            self.ask_for(0, false);
        }
        found.sort_by_key(|f| f.id);
        self.settle();
        (found, std::mem::take(&mut self.effects))
    }

    fn take(&mut self, pod: Pod, fresh: &mut u64) -> Option<Found> {
        let digest = pod.digest.clone().or_else(|| self.declared_digest())?;
        let is_known = |id: &ReplicaId| self.ids.contains_key(id) || self.leaving.contains_key(id);
        // Each of several routers has written down its own.
        let twice = |id: &ReplicaId| self.ids.iter().any(|(i, r)| i.ordinal == id.ordinal && r.digest == pod.digest);
        let said = pod.replica.filter(|id| !self.attached && !is_known(id) && !twice(id));
        let service = ServiceKey::new("", "");
        let since = pod.since.unwrap_or_else(SystemTime::now);
        if !pod.lives() {
            // One that runs on without a name is nobody's.
            let id = said.filter(|_| !pod.over)?;
            self.leaving.insert(id, Leaving { pod: Some(pod.name), digest: pod.digest });
            let addresses = Addresses::default();
            return Some(Found { service, id, digest, goal: None, addresses, since });
        }
        let id = said.unwrap_or_else(|| {
            let taken: BTreeSet<u32> =
                self.ids.iter().filter(|(_, r)| r.digest == pod.digest).map(|(id, _)| id.ordinal).collect();
            let ordinal = (0..).find(|n| !taken.contains(n)).unwrap_or_default();
            let generation = *fresh;
            *fresh += 1;
            ReplicaId { ordinal, generation }
        });
        let ports = self.declared.as_ref().map(|d| d.spec.all_ports()).unwrap_or_default();
        let addresses = pods::addresses(&pod, &ports).filter(|_| pod.state == PodState::Running);
        let replica = Replica {
            spec: None,
            digest: pod.digest.clone(),
            pod: Some(pod.name.clone()),
            ends: pod.ends,
            early: None,
            told: addresses.clone(),
            ready: pod.ready.then_some(true),
            ended: false,
        };
        self.ids.insert(id, replica);
        if !self.attached && pod.replica != Some(id) {
            self.effects.push(Effect::Mark { pod: pod.name, id });
        }
        Some(Found { service, id, digest, goal: Some(Goal::Run), addresses: addresses.unwrap_or_default(), since })
    }

    fn declared_digest(&self) -> Option<RunDigest> {
        self.declared.as_ref().map(|d| d.spec.run_digest())
    }
}
