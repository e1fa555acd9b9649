//! From the tree of a ci.yml to a [`LandscapeFile`]: versions, synonyms, and what excludes each other.

mod env;
mod health;
mod mounts;
mod network;
mod service;
mod steps;

use std::collections::HashMap;

use super::file::{FileKind, FilePath, FileService, FileTarget, LandscapeFile, Spot, Spotted, Text};
use super::spec::{Port, Step};
use super::template::Template;
use crate::yaml::field::quote;
use crate::yaml::{At, Diagnostics, Map, Node, Severity};

/// The one service of a flat v0.1 file.
const FLAT_SERVICE: &str = "app";
/// The port that a service has which declares none.
const DEFAULT_PORT: u16 = 3000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Flat,
    Named,
}

/// Reads the whole file.
pub(super) fn landscape(root: &Node, d: &mut Diagnostics) -> LandscapeFile {
    let mut file = LandscapeFile {
        source: d.source().clone(),
        prepare: Vec::new(),
        test: Vec::new(),
        services: Vec::new(),
        sound: false,
    };
    if let Some(mut map) = At::root(root).map(d) {
        let version = version(&mut map, d);
        file.prepare = stage(&mut map, "prepare", d);
        file.test = stage(&mut map, "test", d);
        match map.get("run") {
            Some(run) => file.services = run_stage(&run, version, d),
            None => {
                d.error(map.place, "", "`run` is missing, expected the services that run")
                    .help("is this a ci.yml? write `run:` and below it a name for each service");
            }
        }
        map.finish(d, Severity::Warning);
        check_paths(&file.services, d);
        note_shared_ports(&file.services, d);
    }
    file.sound = !d.has_errors();
    file
}

fn version(map: &mut Map<'_>, d: &mut Diagnostics) -> Option<Version> {
    let at = map.value("schemaVersion")?;
    let text = at.text(d)?;
    match text {
        "v0.1" => Some(Version::Flat),
        "v0.2" | "v0.3" | "v0.4" => Some(Version::Named),
        _ => {
            at.error(d, format!("unknown schemaVersion {}, expected v0.1, v0.2, v0.3 or v0.4", quote(text)))
                .help("the current version is v0.4");
            None
        }
    }
}

/// `prepare` or `test`: steps, or nothing.
fn stage(map: &mut Map<'_>, name: &'static str, d: &mut Diagnostics) -> Vec<Step> {
    let Some(at) = map.value(name) else { return Vec::new() };
    let Some(mut stage) = at.map(d) else { return Vec::new() };
    let steps = stage.value("steps").map(|at| steps::read(&at, d)).unwrap_or_default();
    stage.finish(d, Severity::Warning);
    steps
}

fn run_stage(run: &At<'_>, version: Option<Version>, d: &mut Diagnostics) -> Vec<FileService> {
    if run.node.is_null() {
        run.warning(d, "`run` is empty: nothing runs");
        return Vec::new();
    }
    let flat = run.node.as_mapping().and_then(|m| m.get("steps")).is_some_and(|s| s.as_mapping().is_none());
    if flat {
        if version == Some(Version::Named) {
            run.warning(
                d,
                format!("steps directly below `run` are schema v0.1's; read as the service `{FLAT_SERVICE}`"),
            )
            .help("give the service a name of its own below `run`");
        }
        return flat_service(run, d).into_iter().collect();
    }
    let Some(entries) = run.entries(d) else { return Vec::new() };
    if entries.is_empty() {
        run.warning(d, "`run` is empty: nothing runs");
    } else if version.is_none() {
        run.warning(d, "named services without a schemaVersion are read as v0.4's")
            .help("write `schemaVersion: v0.4` on the first line");
    } else if version == Some(Version::Flat) {
        run.warning(d, "schema v0.1 has `run.steps` alone; read as v0.4").help("write `schemaVersion: v0.4`");
    }
    entries.into_iter().filter_map(|(name, place, at)| service::read(name, place, &at, d)).collect()
}

