//! Makes the names that are there those that are wanted.
//!
//! Level-based: each round reads what is there, gives ports to what has none, opens the listeners, and only
//! then writes what differs, so that no name leads to a port at which nobody listens. A round that failed is
//! repeated; one that went well is, too, after a while, for others may change what is ours.
//!
//! Services are common to all routers, and each keeps slices of its own. It does so only while it is known to
//! be there: what it writes at other times would be taken for a dead one's, and so would others' be by it.

mod round;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::watch;

use super::objects::Site;
use super::others::Others;
use super::shelf::{Shelf, ShelfError};
use crate::backend::kubernetes::names::label_value;
use crate::cluster::KnownMembers;
use crate::private::residents::{EVERY_SOURCE, Residents};
use crate::private::target_ports::TargetPorts;
use crate::proxy::Called;

pub use round::adopt_ports;
use round::{first_of_each, some_at_a_time};

/// From one look whether our EndpointSlices are there to the next.
const LOOK: Duration = Duration::from_secs(60);
/// So many of them, and everything is compared again.
const LOOKS: u32 = 10;
/// After the first failure; doubled with each further one up to [`LOOK`].
const AGAIN: Duration = Duration::from_secs(1);
/// While it is not known yet whether a router is gone.
const OPEN: Duration = Duration::from_secs(3);
/// At the end: what changes meanwhile is looked at so often.
const ROUNDS: usize = 3;

/// Names and their declared ports.
pub type Names = BTreeMap<Arc<str>, BTreeSet<u16>>;

/// The router's listeners.
pub trait Opener: Send + Sync {
    /// Listens at these ports for what they stand for, and no longer at others. Those that it cannot listen
    /// at come back.
    fn open(&self, all: &[(Called, u16)]) -> Vec<(u16, io::Error)>;
}

/// See the module's words.
pub struct Keeper {
    shelf: Arc<dyn Shelf>,
    opener: Arc<dyn Opener>,
    residents: Arc<Residents>,
    site: Site,
    range: (u16, u16),
    ports: TargetPorts,
    others: Others,
    /// Our EndpointSlices as they were last written.
    own: BTreeSet<String>,
    /// What was told of names that others have, so that it is told once.
    conflicts: BTreeSet<Arc<str>>,
}

impl Keeper {
    /// Keeps names at `site`, on ports of this range. What it hears of the API server it tells `residents`.
    pub fn new(
        site: Site,
        range: (u16, u16),
        shelf: Arc<dyn Shelf>,
        opener: Arc<dyn Opener>,
        residents: Arc<Residents>,
    ) -> Self {
        Self {
            shelf,
            opener,
            residents,
            site,
            range,
            ports: TargetPorts::new(range),
            others: Others::default(),
            own: BTreeSet::new(),
            conflicts: BTreeSet::new(),
        }
    }

    /// Follows what is wanted and who is there, until nobody can want anything any more; comes back then. Nothing is
    /// touched before both are known.
    pub async fn run(mut self, mut wanted: watch::Receiver<Option<Arc<Names>>>, mut known: KnownMembers) -> Self {
        let mut failures = 0u32;
        let mut told = String::new();
        loop {
            let names = wanted.borrow_and_update().clone();
            let members = known.borrow_and_update().clone();
            let (Some(names), Some(members)) = (names, members) else {
                if self.wait(&mut wanted, &mut known).await.is_err() {
                    return self;
                }
                continue;
            };
            let pause = match self.settle(&names, &members).await {
                Ok(()) => {
                    if std::mem::take(&mut failures) > 0 {
                        told.clear();
                        tracing::info!("the names of services are in the namespace {} again", self.site.namespace);
                    }
                    self.others.are_open().then_some(OPEN)
                }
                Err(errors) => {
                    let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                    if text != told {
                        tracing::error!("services are not found by their names as they should be: {text}");
                        told = text;
                    }
                    failures = failures.saturating_add(1);
                    Some(AGAIN.saturating_mul(1 << failures.min(7)).min(LOOK))
                }
            };
            let changed = match pause {
                Some(pause) => changes(pause, &mut wanted, &mut known).await.unwrap_or(Ok(())),
                None => self.watch_over(&mut wanted, &mut known).await,
            };
            if changed.is_err() {
                return self;
            }
        }
    }

    /// Takes our EndpointSlices away, so that nobody is led here any more; how many there were. Services and
    /// listeners stay. Not while nobody knows of this router: then there is nothing to be reached.
    pub async fn withdraw(self, known: &KnownMembers) -> usize {
        if known.borrow().is_none() {
            return 0;
        }
        let mut removed = 0;
        for _ in 0..ROUNDS {
            let Ok(slices) = self.shelf.slices().await else { break };
            let own: Vec<&EndpointSlice> = slices.iter().filter(|slice| self.site.is_own(slice)).collect();
            if own.is_empty() {
                break;
            }
            removed = removed.max(own.len());
            let failed = some_at_a_time(own.into_iter().map(|slice| self.shelf.remove_slice(slice)).collect()).await;
            for error in first_of_each(failed.into_iter().filter_map(Result::err).collect()) {
                tracing::warn!("names lead to this router, which ends, until others find out: {error}");
            }
        }
        removed
    }

    /// Until something else is wanted or known; meanwhile it is heard whether there is an API server.
    async fn wait(
        &self,
        wanted: &mut watch::Receiver<Option<Arc<Names>>>,
        known: &mut KnownMembers,
    ) -> Result<(), watch::error::RecvError> {
        loop {
            if let Ok(changed) = changes(LOOK, wanted, known).await {
                return changed;
            }
            self.look().await;
        }
    }

    /// Until something else is wanted or known, ours is not there, or all is to be compared again.
    async fn watch_over(
        &self,
        wanted: &mut watch::Receiver<Option<Arc<Names>>>,
        known: &mut KnownMembers,
    ) -> Result<(), watch::error::RecvError> {
        for _ in 0..LOOKS {
            if let Ok(changed) = changes(LOOK, wanted, known).await {
                return changed;
            }
            if self.look().await.is_some_and(|there| !self.own.is_subset(&there)) {
                break;
            }
        }
        Ok(())
    }

    /// Our EndpointSlices that are there, if that can be told.
    async fn look(&self) -> Option<BTreeSet<String>> {
        let answer = self.shelf.look(&label_value(&self.site.router)).await;
        self.heard(&answer);
        answer.ok()
    }

    fn heard<T>(&self, answer: &Result<T, ShelfError>) {
        let heard = !matches!(answer, Err(ShelfError::Silent(_)));
        self.residents.tell(|register, now| register.heard(EVERY_SOURCE, heard, now));
    }
}

/// What changes first within that time: what is wanted or what is known.
async fn changes(
    within: Duration,
    wanted: &mut watch::Receiver<Option<Arc<Names>>>,
    known: &mut KnownMembers,
) -> Result<Result<(), watch::error::RecvError>, tokio::time::error::Elapsed> {
    let either = async {
        tokio::select! {
            changed = wanted.changed() => changed,
            changed = known.changed() => changed,
        }
    };
    tokio::time::timeout(within, either).await
}

#[cfg(test)]
mod tests;
