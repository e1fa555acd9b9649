//! Why a request goes where it goes.

use serde::Serialize;

use super::host::{hostname, split_port, with_name};
use super::table::{Lookup, Meaning, Route, Table};
use crate::landscape::{PathTarget, climbs};

/// How alike two hosts have to be (0 to 1) to be mentioned.
const ALIKE: f64 = 0.8;
/// How many near misses of a kind are mentioned.
const MENTIONED: usize = 3;

/// What a table does with one host and path, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The host without port, in lower case.
    pub host: String,
    /// The path and query as given.
    pub path: String,
    /// Where it goes.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The rules that led there, in the order they were asked.
    pub because: Vec<String>,
    /// What nearly matched.
    pub nearly: Vec<String>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// To one of these; several where a custom domain's landscapes share the load.
    Found {
        /// At least one.
        routes: Vec<Destination>,
    },
    /// A route is found, and the request is answered 400 all the same.
    Refused {
        /// Where it would have gone.
        to: Destination,
        /// Why.
        reason: &'static str,
    },
    /// The host is known, its paths do not cover this one.
    NoRoute {
        /// `None` where a custom domain has no path for it.
        landscape: Option<String>,
    },
    /// No landscape and no domain has this host.
    UnknownHost,
    /// The landscape's ci.yml never was good.
    Invalid {
        /// The landscape.
        landscape: String,
        /// Why.
        reason: String,
    },
}

/// One place a request may go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The landscape's id.
    pub landscape: String,
    /// The service.
    pub service: String,
    /// The port of its replicas; `None` where it leads to a URL.
    pub port: Option<u16>,
    /// The URL of a headless service.
    pub target: Option<String>,
    /// The prefix that matched; `None` for a port's own host.
    pub prefix: Option<String>,
    /// Path and query as the service sees them.
    pub rewritten: String,
}

impl<T> Table<T> {
    /// What [`Table::lookup`] does with this host and path, told in words.
    pub fn explain(&self, host: &str, path: &str) -> Explanation {
        let name = with_name(host, str::to_owned).unwrap_or_else(|| hostname(host).to_owned());
        let mut because = Vec::new();
        let mut nearly = Vec::new();
        match self.meaning(&name) {
            None => {
                because.push(format!("no landscape and no domain has host {name}"));
                nearly.extend(self.hosts_like(&name));
            }
            Some(Meaning::Port(landscape, route)) => {
                because.push(format!(
                    "host {name} is the public port {} of service {} in landscape {}; such a host has no path rules",
                    shown(&route.to),
                    route.service,
                    landscape.id
                ));
            }
            Some(Meaning::Landscape(landscape)) => {
                because.push(format!("host {name} is landscape {}", landscape.id));
                because.extend(self.port_not_public(&name));
                self.explain_path(landscape, path, &mut because, &mut nearly);
            }
            Some(Meaning::Domain(paths)) => match paths.longest(path) {
                None => {
                    because.push(format!("host {name} is {} and none of its paths covers {path}", self.domain(&name)));
                    let given = paths.values().map(|(prefix, _)| prefix).filter(|p| is_near(p, without_query(path)));
                    for prefix in given.take(MENTIONED) {
                        let why = why_not(prefix, path);
                        nearly.push(format!("path {prefix} of the domain is close and does not cover it: {why}"));
                    }
                }
                Some((prefix, ids)) => {
                    let ids = ids.iter().map(|i| &self.landscapes[*i]);
                    let names: Vec<&str> = ids.clone().map(|l| &*l.id).collect();
                    because.push(format!(
                        "host {name} is {} whose path {prefix} leads to landscape {}; the path is kept",
                        self.domain(&name),
                        names.join(", ")
                    ));
                    for landscape in ids {
                        self.explain_path(landscape, path, &mut because, &mut nearly);
                    }
                }
            },
        }
        Explanation { path: path.to_owned(), outcome: self.outcome(host, path), host: name, because, nearly }
    }

    fn outcome(&self, host: &str, path: &str) -> Outcome {
        match self.lookup(host, path) {
            Lookup::Found(route) if leaves(&route.to, path) => Outcome::Refused {
                to: destination(route, path),
                reason: "the path holds dot segments, which would lead out of the target's own path",
            },
            Lookup::Found(route) => Outcome::Found { routes: vec![destination(route, path)] },
            Lookup::Shared(routes) => {
                Outcome::Found { routes: routes.iter().map(|route| destination(route, path)).collect() }
            }
            Lookup::NoRoute { landscape } => Outcome::NoRoute { landscape: landscape.map(|id| id.to_string()) },
            Lookup::UnknownHost => Outcome::UnknownHost,
            Lookup::Invalid { landscape, reason } => {
                Outcome::Invalid { landscape: landscape.to_string(), reason: reason.to_string() }
            }
        }
    }

    /// Why a host with a port in it led to the path table.
    fn port_not_public(&self, host: &str) -> Option<String> {
        let label = host.strip_suffix(&*self.dev_domain)?.strip_suffix('.')?;
        if self.ids.contains_key(label) {
            return None;
        }
        let (id, port) = split_port(label)?;
        let routes = self.landscapes[*self.ids.get(id)?].routes.as_ref().ok()?;
        Some(match routes.shared_ports.iter().find(|(n, _)| *n == port) {
            Some((_, owners)) => format!(
                "port {port} is public in {} services ({}), so the landscape's paths decide",
                owners.len(),
                owners.join(", ")
            ),
            None => format!("port {port} is not public, so the landscape's paths decide"),
        })
    }

