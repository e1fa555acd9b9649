//! `network`: declared ports and public paths; its legacy short form; and `isPublic`.

use super::{DEFAULT_PORT, no_template, template};
use crate::landscape::file::{FilePath, FileTarget, Spot};
use crate::landscape::spec::Port;
use crate::landscape::target::{self, is_dots};
use crate::yaml::field::quote;
use crate::yaml::{At, Diagnostics, Map, Severity};

/// What a service's `network` and `isPublic` say.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Declared ports; empty where the file declares none.
    pub(super) ports: Vec<Port>,
    pub(super) paths: Vec<FilePath>,
    /// Whether `ports` were written, be it an empty list.
    pub(super) declares_ports: bool,
}

impl Network {
    /// Whether some path leads to a URL.
    pub(super) fn has_target(&self) -> bool {
        self.paths.iter().any(|p| matches!(p.to, FileTarget::Url(_)))
    }

    /// The ports of a service that runs: the declared ones, else those of its paths, else 3000; where
    /// none are declared the service's `isPublic` is port 3000's.
    pub(super) fn complete(&mut self, is_public: bool) {
        if !self.ports.is_empty() {
            return;
        }
        for path in &self.paths {
            if let FileTarget::Port(number) = path.to
                && !self.ports.iter().any(|p| p.number == number)
            {
                self.ports.push(Port { number, public: false });
            }
        }
        if self.ports.is_empty() {
            self.ports.push(Port { number: DEFAULT_PORT, public: false });
        }
        if is_public && !self.declares_ports {
            for port in self.ports.iter_mut().filter(|p| p.number == DEFAULT_PORT) {
                port.public = true;
            }
        }
    }
}

/// Reads `network`.
pub(super) fn read(map: &mut Map<'_>, d: &mut Diagnostics) -> Network {
    let mut network = Network::default();
    let Some(mut block) = map.value("network").and_then(|at| at.map(d)) else { return network };
    if let Some(at) = block.value("ports") {
        network.declares_ports = true;
        network.ports = ports(&at, d);
    }
    let has_paths = block.holds("paths");
    if let Some(at) = block.value("paths") {
        for item in at.items(d).unwrap_or_default() {
            network.paths.extend(path(&item, &network, d));
        }
    }
    legacy(&mut block, &mut network, has_paths, d);
    block.finish(d, Severity::Warning);
    network
}

/// `path` and `stripPath` directly below `network`: one route to port 3000.
fn legacy(block: &mut Map<'_>, network: &mut Network, has_paths: bool, d: &mut Diagnostics) {
    let path = block.value("path");
    let strip_at = block.value("stripPath");
    let strip = strip_at.as_ref().and_then(|at| at.bool(d)).unwrap_or(false);
    let Some(at) = path else {
        if let Some(at) = strip_at {
            at.warning(d, "`stripPath` without `path` does nothing").help("write it below an item of `network.paths`");
        }
        return;
    };
    if network.declares_ports || has_paths {
        at.error(d, "`network.path` is the older form and excludes `network.ports` and `network.paths`")
            .help("move it into `network.paths` as `- { port: 3000, path: … }`");
        return;
    }
    if let Some(prefix) = prefix(&at, d) {
        let spot = Spot::of(&at);
        let strip = strip && prefix != "/";
        network.paths.push(FilePath { prefix, strip, to: FileTarget::Port(DEFAULT_PORT), spot });
    }
}

fn ports(at: &At<'_>, d: &mut Diagnostics) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for item in at.items(d).unwrap_or_default() {
        if item.node.as_scalar().is_some() {
            item.expected(d, "a mapping").help("write it as `- port: 3000`");
            continue;
        }
        let Some(mut map) = item.map(d) else { continue };
        let number = map.require(d, "port").and_then(|at| port_number(&at, d));
        let public = map.value("isPublic").and_then(|at| at.bool(d)).unwrap_or(false);
        map.finish(d, Severity::Warning);
        let Some(number) = number else { continue };
        match ports.iter_mut().find(|p| p.number == number) {
            Some(present) => {
                present.public = public;
                item.warning(d, format!("port {number} is declared twice; the last one counts"));
            }
            None => ports.push(Port { number, public }),
        }
    }
    ports
}

fn port_number(at: &At<'_>, d: &mut Diagnostics) -> Option<u16> {
    if no_template(at, d) {
        return None;
    }
    at.int(d, 1..=65535).and_then(|n| u16::try_from(n).ok())
}

fn path(at: &At<'_>, network: &Network, d: &mut Diagnostics) -> Option<FilePath> {
    if at.node.as_scalar().is_some() {
        at.expected(d, "a mapping").help("write it as `- { port: 3000, path: / }`");
        return None;
    }
    let mut map = at.map(d)?;
    let path = map.require(d, "path");
    let strip = map.value("stripPath").and_then(|at| at.bool(d)).unwrap_or(false);
    let port = map.value("port");
    let target = map.value("target");
    map.finish(d, Severity::Warning);
    let to = match (port, target) {
        (Some(_), Some(target)) => {
            target.error(d, "`port` and `target` exclude each other").help("keep `port` for a service that runs here");
            None
        }
        (Some(port), None) => {
            let number = port_number(&port, d)?;
            if network.declares_ports && !network.ports.iter().any(|p| p.number == number) {
                port.warning(d, format!("port {number} is not among `network.ports`")).help("declare it there");
            }
            Some(FileTarget::Port(number))
        }
        (None, Some(target)) => target_text(&target, d).map(FileTarget::Url),
        (None, None) => {
            at.error(d, "`port` or `target` is missing, expected where the path leads").help("write `port: 3000`");
            None
        }
    };
    let path = path?;
    let prefix = prefix(&path, d)?;
    let strip = strip && prefix != "/";
    Some(FilePath { prefix, strip, to: to?, spot: Spot::of(&path) })
}

/// A target; one without templates is read at once.
fn target_text(at: &At<'_>, d: &mut Diagnostics) -> Option<crate::landscape::file::Text> {
    let text = template(at, Severity::Error, d)?;
    if let Some(literal) = text.value.as_literal()
        && let Err(bad) = target::parse(literal, false)
    {
        at.error(d, bad.message).help(bad.remedy);
    }
    Some(text)
}

/// A path prefix without its trailing slashes.
fn prefix(at: &At<'_>, d: &mut Diagnostics) -> Option<String> {
    let text = at.text_or_empty(d)?;
    if no_template(at, d) {
        return None;
    }
    if text.is_empty() {
        at.warning(d, "an empty path is read as `/`").help("write `/`");
        return Some("/".to_owned());
    }
    if !text.starts_with('/') {
        at.error(d, format!("a path begins with `/`, found {}", quote(text))).help(format!("write `/{text}`"));
        return None;
    }
    if text.contains(['?', '#']) {
        at.error(d, format!("a path holds no `?` and no `#`, found {}", quote(text)))
            .help("routes do not look at the query");
        return None;
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        at.error(d, format!("a path holds no white space, found {}", quote(text))).help("write a space as `%20`");
        return None;
    }
    if text.split('/').any(is_dots) {
        at.error(d, format!("a path holds no `.` or `..` segments, found {}", quote(text)))
            .help("clients resolve them before they send a request");
        return None;
    }
    if !text.is_ascii() {
        let encoded = percent_encoding::utf8_percent_encode(text, &percent_encoding::AsciiSet::EMPTY);
        at.warning(d, "clients send such letters percent-encoded, and paths are compared as they are sent")
            .help(format!("write `{encoded}`"));
    }
    let cut = text.trim_end_matches('/');
    Some(if cut.is_empty() { "/" } else { cut }.to_owned())
}
