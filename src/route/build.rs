//! From landscapes and domains to a [`Table`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::prefix::{PrefixTree, trimmed};
use super::rewrite::strip_prefix_length;
use super::table::{DomainPaths, Landscape, Route, Routes, Table};
use crate::landscape::{LandscapeId, LandscapeSpec, PathTarget, ServiceSpec};

/// Why a table cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// An id stands twice.
    #[error("landscape {0} is declared twice; give each landscape an id of its own")]
    Landscape(LandscapeId),
    /// Two services of one landscape claim a path.
    #[error("services {first} and {second} of landscape {landscape} both claim path {prefix}; change one of them")]
    Path {
        /// The landscape.
        landscape: LandscapeId,
        /// The path.
        prefix: String,
        /// Who came first.
        first: Arc<str>,
        /// Who came second.
        second: Arc<str>,
    },
    /// A domain stands twice.
    #[error("domain {0} is declared twice; write all its paths in one place")]
    Domain(String),
    /// A path of a domain stands twice.
    #[error("domain {domain} declares path {prefix} twice; list all its landscapes in one place")]
    DomainPath {
        /// The domain.
        domain: String,
        /// The path.
        prefix: String,
    },
    /// A domain leads to a landscape that does not exist.
    #[error("domain {domain} leads to landscape {id} at {prefix}, and there is no such landscape")]
    UnknownLandscape {
        /// The domain.
        domain: String,
        /// The path.
        prefix: String,
        /// The id that no landscape has.
        id: String,
    },
}

/// A domain's paths as given: prefix to ids.
type GivenPaths = Vec<(String, Vec<String>)>;

/// Collects what a [`Table`] is made of.
#[derive(Debug)]
pub struct TableBuilder<T> {
    table: Table<T>,
    domains: Vec<(String, GivenPaths)>,
    conflicts: Vec<Conflict>,
}

impl<T> TableBuilder<T> {
    /// An empty table whose dev hosts are `<id>.<dev_domain>`.
    pub fn new(dev_domain: &str) -> Self {
        let dev_domain = dev_domain.trim_matches('.').to_ascii_lowercase().into();
        let table = Table { dev_domain, ..Table::default() };
        Self { table, domains: Vec::new(), conflicts: Vec::new() }
    }

    /// Adds a landscape. `target` makes what a route leads to, once for each path and each public port
    /// of its services, in file order.
    pub fn landscape(&mut self, spec: &LandscapeSpec, mut target: impl FnMut(&Arc<ServiceSpec>, &PathTarget) -> T) {
        let id = &spec.home.id;
        let mut paths = PrefixTree::default();
        let mut listing = Vec::new();
        let mut public: Vec<(u16, Vec<&Arc<ServiceSpec>>)> = Vec::new();
        for service in spec.services.values() {
            for rule in &service.paths {
                let prefix: Arc<str> = trimmed(&rule.prefix).into();
                let strip = strip_prefix_length(&prefix, rule.strip);
                let route = Route {
                    target: target(service, &rule.to),
                    landscape: id.clone(),
                    service: service.key.service.clone(),
                    to: rule.to.clone(),
                    prefix: Some(prefix.clone()),
                    strip,
                };
                match paths.insert(&prefix, route) {
                    Ok(()) => listing.push((prefix, service.key.service.clone())),
                    Err((second, first)) => self.conflicts.push(Conflict::Path {
                        landscape: id.clone(),
                        prefix: prefix.to_string(),
                        first: first.service.clone(),
                        second: second.service,
                    }),
                }
            }
            for port in service.ports.iter().filter(|p| p.public && service.runs()) {
                match public.iter_mut().find(|(n, _)| *n == port.number) {
                    None => public.push((port.number, vec![service])),
                    Some((_, owners)) if !owners.iter().any(|o| o.key == service.key) => owners.push(service),
                    Some(_) => {}
                }
            }
        }
        let mut ports = Vec::new();
        let mut shared_ports = Vec::new();
        for (number, owners) in public {
            // Which of several is meant cannot be told from a host; the path table can tell.
            let [service] = owners.as_slice() else {
                shared_ports.push((number, owners.iter().map(|s| s.key.service.clone()).collect()));
                continue;
            };
            let to = PathTarget::Port(number);
            let target = target(service, &to);
            let service = service.key.service.clone();
            ports.push((number, Route { target, landscape: id.clone(), service, to, prefix: None, strip: 0 }));
        }
        self.add(id.clone(), Ok(Routes { paths, ports, shared_ports, listing }));
    }

    /// Adds a landscape whose ci.yml never was good.
    pub fn invalid(&mut self, id: LandscapeId, reason: impl Into<Arc<str>>) {
        self.add(id, Err(reason.into()));
    }

    /// Adds a custom domain: `host` is exact, or `*.` and a suffix; `paths` leads from a prefix to the ids
    /// that share its load.
    pub fn domain<P: AsRef<str>, I: AsRef<str>>(&mut self, host: &str, paths: &[(P, Vec<I>)]) {
        let paths = paths.iter().map(|(prefix, ids)| {
            (trimmed(prefix.as_ref()).to_owned(), ids.iter().map(|id| id.as_ref().to_owned()).collect())
        });
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.domains.push((host, paths.collect()));
    }

    /// The table, or everything that contradicts itself.
    pub fn build(mut self) -> Result<Table<T>, Vec<Conflict>> {
        for (host, paths) in std::mem::take(&mut self.domains) {
            let tree = self.domain_paths(&host, paths);
            let (map, key) = match host.strip_prefix("*.") {
                Some(suffix) => (&mut self.table.wildcards, suffix),
                None => (&mut self.table.domains, &*host),
            };
            if map.insert(key.into(), tree).is_some() {
                self.conflicts.push(Conflict::Domain(host));
            }
        }
        if self.conflicts.is_empty() { Ok(self.table) } else { Err(self.conflicts) }
    }

    fn domain_paths(&mut self, host: &str, paths: GivenPaths) -> DomainPaths {
        let mut tree = DomainPaths::default();
        for (prefix, ids) in paths {
            let mut indexes: Vec<usize> = Vec::with_capacity(ids.len());
            for id in ids {
                match self.table.ids.get(id.as_str()) {
                    Some(index) if indexes.contains(index) => {}
                    Some(index) => indexes.push(*index),
                    None => self.conflicts.push(Conflict::UnknownLandscape {
                        domain: host.to_owned(),
                        prefix: prefix.clone(),
                        id,
                    }),
                }
            }
            if tree.insert(&prefix, (prefix.as_str().into(), indexes)).is_err() {
                self.conflicts.push(Conflict::DomainPath { domain: host.to_owned(), prefix });
            }
        }
        tree
    }

    fn add(&mut self, id: LandscapeId, routes: Result<Routes<T>, Arc<str>>) {
        let ids: &mut HashMap<LandscapeId, usize> = &mut self.table.ids;
        match ids.entry(id.clone()) {
            Entry::Occupied(_) => self.conflicts.push(Conflict::Landscape(id)),
            Entry::Vacant(slot) => {
                slot.insert(self.table.landscapes.len());
                self.table.landscapes.push(Landscape { id, routes });
            }
        }
    }
}
