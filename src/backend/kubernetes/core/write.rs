//! The next write to the workload: one at a time, and none that would change nothing.

use std::sync::Arc;

use super::{Core, Effect, Said, Template, Writing};
use crate::backend::kubernetes::trouble;
use crate::backend::{Failure, Seen};
use crate::landscape::{RunDigest, ServiceSpec};

impl Said {
    /// Whether it is news that pods are to run this. Where others may write, too, it is once.
    fn runs(&mut self, shared: bool, digest: &RunDigest, holds: bool) -> bool {
        let now = Some((digest.clone(), holds));
        let before = self.runs.take().or_else(|| Some((self.digest()?.clone(), false)));
        self.runs.clone_from(&now);
        !shared || before != now
    }

    /// What pods are to run by the last word.
    pub(super) fn digest(&self) -> Option<&RunDigest> {
        let runs = self.runs.as_ref().map(|(digest, _)| digest);
        runs.or(self.template.as_ref().map(|t| &t.digest))
    }

    /// The same of a template as a whole.
    fn template(&mut self, shared: bool, template: &Template) -> bool {
        let before = self.template.replace(template.clone());
        !shared || before.as_ref() != Some(template)
    }
}

impl Core {
    pub(super) fn write(&mut self) {
        if self.writing != Writing::Nothing || self.held || self.refused.is_some() {
            return;
        }
        if !self.attached {
            if self.left && self.is_gone() && self.is_to_remove() {
                self.writing = Writing::Removal;
                self.effects.push(Effect::Remove);
                return;
            }
            if self.apply() {
                return;
            }
        }
        if let (Some(count), true) = (self.target, self.there().is_some())
            && !self.waits_to_shrink(count)
        {
            self.writing = Writing::Count(count);
            self.shrunk |= self.known.is_some_and(|known| count < known);
            let first = self.first_to_go(count);
            self.effects.push(Effect::Scale { count, first });
        }
    }

    /// Whether there is something to remove, and it is off; or there may be, unseen: by a write that got no answer,
    /// or but for the workload itself.
    fn is_to_remove(&self) -> bool {
        if self.there().is_some() { self.target.is_none() } else { !self.removed }
    }

    /// Applies the workload if it is not there, or its pods are to run something else.
    fn apply(&mut self) -> bool {
        let mut said = std::mem::take(&mut self.said);
        let count = self.target.or(self.known).unwrap_or_default();
        let spec = self.to_apply(count, &mut said);
        self.said = said;
        let Some(spec) = spec else { return false };
        let holds = self.is_rolling();
        (self.writing, self.removed) = (Writing::Count(count), false);
        // Another template may end pods, too, and one of before be wanted again by then.
        let known = self.there().is_some();
        self.shrunk |= known;
        self.effects.push(Effect::Apply { spec, count, holds, known });
        true
    }

    fn to_apply(&self, count: u32, said: &mut Said) -> Option<Arc<ServiceSpec>> {
        let holds = self.is_rolling();
        let newest = self.newest().and_then(|(replica, digest)| Some((replica.spec.clone()?, digest.clone())));
        let declared = self.declared.as_ref().and_then(|d| Some((d.spec.clone(), d.template.clone()?)));
        let off = self.known == Some(0);
        let stale = |w: &super::Workload, template: &Template| w.template.as_ref() != Some(template);
        match (newest, declared, self.there()) {
            (Some((spec, digest)), _, None) => {
                said.runs(self.shared, &digest, holds);
                Some(spec)
            }
            (Some((spec, digest)), declared, Some(there)) => {
                let other = self.made() != Some(&digest) || there.holds != holds;
                let news = said.runs(self.shared, &digest, holds);
                // What changed beside the specification is for what is started from now on.
                let settings = off
                    && declared
                        .is_some_and(|(_, t)| t.digest == digest && stale(there, &t) && said.template(self.shared, &t));
                ((other && news) || settings).then_some(spec)
            }
            // Replicas were found, and what becomes of them is not said yet.
            (None, _, _) if !self.ids.is_empty() => None,
            (None, Some((spec, template)), None) => {
                said.template(self.shared, &template);
                Some(spec)
            }
            (None, Some((spec, template)), Some(there)) => {
                let other = count == 0 && (there.holds || stale(there, &template));
                (other && said.template(self.shared, &template)).then_some(spec)
            }
            _ => None,
        }
    }

    /// Whether the wrong pods would go: of more than there should be, the cluster ends those first that are
    /// not ready by its own reckoning, which is slower than ours and takes it back where a node is not heard of.
    fn waits_to_shrink(&self, count: u32) -> bool {
        let lives = |name: &str| self.pod(name).filter(|p| p.lives());
        let unready = |name: &str| lives(name).is_some_and(|p| !p.ranked);
        count > 0
            && self.known.is_some_and(|known| count < known)
            && self.ids.values().any(|r| !r.ended && r.pod.as_deref().is_some_and(unready))
            && self
                .leaving
                .values()
                .filter_map(|l| l.pod.as_ref())
                .any(|pod| lives(pod).is_some() && !self.doomed.contains(pod))
    }

    /// Which pods should go where some of them have to.
    fn first_to_go(&self, count: u32) -> Vec<String> {
        if self.attached || count == 0 || self.known.is_none_or(|known| known <= count) {
            return Vec::new();
        }
        let kept = |name: &str| self.ids.values().any(|r| r.pod.as_deref() == Some(name));
        self.all_pods().filter(|p| p.lives() && !kept(&p.name)).map(|p| p.name.clone()).collect()
    }

    /// Replicas that get no pod, as the cluster says by now.
    pub(super) fn tell_hopeless(&mut self) {
        if let Some(failure) = self.refused.clone() {
            return self.end_homeless(&failure);
        }
        let failure = match (self.there(), self.attached) {
            (None, true) => trouble::missing(&self.called),
            (Some(there), _) if self.writing == Writing::Nothing && self.known.is_some_and(|k| k > 0) => {
                match &there.refusal {
                    Some(failure) => failure.clone(),
                    None => return,
                }
            }
            _ => return,
        };
        self.end_homeless(&failure);
    }

    pub(super) fn end_homeless(&mut self, failure: &Failure) {
        let homeless: Vec<_> =
            self.ids.iter().filter(|(_, r)| r.pod.is_none() && !r.ended).map(|(id, _)| *id).collect();
        for id in homeless {
            if let Some(replica) = self.ids.get_mut(&id) {
                replica.ended = true;
                self.see(Seen::Ended(id, failure.clone()));
            }
        }
    }
}
