//! One round of the keeper: reads what is there, and writes what differs.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::super::objects::{self, Ports, Site};
use super::super::others;
use super::super::shelf::ShelfError;
use super::{Keeper, Names};
use crate::cluster::Members;
use crate::private::target_ports::TargetPorts;
use crate::proxy::Called;

/// Objects that are written at a time.
const AT_A_TIME: usize = 8;

impl Keeper {
    /// One round; what went wrong in it, of which nothing keeps the rest from being done.
    pub(super) async fn settle(&mut self, wanted: &Names, members: &Members) -> Result<(), Vec<ShelfError>> {
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

pub(super) async fn some_at_a_time<T>(work: Vec<Asking<'_, T>>) -> Vec<T> {
    stream::iter(work).buffer_unordered(AT_A_TIME).collect().await
}

fn by_name(services: &[Service]) -> HashMap<&str, &Service> {
    services.iter().filter_map(|service| Some((service.metadata.name.as_deref()?, service))).collect()
}

/// A few of them: a thousand names that cannot be written fail for one reason.
pub(super) fn first_of_each(mut errors: Vec<ShelfError>) -> Vec<ShelfError> {
    const TOLD: usize = 3;
    errors.truncate(TOLD);
    errors
}
