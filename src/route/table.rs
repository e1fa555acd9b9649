//! The compiled table and its lookup.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::host::{split_port, with_name};
use super::prefix::PrefixTree;
use super::rewrite::strip_prefix;
use crate::landscape::{LandscapeId, PathTarget};

/// What one path prefix or one public port of a landscape leads to.
#[derive(Debug, Clone)]
pub struct Route<T> {
    /// What the table's builder made for it.
    pub target: T,
    /// The landscape.
    pub landscape: LandscapeId,
    /// The service.
    pub service: Arc<str>,
    /// The port or URL it leads to.
    pub to: PathTarget,
    /// The prefix, without a trailing slash but for `/`; `None` for a port's own host.
    pub prefix: Option<Arc<str>>,
    /// Bytes at the path's beginning that the service does not see.
    pub strip: usize,
}

impl<T> Route<T> {
    /// The path and query as the service sees them; of a path that this route was found for.
    pub fn rewrite<'p>(&self, path_and_query: &'p str) -> Cow<'p, str> {
        strip_prefix(path_and_query, self.strip)
    }
}

/// The routes of several landscapes that share one custom domain's load; at least one.
pub type Shared<'t, T> = SmallVec<[&'t Route<T>; 4]>;

/// Where a request goes.
#[derive(Debug)]
pub enum Lookup<'t, T> {
    /// To one route.
    Found(&'t Route<T>),
    /// To any of these: a custom domain names several landscapes.
    Shared(Shared<'t, T>),
    /// The host is known, and no path of it covers this one.
    NoRoute {
        /// `None` where a custom domain has no path for it.
        landscape: Option<&'t LandscapeId>,
    },
    /// No landscape and no domain has this host.
    UnknownHost,
    /// The landscape's ci.yml never was good.
    Invalid {
        /// The landscape.
        landscape: &'t LandscapeId,
        /// Why, for the operator.
        reason: &'t Arc<str>,
    },
}

/// One landscape's routes.
#[derive(Debug, Clone)]
pub(super) struct Landscape<T> {
    pub(super) id: LandscapeId,
    pub(super) routes: Result<Routes<T>, Arc<str>>,
}

#[derive(Debug, Clone)]
pub(super) struct Routes<T> {
    pub(super) paths: PrefixTree<Route<T>>,
    /// Public ports with one owner, by number.
    pub(super) ports: Vec<(u16, Route<T>)>,
    /// Public ports of several services: their host leads to the path table.
    pub(super) shared_ports: Vec<(u16, Vec<Arc<str>>)>,
    /// For explanations: every prefix with its service, in file order.
    pub(super) listing: Vec<(Arc<str>, Arc<str>)>,
}

/// One custom domain: path prefix to indexes of landscapes.
pub(super) type DomainPaths = PrefixTree<(Arc<str>, Vec<usize>)>;

/// Every route of the router; immutable, made by a [`TableBuilder`](super::TableBuilder).
#[derive(Debug, Clone)]
pub struct Table<T> {
    pub(super) dev_domain: Arc<str>,
    pub(super) landscapes: Vec<Landscape<T>>,
    pub(super) ids: HashMap<LandscapeId, usize>,
    /// By exact host.
    pub(super) domains: HashMap<Box<str>, DomainPaths>,
    /// By what follows `*.`.
    pub(super) wildcards: HashMap<Box<str>, DomainPaths>,
}

/// What a host means, before the path is looked at.
pub(super) enum Meaning<'t, T> {
    Landscape(&'t Landscape<T>),
    Port(&'t Landscape<T>, &'t Route<T>),
    Domain(&'t DomainPaths),
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            dev_domain: "localhost".into(),
            landscapes: Vec::new(),
            ids: HashMap::new(),
            domains: HashMap::new(),
            wildcards: HashMap::new(),
        }
    }
}

impl<T> Table<T> {
    /// Where a request for `host` (a `Host` field's value, with or without a port, in any case) and
    /// `path` (a query after it is not looked at) goes.
    pub fn lookup(&self, host: &str, path: &str) -> Lookup<'_, T> {
        match with_name(host, |name| self.meaning(name)).flatten() {
            None => Lookup::UnknownHost,
            Some(Meaning::Port(_, route)) => Lookup::Found(route),
            Some(Meaning::Landscape(landscape)) => landscape.lookup(path),
            Some(Meaning::Domain(paths)) => match paths.longest(path) {
                None => Lookup::NoRoute { landscape: None },
                Some((_, ids)) => self.share(ids, path),
            },
        }
    }

    /// Whether some landscape or domain has this host.
    pub fn knows_host(&self, host: &str) -> bool {
        with_name(host, |name| self.meaning(name).is_some()) == Some(true)
    }

    /// Of a host in lower case, without port and final dot.
    pub(super) fn meaning(&self, host: &str) -> Option<Meaning<'_, T>> {
        if let Some(paths) = self.domains.get(host) {
            return Some(Meaning::Domain(paths));
        }
        self.dev_host(host).or_else(|| self.wildcard(host).map(|(_, paths)| Meaning::Domain(paths)))
    }

    fn dev_host(&self, host: &str) -> Option<Meaning<'_, T>> {
        let label = host.strip_suffix(&*self.dev_domain)?.strip_suffix('.')?;
        if let Some(&index) = self.ids.get(label) {
            return Some(Meaning::Landscape(&self.landscapes[index]));
        }
        let (id, port) = split_port(label)?;
        let landscape = &self.landscapes[*self.ids.get(id)?];
        let owner = landscape.routes.as_ref().ok().and_then(|r| r.ports.iter().find(|(n, _)| *n == port));
        Some(match owner {
            Some((_, route)) => Meaning::Port(landscape, route),
            None => Meaning::Landscape(landscape),
        })
    }

    /// The paths of the longest `*.` and suffix that covers a host, and that suffix.
    pub(super) fn wildcard<'h>(&self, host: &'h str) -> Option<(&'h str, &DomainPaths)> {
        if self.wildcards.is_empty() {
            return None;
        }
        // A name has at most 127 labels, so this is bounded whatever is configured.
        let mut below = host;
        while let Some((label, rest)) = below.split_once('.') {
            if !label.is_empty()
                && let Some(paths) = self.wildcards.get(rest)
            {
                return Some((rest, paths));
            }
            below = rest;
        }
        None
    }

    /// The routes of those landscapes that have one; where none has, what the first that is invalid, or
    /// else the first, says.
    fn share(&self, landscapes: &[usize], path: &str) -> Lookup<'_, T> {
        let mut found = Shared::new();
        let mut otherwise = Lookup::NoRoute { landscape: None };
        for &index in landscapes {
            match self.landscapes[index].lookup(path) {
                Lookup::Found(route) => found.push(route),
                other => {
                    if matches!(otherwise, Lookup::NoRoute { landscape: None })
                        || (matches!(other, Lookup::Invalid { .. }) && matches!(otherwise, Lookup::NoRoute { .. }))
                    {
                        otherwise = other;
                    }
                }
            }
        }
        match found.as_slice() {
            [] => otherwise,
            [one] => Lookup::Found(one),
            _ => Lookup::Shared(found),
        }
    }
}

impl<T> Landscape<T> {
    fn lookup(&self, path: &str) -> Lookup<'_, T> {
        match &self.routes {
            Err(reason) => Lookup::Invalid { landscape: &self.id, reason },
            Ok(routes) => match routes.paths.longest(path) {
                Some(route) => Lookup::Found(route),
                None => Lookup::NoRoute { landscape: Some(&self.id) },
            },
        }
    }
}
