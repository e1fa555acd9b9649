//! Whose count holds: ours until somebody else sets another one, theirs until another one is wanted.

use super::{Core, Problem, Version, Workload, Writing};
use crate::backend::Seen;

impl Core {
    /// The life cycle wants so many pods. `fresh`: for a replica it did not want before, too.
    pub(super) fn ask_for(&mut self, count: u32, fresh: bool) {
        let before = self.asked.replace(count);
        self.unanswered = self.unanswered.filter(|told| *told != count);
        if self.shared && count == 0 {
            self.target = None;
            return;
        }
        let Some(heading) = self.heading() else { return };
        if self.unanswered == Some(0) && count > heading {
            // Replicas that ended because of that were started anew before it was heard. What is wanted then, the
            // next wish says.
            return;
        }
        let unsure = self.attempted.is_some();
        if self.attached {
            self.ask_attached(count, before, heading, fresh);
            return;
        }
        // Who wants fewer than before does not want more than there are, nor the other way round: that is somebody
        // else's count, which was told and is about to be followed.
        let there = self.target.unwrap_or(heading);
        let edge = before
            .map_or(count > heading, |before| (before < count && there <= count) || (before > count && there >= count));
        if self.shared && count > heading && !fresh {
            // What is left of an earlier wish. In between somebody has made it fewer, or all have agreed on none.
            return;
        }
        // A replica that is wanted since the count was last told says: more than that is wanted. That
        // fewer are, only another wish can say.
        if edge || (fresh && count > heading) {
            self.unanswered = None;
            self.target = (count != heading || unsure).then_some(count);
        }
    }

    /// Of a workload that is not ours: off and on, and between the two somebody else decides.
    fn ask_attached(&mut self, count: u32, before: Option<u32>, heading: u32, fresh: bool) {
        if self.declared.is_none() {
            self.target = None;
        } else if count > 0 && heading == 0 {
            if fresh || before == Some(0) {
                self.target = Some(self.before.unwrap_or(count));
            }
        } else if count > 0 {
            // The way off is called back.
            self.target = self.target.filter(|t| *t > 0);
        } else if before.is_some_and(|b| b > 0) {
            self.target = (heading > 0).then_some(0);
        }
    }

    /// What the count is, or is about to be.
    pub(super) fn heading(&self) -> Option<u32> {
        let under_way = match self.writing {
            Writing::Count(count) => Some(count),
            Writing::Nothing | Writing::Removal => None,
        };
        under_way.or(self.attempted).or(self.known)
    }

    /// `version`: of the cluster at that time.
    pub(super) fn see_none(&mut self, version: Version) {
        if version < self.floor {
            return;
        }
        self.floor = version;
        self.workload = Some(None);
        self.remake();
    }

    /// It is made anew as it should be; one that is not ours is as its owner makes it.
    fn remake(&mut self) {
        (self.known, self.attempted) = (Some(0), None);
        self.target = self.asked.filter(|_| !self.attached);
    }

    pub(super) fn see_workload(&mut self, seen: Workload) {
        if seen.version < self.floor {
            return;
        }
        self.viewed = seen.version;
        let (count, foreign) = (seen.count, seen.foreign);
        self.workload = Some(Some(seen));
        // While a write is under way nobody knows whether this was before or after it.
        if self.writing == Writing::Nothing {
            self.judge(count, foreign);
        }
    }

    fn tell_scaled(&mut self, count: u32) {
        self.unanswered = Some(count).filter(|count| self.asked != Some(*count));
        self.see(Seen::Scaled(count));
    }

    /// The life cycle has had the time to follow: what it wants holds.
    pub(super) fn overdue(&mut self) {
        if self.unanswered.take().is_none() || self.writing != Writing::Nothing {
            return;
        }
        let asked = self.asked.unwrap_or_default();
        if self.shared && asked == 0 {
            // Whether it is switched off is not for this router alone to say.
            return;
        }
        if !self.attached || asked == 0 {
            self.target = self.known.filter(|known| *known != asked).map(|_| asked);
        }
    }

