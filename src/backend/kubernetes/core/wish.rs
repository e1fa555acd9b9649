//! What is wanted, and of whom to part.

use std::collections::BTreeSet;

use super::{Core, Effect, Leaving, Replica};
use crate::backend::{Goal, ReplicaId, Seen, Want};
use crate::landscape::RunDigest;

impl Core {
    pub(super) fn want(&mut self, want: Want) {
        let now = want.grace.is_zero();
        if !now {
            self.grace = want.grace;
        }
        // Nothing can be frozen here; what asks for it gets nothing.
        let listed: BTreeSet<ReplicaId> = want.replicas.iter().filter(|w| w.goal == Goal::Run).map(|w| w.id).collect();
        let dropped: Vec<ReplicaId> = self.ids.keys().filter(|id| !listed.contains(id)).copied().collect();
        let dropped: Vec<_> = dropped.into_iter().filter_map(|id| Some((id, self.ids.remove(&id)?))).collect();
        self.number = want.number;
        self.note_back_offs(&listed, &dropped);
        let mut fresh = false;
        for w in want.replicas.into_iter().filter(|w| w.goal == Goal::Run) {
            let digest = Some(w.spec.run_digest());
            match self.ids.get_mut(&w.id) {
                Some(known) => {
                    // One that was found runs what it was started with.
                    known.digest = known.digest.take().or(digest);
                    known.spec = Some(w.spec);
                }
                None => {
                    fresh = true;
                    self.refused = None;
                    let replica = Replica {
                        spec: Some(w.spec),
                        digest,
                        pod: None,
                        ends: 0,
                        early: None,
                        told: None,
                        ready: None,
                        ended: false,
                    };
                    self.ids.insert(w.id, replica);
                }
            }
        }
        let count = self.kept(self.count());
        let surplus = self.asked.unwrap_or_default().saturating_sub(count);
        self.let_go(dropped, surplus, now);
        self.ask_for(count, fresh);
        if now && !self.attached {
            let late: Vec<_> = self.leaving.values().filter_map(|l| l.pod.clone()).collect();
            self.effects.extend(late.into_iter().map(|pod| Effect::Delete { pod, now }));
        }
    }

    /// Where others use the pods, too, one that is not wanted here for a while is replaced, and no more.
    fn kept(&self, count: u32) -> u32 {
        // What somebody else has set is about to be wanted.
        let usual = self.unanswered.unwrap_or_default().max(self.number);
        match self.heading() {
            Some(heading) if self.shared && !self.left && count > 0 => count.max(heading.min(usual)),
            _ => count,
        }
    }

    /// Which ordinals are not listed because their replica has failed, until another one is started.
    fn note_back_offs(&mut self, listed: &BTreeSet<ReplicaId>, dropped: &[(ReplicaId, Replica)]) {
        if listed.is_empty() {
            return self.backing_off.clear();
        }
        let failed = dropped.iter().filter(|(_, r)| r.ended).map(|(id, _)| id.ordinal);
        self.backing_off.extend(failed);
        let comes = |ordinal: &u32| *ordinal < self.number && listed.iter().all(|id| id.ordinal != *ordinal);
        self.backing_off.retain(comes);
    }

    /// How many pods what is wanted takes. A successor of the same specification needs one beside its
    /// predecessor's; one of another gets it by being rolled. One that failed and is started again in a while
    /// keeps its place: there are not fewer for that.
    pub(super) fn count(&self) -> u32 {
        let count = if self.is_rolling() {
            self.ids.keys().map(|id| id.ordinal).collect::<BTreeSet<_>>().len()
        } else {
            self.ids.len()
        };
        u32::try_from(count + self.backing_off.len()).unwrap_or(u32::MAX)
    }

    /// Whether two specifications are wanted at a time.
    pub(super) fn is_rolling(&self) -> bool {
        let mut digests = self.ids.values().map(|r| &r.digest);
        let first = digests.next();
        !self.attached && digests.any(|d| Some(d) != first)
    }

    /// What the newest replica runs.
    pub(super) fn newest(&self) -> Option<(&Replica, &RunDigest)> {
        let newest = self.ids.iter().max_by_key(|(id, _)| id.generation)?.1;
        Some((newest, newest.digest.as_ref()?))
    }

    /// Parts of replicas; so many of them because there shall be fewer.
    fn let_go(&mut self, dropped: Vec<(ReplicaId, Replica)>, mut surplus: u32, now: bool) {
        let newest = self.newest().map(|(_, digest)| digest.clone());
        // What others decide of is not waited for.
        let hands_off = self.attached && (!self.ids.is_empty() || self.declared.is_none());
        let waits = self.heading().is_some_and(|heading| heading > 0) && !self.is_rolling();
        for (id, replica) in dropped.into_iter().rev() {
            if replica.ended {
                continue;
            }
            if self.shared && self.ids.is_empty() {
                // Its pod is left to the others, and to what all of them agree upon.
                self.see(Seen::Stopped(id));
                continue;
            }
            let lives = |pod: &String| self.pod(pod).is_some_and(|p| !p.over);
            let pod = match replica.pod {
                Some(pod) if lives(&pod) => pod,
                None if waits && !hands_off && (self.ids.is_empty() || surplus > 0) => {
                    surplus = surplus.saturating_sub(1);
                    self.leaving.insert(id, Leaving { pod: None, digest: replica.digest });
                    continue;
                }
                _ => {
                    self.see(Seen::Stopped(id));
                    continue;
                }
            };
            let off = self.ids.is_empty();
            if self.attached {
                // Its pod is not ours to delete.
                if hands_off {
                    self.see(Seen::Stopped(id));
                } else {
                    self.leaving.insert(id, Leaving { pod: Some(pod), digest: replica.digest });
                }
            } else if !off && replica.digest != newest {
                // Drained, and of no use any more: it goes with the rest of its kind when all are replaced.
                self.see(Seen::Stopped(id));
            } else if off || (surplus > 0 && !now) {
                surplus = surplus.saturating_sub(1);
                self.leaving.insert(id, Leaving { pod: Some(pod), digest: replica.digest });
            } else {
                // Another one takes its place, and the workload makes a pod for it.
                self.doom(pod.clone(), now);
                self.leaving.insert(id, Leaving { pod: Some(pod), digest: replica.digest });
            }
        }
    }

    pub(super) fn doom(&mut self, pod: String, now: bool) {
        if self.doomed.insert(pod.clone()) {
            self.effects.push(Effect::Delete { pod, now });
        }
    }
}
