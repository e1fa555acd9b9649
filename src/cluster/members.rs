//! Which routers there are, for what each of them keeps in the cluster for itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// The routers as one of them knows them, which is one of them itself: it has joined, and could renew its Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Those whose Lease has not run out, this one too.
    pub there: BTreeSet<Arc<str>>,
    /// Those whose Lease is there and has run out.
    pub run_out: BTreeSet<Arc<str>>,
    /// Nothing that happened to Leases before this moment is missing.
    pub complete: Instant,
}

impl Members {
    /// Whether these are the same routers, whatever the moment.
    pub fn are_those_of(&self, other: &Self) -> bool {
        (&self.there, &self.run_out) == (&other.there, &other.run_out)
    }
}

/// The members, where they are known.
pub type KnownMembers = watch::Receiver<Option<Members>>;

/// Whether there is anything new in this, which may be more than to be known until a later moment.
pub(super) fn differ(before: Option<&Members>, now: Option<&Members>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => !before.are_those_of(now),
        (None, None) => false,
        _ => true,
    }
}
