//! Which pod is which replica, and what becomes of it.

use std::collections::BTreeMap;

use super::{Core, Effect, Leaving, Pod, PodState, Replica, Writing};
use crate::backend::kubernetes::trouble;
use crate::backend::{Addresses, Failure, ReplicaId, Seen};
use crate::landscape::RunDigest;

/// What became of a replica's pod.
enum Fate {
    Well,
    /// It goes, before it was told to run: another one takes its place.
    Swapped,
    /// It waits for what ended its predecessor: a fresh pod does better.
    Stale,
    /// It has ended; whose output is of interest.
    Ended(Failure, Output),
}

/// Which container's output tells of an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    None,
    Current,
    Previous,
}

impl Core {
    /// Finds replicas whose pods are of no use any more.
    pub(super) fn lose(&mut self) {
        let bound: Vec<(ReplicaId, String)> =
            self.ids.iter().filter(|(_, r)| !r.ended).filter_map(|(id, r)| Some((*id, r.pod.clone()?))).collect();
        for (id, name) in bound {
            match self.fate(id, &name) {
                Fate::Well => {}
                Fate::Swapped => {
                    if let Some(replica) = self.ids.get_mut(&id) {
                        replica.pod = None;
                        replica.forget();
                    }
                }
                Fate::Stale => {
                    if let Some(replica) = self.ids.get_mut(&id) {
                        replica.pod = None;
                    }
                    self.doom(name, false);
                }
                Fate::Ended(failure, Output::None) => self.end(id, failure, None),
                Fate::Ended(failure, output) => self.end(id, failure, Some((name, output == Output::Previous))),
            }
        }
    }

    fn fate(&self, id: ReplicaId, name: &str) -> Fate {
        let Some(replica) = self.ids.get(&id) else { return Fate::Well };
        let is_made_again = self.attached || self.newest().is_some_and(|(_, d)| Some(d) == replica.digest.as_ref());
        let Some(pod) = self.pod(name) else {
            return match replica.told {
                None if is_made_again => Fate::Swapped,
                _ => Fate::Ended(trouble::removed(), Output::None),
            };
        };
        if let PodState::Finished(failure) = &pod.state {
            return match &pod.cause {
                Some(cause) => Fate::Ended(cause.clone(), Output::None),
                None => Fate::Ended(failure.clone(), Output::Current),
            };
        }
        if pod.terminating {
            return match (&pod.cause, &replica.told) {
                (Some(cause), _) => Fate::Ended(cause.clone(), Output::None),
                (None, None) if is_made_again => Fate::Swapped,
                // Our own hand: what was made before the count shrank may go though it has grown again.
                (None, Some(_)) if self.shrunk && is_made_again => Fate::Swapped,
                (None, _) if self.is_outdated(pod) => Fate::Ended(trouble::replaced(), Output::None),
                (None, _) => Fate::Ended(trouble::stopped(), Output::None),
            };
        }
        match &pod.state {
            PodState::Unscheduled(failure) => Fate::Ended(failure.clone(), Output::None),
            PodState::Failing(_) if !self.attached && pod.ends > 0 && pod.ends == replica.ends => Fate::Stale,
            PodState::Failing(failure) if pod.ends == 0 => Fate::Ended(failure.clone(), Output::None),
            PodState::Failing(failure) | PodState::Exited(failure) if pod.ends > replica.ends => {
                Fate::Ended(failure.clone(), Output::Current)
            }
            // To one after the other: it is not ours to make anew.
            PodState::Failing(failure) => Fate::Ended(failure.clone(), Output::Current),
            // It ended and runs again already.
            PodState::Running if pod.ends > replica.ends => {
                Fate::Ended(pod.last_end.clone().unwrap_or_else(trouble::restarted), Output::Previous)
            }
            _ => Fate::Well,
        }
    }

    /// Whether the workload makes other pods by now, and not by our hand.
    fn is_outdated(&self, pod: &Pod) -> bool {
        let wanted = self.newest().map(|(_, digest)| digest);
        !self.attached && self.made().is_some_and(|made| pod.digest.as_ref() != Some(made) && wanted != Some(made))
    }

    /// Tells of an end; `spoke`: the pod whose last lines are of interest, and whether those of the container
    /// before the present one.
    pub(super) fn end(&mut self, id: ReplicaId, failure: Failure, spoke: Option<(String, bool)>) {
        let Some(replica) = self.ids.get_mut(&id) else { return };
        replica.ended = true;
        // The next one may take it.
        replica.pod = None;
        match spoke {
            Some((pod, previous)) => self.effects.push(Effect::Explain { id, pod, failure, previous }),
            None => self.see(Seen::Ended(id, failure)),
        }
    }

