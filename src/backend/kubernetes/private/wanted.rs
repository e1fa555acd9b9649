//! Which names there are to be, as the configuration says. No IO.

use std::sync::Arc;

use super::Names;
use crate::config::settings::{BackendKind, Settings};
use crate::landscape::{ServiceKey, ServiceSpec};
use crate::private::names::label_of;
use crate::private::ports_of;

/// The services that have names in a cluster, if any has: those that are in it.
pub fn named(settings: &Settings) -> impl Iterator<Item = (&Arc<ServiceSpec>, Arc<str>)> {
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

/// The names that there are to be, and their ports: of services that are called alike in two landscapes,
/// those of both.
pub fn wanted(settings: &Settings) -> Names {
    let mut all = Names::new();
    for (spec, name) in named(settings) {
        let ports = ports_of(spec);
        if !ports.is_empty() {
            all.entry(name).or_default().extend(ports);
        }
    }
    all
}