/// The whole of a v0.1 file's `run`: one service, `/` to port 3000.
fn flat_service(run: &At<'_>, d: &mut Diagnostics) -> Option<FileService> {
    let mut map = run.map(d)?;
    let at = map.get("steps")?;
    let from = d.mistakes().len();
    let steps = if at.node.is_null() { Vec::new() } else { steps::read(&at, d) };
    if steps::are_idle(&steps, from, d) {
        at.warning(d, "no step has a command: nothing stays up");
    }
    map.finish(d, Severity::Warning);
    Some(FileService {
        name: FLAT_SERVICE.to_owned(),
        spot: Spot::of(run),
        kind: FileKind::Reactive { steps, base: None },
        plan: None,
        replicas: None,
        health: None,
        ports: vec![Port { number: DEFAULT_PORT, public: false }],
        paths: vec![FilePath {
            prefix: "/".to_owned(),
            strip: false,
            to: FileTarget::Port(DEFAULT_PORT),
            spot: Spot::of(&at),
        }],
        env: Vec::new(),
        user: None,
        group: None,
        mounts: Vec::new(),
    })
}

/// No path belongs to two services.
fn check_paths(services: &[FileService], d: &mut Diagnostics) {
    let mut claimed: HashMap<&str, (&str, &Spot)> = HashMap::new();
    for service in services {
        for path in &service.paths {
            let (prefix, second, here) = (&*path.prefix, &*service.name, &path.spot);
            let Some((first, there)) = claimed.get(prefix) else {
                claimed.insert(prefix, (second, here));
                continue;
            };
            let there = there.place;
            let message = if *first == second {
                format!(
                    "service `{second}` claims path {} twice, first at {}:{}",
                    quote(prefix),
                    there.line,
                    there.column
                )
            } else {
                format!(
                    "service `{second}` claims path {}, which service `{first}` claims at {}:{}",
                    quote(prefix),
                    there.line,
                    there.column
                )
            };
            here.error(d, message).help("give each a path of its own; the longest that fits a request wins");
        }
    }
}

/// A public port's host can lead to one service; where several make the same one public, paths decide.
fn note_shared_ports(services: &[FileService], d: &mut Diagnostics) {
    let mut owners: HashMap<u16, &FileService> = HashMap::new();
    for service in services.iter().filter(|s| s.kind.runs()) {
        for port in service.ports.iter().filter(|p| p.public) {
            match owners.get(&port.number) {
                None => {
                    owners.insert(port.number, service);
                }
                Some(first) if first.name != service.name => {
                    service.spot.note(
                        d,
                        format!(
                            "port {} is public here and in service `{}`, so that its host serves the landscape's paths",
                            port.number, first.name
                        ),
                    );
                }
                Some(_) => {}
            }
        }
    }
}

/// A text whose templates are taken apart; what cannot be is an error, or a warning where nothing
/// depends on it.
fn template(at: &At<'_>, severity: Severity, d: &mut Diagnostics) -> Option<Text> {
    let text = at.text_or_empty(d)?;
    let (template, bad) = Template::parse(text);
    for bad in bad {
        d.tell(severity, at.place(), &*at.field, bad.message).help(bad.remedy);
    }
    Some(Spotted { value: template, spot: Spot::of(at) })
}

/// Tells a template where none expands. `true`: there is one.
fn no_template(at: &At<'_>, d: &mut Diagnostics) -> bool {
    let found = at.node.as_scalar().map(|s| &*s.text).filter(|text| text.contains("${{"));
    if let Some(text) = found {
        at.error(d, format!("templates do not expand here, found {}", quote(text)))
            .help("they do in `env`, `image`, `config`, `secrets` and `target`; write the value out");
    }
    found.is_some()
}

/// A number and where it stands.
fn number(map: &mut Map<'_>, key: &'static str, low: u32, high: u32, d: &mut Diagnostics) -> Option<Spotted<u32>> {
    let at = map.value(key)?;
    if no_template(&at, d) {
        return None;
    }
    let value = at.int(d, i64::from(low)..=i64::from(high))?;
    Some(Spotted { value: u32::try_from(value).ok()?, spot: Spot::of(&at) })
}

/// A text that an operating system takes: without NUL.
fn no_nul<'n>(at: &At<'n>, d: &mut Diagnostics) -> Option<&'n str> {
    let text = at.text_or_empty(d)?;
    if text.contains('\0') {
        at.error(d, "a NUL character, which no program can be given").help("remove the `\\0`");
        return None;
    }
    Some(text)
}