    /// Tells of replicas that are gone as wished.
    pub(super) fn part(&mut self) {
        let none_comes = self.none_comes();
        let is_over = |pod: &str| {
            self.late.contains(pod) || self.pod(pod).is_none_or(|p| p.over || matches!(p.state, PodState::Finished(_)))
        };
        // How long the pods of others take to end, and in which order, is theirs: what was asked for is done.
        let is_others = self.attached && self.is_written() && self.known == Some(0);
        let is_gone = |l: &Leaving| is_others || l.pod.as_deref().map_or(none_comes, is_over);
        // Another one went in its place, or somebody else called it back.
        let survives = |l: &Leaving| {
            (none_comes || self.is_full(l.digest.as_ref()))
                && l.pod.as_ref().is_some_and(|p| self.pod(p).is_some_and(Pod::lives))
        };
        // Since it was told to go, a roll has begun: it goes with the rest of its kind.
        let newest = self.newest().map(|(_, digest)| digest);
        let is_old = |l: &Leaving| !self.attached && newest.is_some() && l.digest.as_ref() != newest;
        let (mut gone, mut survivors) = (Vec::new(), Vec::new());
        for (id, leaving) in &self.leaving {
            match &leaving.pod {
                _ if is_gone(leaving) || is_old(leaving) || (self.attached && survives(leaving)) => gone.push(*id),
                Some(pod) if survives(leaving) => survivors.push(pod.clone()),
                _ => {}
            }
        }
        for id in gone {
            self.leaving.remove(&id);
            self.see(Seen::Stopped(id));
        }
        for pod in survivors {
            self.doom(pod, false);
        }
        let pods = self.pods.as_ref();
        self.doomed.retain(|name| pods.is_some_and(|pods| pods.contains_key(name)));
        // Another one may be called the same later.
        self.late.retain(|name| pods.and_then(|pods| pods.get(name)).is_some_and(|p| p.terminating));
    }

    /// Whether no more pods are to be expected than are seen.
    pub(super) fn none_comes(&self) -> bool {
        let (Some(there), Some(known)) = (self.there(), self.known) else { return true };
        let seen = self.all_pods().filter(|p| p.lives()).count();
        self.is_written() && there.made.is_some_and(|made| made <= known) && seen <= known as usize
    }

    /// Whether there are no more pods of a kind than there are to be, while others are held beside them.
    fn is_full(&self, digest: Option<&RunDigest>) -> bool {
        let alike = self.all_pods().filter(|p| p.lives() && p.digest.as_ref() == digest).count();
        let knows = self.there().is_some_and(|there| there.holds && there.made.is_some());
        knows && self.is_written() && self.known.is_some_and(|known| alike <= known as usize)
    }

    /// Whether the count is as it was to be, and that is known.
    fn is_written(&self) -> bool {
        self.writing == Writing::Nothing && self.target.is_none() && self.attempted.is_none()
    }

    /// Gives pods to the replicas that have none.
    pub(super) fn give_pods(&mut self) {
        let homeless: Vec<ReplicaId> =
            self.ids.iter().filter(|(_, r)| r.pod.is_none() && !r.ended).map(|(id, _)| *id).collect();
        if homeless.is_empty() {
            return;
        }
        let mut taken = self.taken();
        // What says itself which replica it is comes first.
        let mut left = Vec::new();
        for id in homeless {
            let own = self.all_pods().find(|p| p.replica == Some(id) && self.is_free(p, id, &taken));
            match own.map(|p| p.name.clone()) {
                Some(name) => self.bind(id, name, &mut taken),
                None => left.push(id),
            }
        }
        // Which of more than there should be will go, nobody knows.
        let room = self.known.min(self.heading()).unwrap_or_default() as usize;
        for id in left {
            if !self.may_give(id) {
                continue;
            }
            let fitting = self.all_pods().filter(|p| p.lives() && self.fits(p, id)).count();
            if self.shrunk && fitting > room {
                continue;
            }
            let free = self.all_pods().filter(|p| self.is_free(p, id, &taken));
            match free.min_by_key(|p| p.rank()).map(|p| p.name.clone()) {
                Some(name) => self.bind(id, name, &mut taken),
                None => self.make_room(id, &taken),
            }
        }
    }

    /// Whether the workload makes pods for such a replica.
    fn is_template(&self, replica: &Replica) -> bool {
        let made = self.made();
        self.attached || (made.is_some() && made == replica.digest.as_ref())
    }

    /// Whether pods that are free may be given away: what was there before the last write may be about to go,
    /// which is seen with that.
    fn may_give(&self, id: ReplicaId) -> bool {
        let held = self.there().is_some_and(|there| there.holds);
        self.attached
            || (self.viewed >= self.floor
                && (held || self.ids.get(&id).is_some_and(|r| self.is_template(r) || self.borrows(r))))
    }

    /// Which pods have been given away, and whether that is only for want of such as were asked for.
    fn taken(&self) -> BTreeMap<String, bool> {
        let given = self.ids.values().filter_map(|r| r.pod.clone().map(|pod| (self.is_lent(r, &pod), pod)));
        let leaving = self.leaving.values().filter_map(|l| Some((false, l.pod.clone()?)));
        let mut taken = BTreeMap::new();
        for (lent, pod) in given.chain(leaving) {
            *taken.entry(pod).or_insert(true) &= lent;
        }
        taken
    }

