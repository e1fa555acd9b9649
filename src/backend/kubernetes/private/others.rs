//! Other routers' EndpointSlices: which of them lead nowhere any more. No IO.
//!
//! Every router judges them, and not the leader alone: what is removed twice is removed once, and nobody waits
//! for an election when it was the leader that died.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::objects::{self, Ports, Site};
use crate::backend::kubernetes::names::label_value;
use crate::cluster::Members;

/// A router that has no Lease at all is gone after so long: somebody may have deleted it, and it is written every
/// five seconds.
const WITHOUT_LEASE: Duration = Duration::from_secs(10);

/// Routers that have slices and no Lease. See the module's words.
#[derive(Debug, Default)]
pub struct Others {
    without: BTreeMap<String, Instant>,
}

impl Others {
    /// Which of these routers, as labels of slices have them, are gone. The slices were read after `read`.
    pub fn gone(&mut self, routers: &BTreeSet<&str>, members: &Members, read: Instant) -> BTreeSet<String> {
        let labels =
            |all: &BTreeSet<Arc<str>>| all.iter().map(|identity| label_value(identity)).collect::<BTreeSet<_>>();
        let (there, run_out) = (labels(&members.there), labels(&members.run_out));
        let is_without = |router: &str| !there.contains(router) && !run_out.contains(router);
        self.without.retain(|router, _| routers.contains(&**router) && is_without(router));
        for router in routers.iter().filter(|router| is_without(router)) {
            self.without.entry((*router).to_owned()).or_insert(read);
        }
        let for_long = |router: &str| {
            let since = self.without.get(router);
            since.is_some_and(|since| members.complete >= *since + WITHOUT_LEASE)
        };
        let gone = routers.iter().filter(|router| !there.contains(**router));
        gone.filter(|router| run_out.contains(**router) || for_long(router))
            .map(|router| (*router).to_owned())
            .collect()
    }

    /// Whether some are not judged yet.
    pub fn are_open(&self) -> bool {
        !self.without.is_empty()
    }
}

/// Whether a slice leads to one of these ports of this router without being its own: a router that had them before it
/// wrote it, for no other can have them now.
pub fn is_of_a_former_one(slice: &EndpointSlice, site: &Site, open: &BTreeSet<u16>) -> bool {
    !site.is_own(slice)
        && objects::address_of(slice) == Some(site.address)
        && objects::targets_of(slice).values().any(|port| open.contains(port))
}

/// The ports of names that slices of this router's say, and those of one that was at its address before.
pub fn ports_before<'a>(slices: &'a [EndpointSlice], site: &Site) -> Vec<(&'a str, Ports)> {
    let (own, others): (Vec<_>, Vec<_>) = slices.iter().partition(|slice| site.is_own(slice));
    let at_address =
        |slice: &&EndpointSlice| site.is_ours(&slice.metadata) && objects::address_of(slice) == Some(site.address);
    let all = own.into_iter().chain(others.into_iter().filter(at_address));
    all.filter_map(|slice| Some((objects::name_of(slice)?, objects::targets_of(slice)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(there: &[&str], run_out: &[&str], complete: Instant) -> Members {
        let set = |all: &[&str]| all.iter().map(|router| (*router).into()).collect();
        Members { there: set(there), run_out: set(run_out), complete }
    }

    #[test]
    fn a_router_is_gone_when_its_lease_has_run_out_or_is_missing_for_long() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let all: BTreeSet<&str> = ["a", "b", "c"].into();
        let mut others = Others::default();
        // Slices are read when the view is as far as this.
        let mut gone = |there: &[&str], run_out: &[&str], seconds| {
            let gone = others.gone(&all, &members(there, run_out, at(seconds)), at(seconds));
            (gone.into_iter().collect::<String>(), others.are_open())
        };
        assert_eq!(gone(&["a", "b", "c"], &[], 0), (String::new(), false));
        assert_eq!(gone(&["a"], &["b"], 1), ("b".into(), true), "nobody knows of c yet");
        assert_eq!(gone(&["a"], &["b"], 10), ("b".into(), true));
        assert_eq!(gone(&["a"], &[], 11), ("c".into(), true), "the Lease of b was deleted since");
        // It comes back, and its time begins anew.
        assert_eq!(gone(&["a", "c"], &["b"], 12), ("b".into(), false));
        assert_eq!(gone(&["a"], &["b"], 20), ("b".into(), true));
        // The view lags: what time it is does not count.
        let lagging = others.gone(&all, &members(&["a"], &["b"], at(21)), at(90));
        assert_eq!(lagging, ["b".to_owned()].into());
    }

    #[test]
    fn a_label_is_known_by_the_identity_that_it_was_cut_from() {
        let (long, now) = ("m".repeat(90), Instant::now());
        let label = label_value(&long);
        let slices: BTreeSet<&str> = [&*label].into();
        assert!(Others::default().gone(&slices, &members(&[&long], &[], now), now).is_empty());
        assert_eq!(Others::default().gone(&slices, &members(&[], &[&long], now), now), [label.clone()].into());
    }
}