    /// Whether the count in the cluster is somebody else's.
    fn judge(&mut self, count: u32, foreign: bool) {
        let known = self.known.replace(count);
        if known == Some(count) {
            return;
        }
        if count > 0 {
            self.before = Some(count);
        }
        // The pods that are seen are about to go, whoever decided it.
        self.shrunk |= count == 0 && known.is_some();
        if known.is_none() {
            return self.first_sight(count, foreign);
        }
        if self.attempted.take() == Some(count) {
            // Ours, of which only the answer was lost.
            self.target = self.target.filter(|t| *t != count);
            return;
        }
        self.target = None;
        if self.shared && count > 0 && self.asked == Some(count) {
            // Another router wanted the same, and was faster.
            return;
        }
        self.tell_scaled(count);
    }

    /// What was there when the router came: of its predecessor's hand, unless the cluster knows better.
    fn first_sight(&mut self, count: u32, foreign: bool) {
        let theirs = if self.attached {
            let usual = self.declared.as_ref().map(|d| d.spec.replicas);
            count > 0 && usual != Some(count)
        } else {
            count > 0 && (foreign || self.shared)
        };
        if theirs {
            self.tell_scaled(count);
        } else {
            self.asked = Some(count);
        }
    }

    pub(super) fn scaled(&mut self, count: u32, version: Version) {
        if !self.wrote(count, version) {
            return;
        }
        match self.workload.as_mut().and_then(Option::as_mut) {
            Some(there) if there.version < version => {
                (there.count, there.version, there.made) = (count, version, None);
            }
            _ => {}
        }
        self.judge_later(version);
        if self.attached && self.known == Some(count) && count > 0 && self.asked.is_some_and(|a| a > 0 && a != count) {
            // As many as there were before, which is not what was asked for.
            self.tell_scaled(count);
        }
        if self.shared && self.known == Some(count) && count > 0 && self.asked == Some(0) {
            // It was called off while the write was under way. Known to be there, all can agree on its end.
            self.tell_scaled(count);
        }
    }

    pub(super) fn applied(&mut self, workload: Workload) {
        let (count, version) = (workload.count, workload.version);
        if !self.wrote(count, version) {
            return;
        }
        if self.there().is_none_or(|there| there.version <= version) {
            self.workload = Some(Some(workload));
        }
        self.judge_later(version);
    }

    /// A write was done; `false`: but since then the workload has gone.
    fn wrote(&mut self, count: u32, version: Version) -> bool {
        self.writing = Writing::Nothing;
        self.attempted = None;
        if version < self.floor {
            self.remake();
            return false;
        }
        self.floor = version;
        self.known = Some(count);
        self.target = self.target.filter(|t| *t != count);
        if count > 0 {
            self.before = Some(count);
        }
        true
    }

    /// What was seen while the write was under way, and is newer than it.
    fn judge_later(&mut self, version: Version) {
        if let Some((count, foreign)) = self.there().filter(|w| w.version > version).map(|w| (w.count, w.foreign)) {
            self.judge(count, foreign);
        }
    }

    pub(super) fn failed(&mut self, problem: Problem) {
        self.said = Default::default();
        if let Writing::Count(count) = std::mem::replace(&mut self.writing, Writing::Nothing) {
            // What was under way is wanted still, unless something else is.
            self.target = self.target.or(Some(count));
            if matches!(problem, Problem::Away) && self.known != Some(count) {
                self.attempted = Some(count);
            }
        }
        match problem {
            Problem::Away => self.held = true,
            Problem::Missing => self.see_none(self.floor),
            Problem::Refused(failure) => self.refused = Some(failure),
        }
        // What was seen meanwhile counts now.
        if let Some((count, foreign)) = self.there().map(|w| (w.count, w.foreign)) {
            self.judge(count, foreign);
        }
    }
}
