//! The names of services in a cluster, in this process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::private;
use super::routes::Served;
use crate::config::settings::{BackendKind, Settings};
use crate::landscape::{LandscapeId, ServiceKey, ServiceSpec};
use crate::private::names::label_of;
use crate::private::ports_of;
use crate::proxy::{Called, PrivatePort};

/// The services that have names in a cluster, if any has: those that are in it.
fn named(settings: &Settings) -> impl Iterator<Item = (&Arc<ServiceSpec>, Arc<str>)> {
    let known = settings.kubernetes.names.iter().flat_map(|_| &settings.landscapes);
    let services = known.filter_map(|l| Some((l.spec.as_ref().ok()?, &l.policies)));
    services.flat_map(|(spec, policies)| {
        let there = policies.iter().filter(|(_, policy)| policy.backend == BackendKind::Kubernetes);
        let of = |(key, _): &(ServiceKey, _)| {
            let service = spec.services.get(&key.service)?;
            Some((service, label_of(&key.landscape, &key.service)?.into()))
        };
        there.filter_map(of)
    })
}

/// What requests read: every port of every name, by the landscape it is called in.
pub(super) fn table(
    settings: &Settings,
    served: &HashMap<ServiceKey, Served>,
) -> HashMap<LandscapeId, HashMap<Called, Arc<PrivatePort>>> {
    let Some(names) = &settings.kubernetes.names else { return HashMap::new() };
    let mut all: HashMap<LandscapeId, HashMap<Called, Arc<PrivatePort>>> = HashMap::new();
    for (spec, name) in named(settings) {
        let Some(served) = served.get(&spec.key) else { continue };
        let of_landscape = all.entry(spec.key.landscape.clone()).or_default();
        for number in ports_of(spec) {
            let port = Arc::new(private::port(spec, number, served, names.idle));
            of_landscape.insert(Called { name: name.clone(), port: number }, port);
        }
    }
    all
}

/// The names that there are to be, and their ports: of services that are called alike in two landscapes,
/// those of both.
pub(super) fn wanted(settings: &Settings) -> BTreeMap<Arc<str>, BTreeSet<u16>> {
    let mut all: BTreeMap<Arc<str>, BTreeSet<u16>> = BTreeMap::new();
    for (spec, name) in named(settings) {
        let ports = ports_of(spec);
        if !ports.is_empty() {
            all.entry(name).or_default().extend(ports);
        }
    }
    all
}