    fn explain_path(
        &self,
        landscape: &super::table::Landscape<T>,
        path: &str,
        because: &mut Vec<String>,
        nearly: &mut Vec<String>,
    ) {
        let id = &landscape.id;
        let Ok(routes) = &landscape.routes else {
            because.push(format!("the ci.yml of landscape {id} never was good"));
            return;
        };
        let mut covering: Vec<&Route<T>> = routes.paths.all(path).collect();
        match covering.pop() {
            Some(route) => {
                let prefix = route.prefix.as_deref().unwrap_or("/");
                let strip = if route.strip > 0 { "removed (stripPath)" } else { "kept" };
                because.push(format!(
                    "path {prefix} of service {} in landscape {id} is the longest that covers it; the prefix is {strip}",
                    route.service
                ));
            }
            None => because.push(format!("no path of landscape {id} covers {path}")),
        }
        for route in covering.iter().rev().take(MENTIONED) {
            let prefix = route.prefix.as_deref().unwrap_or("/");
            nearly.push(format!("path {prefix} of service {} covers it too and is shorter", route.service));
        }
        let is_near = |prefix: &str| is_near(prefix, without_query(path));
        for (prefix, service) in routes.listing.iter().filter(|(p, _)| is_near(p)).take(MENTIONED) {
            let why = why_not(prefix, path);
            nearly.push(format!("path {prefix} of service {service} is close and does not cover it: {why}"));
        }
    }

    /// What a custom domain is called in words.
    fn domain(&self, name: &str) -> String {
        match self.wildcard(name).filter(|_| !self.domains.contains_key(name)) {
            Some((suffix, _)) => format!("of the custom domain *.{suffix}"),
            None => "a custom domain".to_owned(),
        }
    }

    fn hosts_like(&self, host: &str) -> Vec<String> {
        let dev = &self.dev_domain;
        let ids = self.landscapes.iter().flat_map(|l| {
            let ports = l.routes.as_ref().map(|r| r.ports.as_slice()).unwrap_or_default();
            let ports = ports.iter().map(move |(port, _)| format!("{}-{port}.{dev}", l.id));
            std::iter::once(format!("{}.{dev}", l.id)).chain(ports)
        });
        let domains = self.domains.keys().map(|d| d.to_string());
        let wildcards = self.wildcards.keys().map(|d| format!("*.{d}"));
        let mut alike: Vec<(f64, String)> = ids
            .chain(domains)
            .chain(wildcards)
            .map(|known| (strsim::jaro_winkler(&known, host), known))
            .filter(|(likeness, _)| *likeness >= ALIKE)
            .collect();
        alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        // A domain may be a development host besides.
        alike.dedup();
        alike.into_iter().take(MENTIONED).map(|(_, known)| format!("host {known}")).collect()
    }
}

fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Why a prefix that is near does not cover a path.
fn why_not(prefix: &str, path: &str) -> &'static str {
    if without_query(path).starts_with(prefix) { "only whole segments count" } else { "it differs" }
}

/// Whether a prefix does not cover a path but looks as if it should: it differs in case, in its last
/// characters, or is a part of a segment.
fn is_near(prefix: &str, path: &str) -> bool {
    if prefix == "/" || path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')) {
        return false;
    }
    let depth = prefix.matches('/').count();
    let end = path.match_indices('/').nth(depth).map_or(path.len(), |(i, _)| i);
    let head = &path[..end];
    head.starts_with(prefix) || strsim::jaro_winkler(&prefix.to_lowercase(), &head.to_lowercase()) >= ALIKE
}

/// Whether a path could lead out of the path that a target begins with.
fn leaves(to: &PathTarget, path: &str) -> bool {
    matches!(to, PathTarget::Url(url) if !url.base_path.is_empty() && climbs(without_query(path)))
}

fn destination<T>(route: &Route<T>, path: &str) -> Destination {
    let rewritten = route.rewrite(path);
    let (port, target, rewritten) = match &route.to {
        PathTarget::Port(port) => (Some(*port), None, rewritten.into_owned()),
        PathTarget::Url(url) if url.secret => (None, Some(url.to_string()), rewritten.into_owned()),
        PathTarget::Url(url) => (None, Some(url.to_string()), format!("{}{rewritten}", url.base_path)),
    };
    Destination {
        landscape: route.landscape.to_string(),
        service: route.service.to_string(),
        port,
        target,
        prefix: route.prefix.as_deref().map(str::to_owned),
        rewritten,
    }
}

fn shown(to: &PathTarget) -> String {
    match to {
        PathTarget::Port(port) => port.to_string(),
        PathTarget::Url(url) => url.to_string(),
    }
}

impl std::fmt::Display for Explanation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.outcome {
            Outcome::Found { routes } => {
                for r in routes {
                    writeln!(f, "landscape  {}", r.landscape)?;
                    writeln!(f, "service    {}", r.service)?;
                    match (&r.target, r.port) {
                        (Some(target), _) => writeln!(f, "target     {target}")?,
                        (None, Some(port)) => writeln!(f, "port       {port}")?,
                        (None, None) => {}
                    }
                    writeln!(f, "path       {}", r.rewritten)?;
                }
                if routes.len() > 1 {
                    writeln!(f, "these share the load")?;
                }
            }
            Outcome::Refused { to, reason } => {
                writeln!(f, "refused by the route to {}/{}: {reason}", to.landscape, to.service)?;
            }
            Outcome::NoRoute { landscape: Some(id) } => writeln!(f, "no route in landscape {id}")?,
            Outcome::NoRoute { landscape: None } => writeln!(f, "no route")?,
            Outcome::UnknownHost => writeln!(f, "unknown host {}", self.host)?,
            Outcome::Invalid { landscape, reason } => writeln!(f, "landscape {landscape} is invalid: {reason}")?,
        }
        for (heading, lines) in [("because", &self.because), ("nearly", &self.nearly)] {
            for line in lines {
                writeln!(f, "{heading:<11}{line}")?;
            }
        }
        Ok(())
    }
}