    fn is_lent(&self, replica: &Replica, pod: &str) -> bool {
        !self.attached && self.pod(pod).is_some_and(|p| p.digest != replica.digest)
    }

    /// Another router, of a newer or older configuration, had the last word on what pods run. Until both
    /// have the same, its pods are better than none.
    fn borrows(&self, replica: &Replica) -> bool {
        self.shared
            && self.writing == Writing::Nothing
            && self.said.digest().is_some_and(|said| Some(said) == replica.digest.as_ref())
            && !self.is_template(replica)
    }

    fn is_free(&self, pod: &Pod, id: ReplicaId, taken: &BTreeMap<String, bool>) -> bool {
        let is_exact = || self.ids.get(&id).is_some_and(|r| r.digest == pod.digest);
        let is_taken = taken.get(&pod.name).is_some_and(|lent| !(*lent && is_exact()));
        pod.lives() && self.fits(pod, id) && !is_taken && !self.doomed.contains(&pod.name)
            // A fresh one does better than one that the kubelet makes wait.
            && (self.attached || !pod.is_broken())
    }

    fn fits(&self, pod: &Pod, id: ReplicaId) -> bool {
        let lends = |r: &Replica| self.borrows(r) && self.made() == pod.digest.as_ref();
        self.attached || self.ids.get(&id).is_some_and(|r| r.digest == pod.digest || lends(r))
    }

    /// No pod is free, and none more will be made while there are as many as there should be: one goes that
    /// will come to nothing.
    fn make_room(&mut self, id: ReplicaId, taken: &BTreeMap<String, bool>) {
        if self.attached || self.writing != Writing::Nothing || self.target.is_some() {
            return;
        }
        let fitting = |p: &&Pod| p.lives() && self.fits(p, id);
        let count = self.all_pods().filter(fitting).count();
        if self.known.is_none_or(|known| count > known as usize) {
            // The cluster is about to end some.
            return;
        }
        let broken = self
            .all_pods()
            .filter(fitting)
            .find(|p| p.is_broken() && !taken.contains_key(&p.name) && !self.doomed.contains(&p.name));
        if let Some(name) = broken.map(|p| p.name.clone()) {
            self.doom(name, false);
        }
    }

    fn bind(&mut self, id: ReplicaId, name: String, taken: &mut BTreeMap<String, bool>) {
        let Some((ends, marked)) = self.pod(&name).map(|p| (p.ends, p.replica)) else { return };
        let Some(replica) = self.ids.get_mut(&id) else { return };
        (replica.pod, replica.ends) = (Some(name.clone()), ends);
        replica.forget();
        let lent = self.ids.get(&id).is_some_and(|r| self.is_lent(r, &name));
        taken.insert(name.clone(), lent);
        if !self.attached && marked != Some(id) {
            self.effects.push(Effect::Mark { pod: name, id });
        }
    }

    /// Tells where replicas run, and how they are.
    pub(super) fn tell(&mut self) {
        let mut seen = Vec::new();
        let pods = self.pods.as_ref();
        for (id, replica) in self.ids.iter_mut().filter(|(_, r)| !r.ended) {
            let (Some(spec), Some(pod)) = (&replica.spec, replica.pod.as_ref().and_then(|n| pods?.get(n))) else {
                continue;
            };
            let place = match &pod.state {
                PodState::Running => Some(&mut replica.told),
                PodState::Starting if replica.told.is_none() => Some(&mut replica.early),
                _ => None,
            };
            if let Some(told) = place
                && let Some(addresses) = addresses(pod, &spec.all_ports())
                && told.as_ref() != Some(&addresses)
            {
                *told = Some(addresses.clone());
                seen.push(Seen::Running(*id, addresses));
            }
            // What was never ready by the kubelet's reckoning may be so by ours, which is faster.
            if replica.told.is_some()
                && replica.ready != Some(pod.ready)
                && (pod.ready || replica.ready.is_some())
                && replica.ready.replace(pod.ready).is_some()
            {
                seen.push(Seen::Health(*id, pod.ready));
            }
        }
        self.effects.extend(seen.into_iter().map(Effect::See));
    }

    /// All that was told is told again.
    pub(super) fn again(&mut self) {
        for replica in self.ids.values_mut() {
            replica.forget();
        }
    }
}

impl Replica {
    /// What was told of its pod.
    fn forget(&mut self) {
        (self.early, self.told, self.ready) = (None, None, None);
    }
}

/// Where these ports of a pod are reached.
pub(super) fn addresses(pod: &Pod, ports: &[u16]) -> Option<Addresses> {
    let ip = pod.ip?;
    Some(Addresses::new(ports.iter().map(|port| (*port, (ip, *port).into())).collect()))
}
