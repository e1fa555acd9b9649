//! Makes the names that are there those that are wanted.
//!
//! Level-based: each round reads what is there, gives ports to what has none, opens the listeners, and only
//! then writes what differs, so that no name leads to a port at which nobody listens. A round that failed is
//! repeated; one that went well is, too, after a while, for others may change what is ours.
//!
//! Services are common to all routers, and each keeps slices of its own. It does so only while it is known to
//! be there: what it writes at other times would be taken for a dead one's, and so would others' be by it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::sync::watch;

use super::objects::{self, Ports, Site};
use super::others::{self, Others};
use super::shelf::{Shelf, ShelfError};
use crate::backend::kubernetes::names::label_value;
use crate::cluster::Members;
use crate::private::residents::{EVERY_SOURCE, Residents};
use crate::private::target_ports::TargetPorts;
use crate::proxy::Called;

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

/// Which routers there are, where that is known.
type Known = watch::Receiver<Option<Members>>;

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
    pub async fn run(mut self, mut wanted: watch::Receiver<Option<Arc<Names>>>, mut known: Known) -> Self {
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
    pub async fn withdraw(self, known: &Known) -> usize {
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
        known: &mut Known,
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
        known: &mut Known,
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

    /// One round; what went wrong in it, of which nothing keeps the rest from being done.
    async fn settle(&mut self, wanted: &Names, members: &Members) -> Result<(), Vec<ShelfError>> {
        let services = self.shelf.services().await;
        self.heard(&services);
        let services = services.map_err(|e| vec![e])?;
        let read = tokio::time::Instant::now().into_std();
        let slices = self.shelf.slices().await;
        let mut errors = Vec::new();
        let seen = slices.unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        let has_slices = errors.is_empty();
        let theirs = self.conflicts(wanted, &services);
        let wanted: Names =
            wanted.iter().filter(|(n, _)| !theirs.contains(*n)).map(|(n, p)| (n.clone(), p.clone())).collect();
        let remembered = self.recall(&wanted, &services, &seen);
        errors.extend(self.open(&wanted));
        let mut slices = Vec::new();
        for written in self.put_services(&wanted, &services, remembered).await {
            match written {
                Ok((service, ports)) if !ports.is_empty() => slices.push(self.site.slice(&service, &ports)),
                Ok(_) => {}
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
        if has_slices {
            let gone = self.gone(&seen, members, read);
            errors.extend(self.settle_slices(slices, &seen, &wanted, &gone).await);
        }
        if errors.is_empty() { Ok(()) } else { Err(first_of_each(errors)) }
    }

    /// Takes up the ports that names had here before, and those that are remembered of them; these come back.
    fn recall(&mut self, wanted: &Names, services: &[Service], slices: &[EndpointSlice]) -> TargetPorts {
        let mut remembered = TargetPorts::new(self.range);
        adopt_ports(&mut remembered, &self.site, wanted, services);
        self.ports.retain(|called| is_wanted(wanted, called));
        for (name, ports) in others::ports_before(slices, &self.site) {
            let name: Arc<str> = name.into();
            for (port, target) in ports {
                let called = Called { name: name.clone(), port };
                if is_wanted(wanted, &called) {
                    self.ports.adopt(&called, target);
                }
            }
        }
        for (called, port) in remembered.all() {
            self.ports.adopt(called, port);
        }
        remembered
    }

    /// The routers that slices are of and that are gone.
    fn gone(&mut self, slices: &[EndpointSlice], members: &Members, read: Instant) -> BTreeSet<String> {
        let others = slices.iter().filter(|s| self.site.is_ours(&s.metadata) && !self.site.is_own(s));
        let routers = others.filter_map(objects::router_of).collect();
        let gone = self.others.gone(&routers, members, read);
        if !gone.is_empty() {
            tracing::info!(routers = ?gone, "names no longer lead to routers that are gone");
        }
        gone
    }

    /// Writes the Services that are not as they should be; all of them, with this router's ports.
    async fn put_services(
        &self,
        wanted: &Names,
        seen: &[Service],
        mut remembered: TargetPorts,
    ) -> Vec<Result<(Service, Ports), ShelfError>> {
        let there = by_name(seen);
        let mut putting: Vec<Asking<'_, _>> = Vec::new();
        for (called, port) in self.ports.all() {
            // What is remembered stays: it is no router's in particular.
            remembered.adopt(called, port);
        }
        for (name, ports) in wanted {
            let given = given(&self.ports, name, ports);
            let service = self.site.service(name, ports, &self::given(&remembered, name, ports));
            let known = there.get(&**name).filter(|seen| objects::is_service(seen, &service)).map(|s| (*s).clone());
            putting.push(Box::pin(async move {
                match known {
                    Some(known) => Ok((known, given)),
                    None => self.shelf.put_service(&service).await.map(|service| (service, given)),
                }
            }));
        }
        some_at_a_time(putting).await
    }

    /// Writes our slices first, and takes others away that lead to nobody, or to us as we were before.
    async fn settle_slices(
        &mut self,
        slices: Vec<EndpointSlice>,
        seen: &[EndpointSlice],
        wanted: &Names,
        gone: &BTreeSet<String>,
    ) -> Vec<ShelfError> {
        let there: HashMap<&str, &EndpointSlice> =
            seen.iter().filter_map(|slice| Some((slice.metadata.name.as_deref()?, slice))).collect();
        let mut writing = Vec::new();
        let mut own = BTreeSet::new();
        for slice in &slices {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            if there.get(name).is_none_or(|seen| !objects::is_slice(seen, slice)) {
                writing.push(self.shelf.put_slice(slice));
            }
            own.insert(name.to_owned());
        }
        let mut errors: Vec<_> = some_at_a_time(writing).await.into_iter().filter_map(Result::err).collect();
        let open: BTreeSet<u16> = self.ports.all().map(|(_, port)| port).collect();
        let mut removing = Vec::new();
        for slice in seen.iter().filter(|slice| self.site.is_ours(&slice.metadata)) {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            let spent = if self.site.is_own(slice) {
                !own.contains(name)
            } else if objects::name_of(slice).is_none_or(|name| !wanted.contains_key(name)) {
                true
            } else {
                match objects::router_of(slice) {
                    Some(router) if gone.contains(router) => true,
                    // These have led here, or to a router that knew of no other: not before ours do.
                    Some(_) => errors.is_empty() && others::is_of_a_former_one(slice, &self.site, &open),
                    None => errors.is_empty(),
                }
            };
            if spent {
                removing.push(self.shelf.remove_slice(slice));
            }
        }
        errors.extend(some_at_a_time(removing).await.into_iter().filter_map(Result::err));
        self.own = own;
        errors
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
}

/// The ports that are given for a name's.
fn given(all: &TargetPorts, name: &Arc<str>, ports: &BTreeSet<u16>) -> Ports {
    let given = |port: &u16| Some((*port, all.get(&Called { name: name.clone(), port: *port })?));
    ports.iter().filter_map(given).collect()
}

fn is_wanted(wanted: &Names, called: &Called) -> bool {
    wanted.get(&called.name).is_some_and(|ports| ports.contains(&called.port))
}

/// Takes up what Services remember of ports that are wanted.
pub fn adopt_ports(given: &mut TargetPorts, site: &Site, wanted: &Names, services: &[Service]) {
    let mut ours: Vec<&Service> = services.iter().filter(|s| site.is_ours(&s.metadata)).collect();
    ours.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    for service in ours {
        let name: Arc<str> = service.metadata.name.as_deref().unwrap_or_default().into();
        for (port, target) in objects::ports_of(service) {
            let called = Called { name: name.clone(), port };
            if is_wanted(wanted, &called) {
                given.adopt(&called, target);
            }
        }
    }
}

/// A question under way.
type Asking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What changes first within that time: what is wanted or what is known.
async fn changes(
    within: Duration,
    wanted: &mut watch::Receiver<Option<Arc<Names>>>,
    known: &mut Known,
) -> Result<Result<(), watch::error::RecvError>, tokio::time::error::Elapsed> {
    let either = async {
        tokio::select! {
            changed = wanted.changed() => changed,
            changed = known.changed() => changed,
        }
    };
    tokio::time::timeout(within, either).await
}

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
