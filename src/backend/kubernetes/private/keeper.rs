//! Makes the names that are there those that are wanted.
//!
//! Level-based: each round reads what is there, gives ports to what has none, opens the listeners, and only
//! then writes what differs, so that no name leads to a port at which nobody listens. A round that failed is
//! repeated; one that went well is, too, after a while, for others may change what is ours.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::watch;

use super::objects::{self, Ports, Site};
use super::shelf::{Shelf, ShelfError};
use crate::private::residents::{EVERY_SOURCE, Residents};
use crate::private::target_ports::TargetPorts;
use crate::proxy::Called;

/// From one question whether the API server answers to the next.
const LOOK: Duration = Duration::from_secs(60);
/// So many of them, and everything is compared again.
const LOOKS: u32 = 10;
/// After the first failure; doubled with each further one up to [`LOOK`].
const AGAIN: Duration = Duration::from_secs(1);
/// Objects that are written at a time.
const AT_A_TIME: usize = 8;

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
    ports: TargetPorts,
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
        Self { shelf, opener, residents, site, ports: TargetPorts::new(range), conflicts: BTreeSet::new() }
    }

    /// Follows what is wanted, until nobody can want anything any more. Nothing is touched before that is known.
    pub async fn run(mut self, mut wanted: watch::Receiver<Option<Arc<Names>>>) {
        let mut failures = 0u32;
        let mut told = String::new();
        loop {
            let Some(names) = wanted.borrow_and_update().clone() else {
                match wanted.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            };
            let wait = match self.settle(&names).await {
                Ok(()) => {
                    if std::mem::take(&mut failures) > 0 {
                        told.clear();
                        tracing::info!("the names of services are in the namespace {} again", self.site.namespace);
                    }
                    None
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
            let changed = match wait {
                Some(wait) => tokio::time::timeout(wait, wanted.changed()).await.unwrap_or(Ok(())),
                None => self.watch_over(&mut wanted).await,
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Until something else is wanted, or all is to be compared again.
    async fn watch_over(
        &self,
        wanted: &mut watch::Receiver<Option<Arc<Names>>>,
    ) -> Result<(), watch::error::RecvError> {
        for _ in 0..LOOKS {
            match tokio::time::timeout(LOOK, wanted.changed()).await {
                Ok(changed) => return changed,
                Err(_) => self.heard(&self.shelf.look().await),
            }
        }
        Ok(())
    }

    fn heard<T>(&self, answer: &Result<T, ShelfError>) {
        let heard = !matches!(answer, Err(ShelfError::Silent(_)));
        self.residents.tell(|register, now| register.heard(EVERY_SOURCE, heard, now));
    }

    /// One round; what went wrong in it, of which nothing keeps the rest from being done.
    async fn settle(&mut self, wanted: &Names) -> Result<(), Vec<ShelfError>> {
        let services = self.shelf.services().await;
        self.heard(&services);
        let services = services.map_err(|e| vec![e])?;
        let theirs = self.conflicts(wanted, &services);
        let wanted: Names =
            wanted.iter().filter(|(n, _)| !theirs.contains(*n)).map(|(n, p)| (n.clone(), p.clone())).collect();
        let mut errors = Vec::new();
        adopt_ports(&mut self.ports, &self.site, &wanted, &services);
        errors.extend(self.open(&wanted));
        let mut slices = Vec::new();
        for written in self.put_services(&wanted, &services).await {
            match written {
                Ok((service, ports)) => slices.push(self.site.slice(&service, &ports)),
                Err(error) => errors.push(error),
            }
        }
        let mut removing = Vec::new();
        for service in &services {
            let name = service.metadata.name.as_deref().unwrap_or_default();
            if self.site.is_ours(&service.metadata) && !wanted.contains_key(name) {
                removing.push(self.shelf.remove_service(service));
            }
        }
        errors.extend(some_at_a_time(removing).await.into_iter().filter_map(Result::err));
        errors.extend(self.settle_slices(slices, &wanted).await);
        if errors.is_empty() { Ok(()) } else { Err(first_of_each(errors)) }
    }

    /// Writes the Services that are not as they should be; all of them, with their ports.
    async fn put_services(&self, wanted: &Names, seen: &[Service]) -> Vec<Result<(Service, Ports), ShelfError>> {
        let there = by_name(seen);
        let mut putting: Vec<Asking<'_, _>> = Vec::new();
        for (name, ports) in wanted {
            let ports = self.given(name, ports);
            if ports.is_empty() {
                continue;
            }
            let service = self.site.service(name, &ports);
            let known = there.get(&**name).filter(|seen| objects::is_service(seen, &service)).map(|s| (*s).clone());
            putting.push(Box::pin(async move {
                match known {
                    Some(known) => Ok((known, ports)),
                    None => self.shelf.put_service(&service).await.map(|service| (service, ports)),
                }
            }));
        }
        some_at_a_time(putting).await
    }

    async fn settle_slices(&self, slices: Vec<EndpointSlice>, wanted: &Names) -> Vec<ShelfError> {
        let seen = match self.shelf.slices().await {
            Ok(seen) => seen,
            Err(error) => return vec![error],
        };
        let there: HashMap<&str, &EndpointSlice> =
            seen.iter().filter_map(|slice| Some((slice.metadata.name.as_deref()?, slice))).collect();
        let mut work = Vec::new();
        for slice in &slices {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            if there.get(name).is_none_or(|seen| !objects::is_slice(seen, slice)) {
                work.push(self.shelf.put_slice(slice));
            }
        }
        let names: BTreeSet<String> = wanted.keys().map(|name| self.site.slice_name(name)).collect();
        for slice in &seen {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            if self.site.is_ours(&slice.metadata) && !names.contains(name) {
                work.push(self.shelf.remove_slice(slice));
            }
        }
        some_at_a_time(work).await.into_iter().filter_map(Result::err).collect()
    }

    /// The names that somebody else's Services have.
    fn conflicts(&mut self, wanted: &Names, services: &[Service]) -> BTreeSet<Arc<str>> {
        let there = by_name(services);
        let is_theirs = |name: &&Arc<str>| there.get(&***name).is_some_and(|s| !self.site.is_ours(&s.metadata));
        let theirs: BTreeSet<Arc<str>> = wanted.keys().filter(is_theirs).cloned().collect();
        for name in theirs.difference(&self.conflicts) {
            tracing::error!(
                "the Service {name} in the namespace {} is not this router's: the name does not lead here; delete it, \
                 or choose another `kubernetes.names.namespace`",
                self.site.namespace
            );
        }
        self.conflicts.clone_from(&theirs);
        theirs
    }

    /// Listens for all that is wanted. A port that something else has is replaced by another one.
    fn open(&mut self, wanted: &Names) -> Option<ShelfError> {
        let all = || {
            wanted.iter().flat_map(|(name, ports)| ports.iter().map(|port| Called { name: name.clone(), port: *port }))
        };
        let mut exhausted = None;
        loop {
            for called in all() {
                if let Err(error) = self.ports.assign(&called) {
                    exhausted = Some(ShelfError::Refused(error.to_string()));
                }
            }
            let given: Vec<(Called, u16)> = self.ports.all().map(|(called, port)| (called.clone(), port)).collect();
            let mut barred = false;
            let mut failed = None;
            for (port, error) in self.opener.open(&given) {
                // Whatever else it is, another port would be no better.
                if error.kind() == io::ErrorKind::AddrInUse {
                    tracing::warn!("something else listens at {}:{port}: another port is taken", self.site.address);
                    self.ports.bar(port);
                    barred = true;
                } else {
                    let address = self.site.address;
                    failed = Some(ShelfError::Refused(format!("cannot listen at {address}:{port}: {error}")));
                }
            }
            if !barred {
                return failed.or(exhausted);
            }
        }
    }

    /// The router's ports for a name.
    fn given(&self, name: &Arc<str>, ports: &BTreeSet<u16>) -> Ports {
        let given = |port: &u16| Some((*port, self.ports.get(&Called { name: name.clone(), port: *port })?));
        ports.iter().filter_map(given).collect()
    }
}

/// What was given to ports that are wanted is kept.
pub fn adopt_ports(given: &mut TargetPorts, site: &Site, wanted: &Names, services: &[Service]) {
    let is_wanted = |called: &Called| wanted.get(&called.name).is_some_and(|ports| ports.contains(&called.port));
    given.retain(is_wanted);
    let mut ours: Vec<&Service> = services.iter().filter(|s| site.is_ours(&s.metadata)).collect();
    ours.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    for service in ours {
        let name: Arc<str> = service.metadata.name.as_deref().unwrap_or_default().into();
        for (port, target) in objects::ports_of(service) {
            let called = Called { name: name.clone(), port };
            if is_wanted(&called) {
                given.adopt(&called, target);
            }
        }
    }
}

/// A question under way.
type Asking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

async fn some_at_a_time<T>(work: Vec<Asking<'_, T>>) -> Vec<T> {
    stream::iter(work).buffer_unordered(AT_A_TIME).collect().await
}

fn by_name(services: &[Service]) -> HashMap<&str, &Service> {
    services.iter().filter_map(|service| Some((service.metadata.name.as_deref()?, service))).collect()
}

/// A few of them: a thousand names that cannot be written fail for one reason.
fn first_of_each(mut errors: Vec<ShelfError>) -> Vec<ShelfError> {
    const TOLD: usize = 3;
    errors.truncate(TOLD);
    errors
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
