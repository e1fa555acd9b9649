//! One service: its kind follows from its keys.

use super::network::{self, Network};
use super::{env, health, mounts, no_nul, number, steps, template};
use crate::landscape::file::{FileKind, FileService, Spot, Spotted, Text};
use crate::landscape::spec::Step;
use crate::landscape::template::Key;
use crate::landscape::{image, name};
use crate::yaml::field::quote;
use crate::yaml::{At, Diagnostics, Kind, Map, Place, Severity};

/// Replicas that no plan allows.
const MANY_REPLICAS: u32 = 1000;

/// Reads the service `name`, whose key stands at `place`.
pub(super) fn read(name: &str, place: Place, at: &At<'_>, d: &mut Diagnostics) -> Option<FileService> {
    let spot = Spot { place, field: at.field.clone() };
    if at.node.is_null() {
        spot.error(d, "this service has nothing to run").help(NOTHING);
        return None;
    }
    let mut map = at.map(d)?;
    let parts = Parts::read(&mut map, d);
    let kind = if map.has("provider") { provider(&mut map, &parts, d) } else { parts.kind(&spot, &map, d) };
    let managed = matches!(kind, FileKind::Managed { .. });
    if !managed && !name::is_service_name(name) {
        let expected = "up to 32 small letters, digits and `-`, beginning with a letter";
        let mistake = spot.error(d, format!("{} cannot name a service, expected {expected}", quote(name)));
        if let Some(near) = name::suggestion(name) {
            mistake.help(format!("write `{near}`"));
        }
    }
    let mut service = FileService {
        name: name.to_owned(),
        plan: if managed { None } else { number(&mut map, "plan", 0, u32::MAX, d) },
        replicas: number(&mut map, "replicas", 1, MANY_REPLICAS, d),
        health: health::read(&mut map, d),
        ports: Vec::new(),
        paths: Vec::new(),
        env: env::read(&mut map, d),
        user: number(&mut map, "runAsUser", 0, u32::MAX - 1, d),
        group: number(&mut map, "runAsGroup", 0, u32::MAX - 1, d),
        mounts: mounts::read(&mut map, d),
        spot,
        kind,
    };
    let is_public = map.value("isPublic").and_then(|at| at.bool(d)).unwrap_or(false);
    let mut network = parts.network;
    if service.kind.runs() {
        network.complete(is_public);
        service.ports = network.ports;
    } else {
        idle_keys(&service.kind, &map, network.declares_ports, d);
    }
    if !managed {
        service.paths = network.paths;
        for key in ["config", "secrets", "backups"] {
            if let Some(at) = map.get(key) {
                at.warning(d, format!("`{key}` belongs to a Managed Service, and this one has no `provider`"));
            }
        }
    }
    map.finish(d, Severity::Warning);
    Some(service)
}

const NOTHING: &str = "give it `steps`, an `image`, a `provider`, or `network.paths` with a `target`";

/// What decides the kind.
struct Parts {
    steps: Option<Vec<Step>>,
    /// None of them has something to run.
    idle: bool,
    image: Option<(Text, &'static str)>,
    command: Option<Vec<String>>,
    network: Network,
}

impl Parts {
    fn read(map: &mut Map<'_>, d: &mut Diagnostics) -> Self {
        let from = d.mistakes().len();
        let steps = map.get("steps").map(|at| if at.node.is_null() { Vec::new() } else { steps::read(&at, d) });
        Self {
            idle: steps.as_ref().is_some_and(|s| steps::are_idle(s, from, d)),
            steps,
            image: image_text(map, d),
            command: map.value("command").and_then(|at| command(&at, d)),
            network: network::read(map, d),
        }
    }

    /// Whether it has steps that are more than an empty list.
    fn has_steps(&self) -> bool {
        self.steps.as_ref().is_some_and(|s| !s.is_empty())
    }

    /// Of a service without `provider`.
    fn kind(&self, spot: &Spot, map: &Map<'_>, d: &mut Diagnostics) -> FileKind {
        let steps = self.steps.clone();
        let place = |key: &str| map.key_place(key).unwrap_or(map.place);
        let runs = self.has_steps() || self.image.is_some();
        if self.network.has_target() && runs {
            let key = if self.has_steps() { "steps" } else { "image" };
            d.error(place(key), &*spot.field, "a service that runs here cannot also lead a path to a `target`")
                .help("make a service of its own for the target");
            return FileKind::Unclear;
        }
        if self.command.is_some() && (self.has_steps() || self.image.is_none()) {
            let message = if self.has_steps() {
                "`command` and `steps` exclude each other"
            } else {
                "`command` needs an `image`, whose CMD it replaces"
            };
            d.error(place("command"), &*spot.field, message).help("write shell commands as `steps`");
            return FileKind::Unclear;
        }
        match (&self.image, steps) {
            (Some((image, key)), Some(steps)) if !steps.is_empty() => match bare_base(image, key) {
                Some(base) => FileKind::Reactive { steps, base: Some(base) },
                None => FileKind::CustomBase { image: image.clone(), steps },
            },
            (Some((image, _)), _) => FileKind::Container { image: image.clone(), command: self.command.clone() },
            (None, _) if self.network.has_target() => {
                if self.network.paths.iter().any(|p| matches!(p.to, crate::landscape::file::FileTarget::Port(_))) {
                    spot.error(d, "some of its paths lead to a port and some to a `target`, and nothing runs here")
                        .help("give the service `steps` or an `image`, or every path a `target`");
                    return FileKind::Unclear;
                }
                FileKind::Headless
            }
            (None, Some(steps)) => {
                if self.idle {
                    let place = place("steps");
                    d.warning(place, format!("{}.steps", spot.field), "no step has a command: nothing stays up");
                }
                FileKind::Reactive { steps, base: None }
            }
            (None, None) => {
                // A broken image was told already.
                if !["image", "baseImage"].iter().any(|key| map.holds(key)) {
                    spot.error(d, "this service has nothing to run").help(NOTHING);
                }
                FileKind::Unclear
            }
        }
    }
}

/// A name from `baseImage` that can only be a base of the platform's, not a reference with a registry,
/// a folder, a tag or a digest.
fn bare_base(image: &Text, key: &str) -> Option<String> {
    let name = image.value.as_literal()?;
    (key == "baseImage" && !name.contains(['/', ':', '@'])).then(|| name.to_owned())
}

/// `image`, in older files `baseImage`; one without templates is checked at once.
fn image_text(map: &mut Map<'_>, d: &mut Diagnostics) -> Option<(Text, &'static str)> {
    let [first, second] = ["image", "baseImage"].map(|key| map.value(key).map(|at| (at, key)));
    if let (Some(_), Some((older, _))) = (&first, &second) {
        older.error(d, "`baseImage` is the older name of `image`, and both are given").help("keep `image`");
    }
    let (at, key) = first.or(second)?;
    let text = template(&at, Severity::Error, d)?;
    if let Some(literal) = text.value.as_literal()
        && let Err(why) = image::check(literal)
    {
        at.error(d, format!("{why}, found {}", quote(literal))).help("write it as registry.example/name:tag");
    }
    Some((text, key))
}

fn command(at: &At<'_>, d: &mut Diagnostics) -> Option<Vec<String>> {
    if matches!(at.node.kind, Kind::Scalar(_)) {
        at.expected(d, "a list of words")
            .help("write it as `command: [program, argument]`, or use `steps` for a shell");
        return None;
    }
    let words: Vec<String> = at.items(d)?.iter().filter_map(|w| no_nul(w, d)).map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

/// A Managed Service: understood, not provided.
fn provider(map: &mut Map<'_>, parts: &Parts, d: &mut Diagnostics) -> FileKind {
    let mut clear = true;
    let clashes = [
        ("steps", parts.has_steps()),
        ("image", map.has("image")),
        ("baseImage", map.has("baseImage")),
        ("command", parts.command.is_some()),
        ("network", parts.network.has_target()),
    ];
    for (key, present) in clashes {
        if present {
            let place = map.key_place(key).unwrap_or(map.place);
            d.error(place, &*map.field, format!("`{key}` and `provider` exclude each other"))
                .help("a Managed Service runs nothing of yours; make two services of it");
            clear = false;
        }
    }
    let name = map.require(d, "provider").and_then(|at| provider_name(&at, d));
    if let Some(at) = map.value("plan") {
        managed_plan(&at, d);
    }
    let mut uses = Vec::new();
    for key in ["config", "secrets", "backups"] {
        if let Some(at) = map.value(key) {
            // Nothing runs, so that a mistake here breaks nothing.
            walk(&at, d, &mut uses);
        }
    }
    match name {
        Some(provider) if clear => FileKind::Managed { provider, uses },
        _ => FileKind::Unclear,
    }
}

fn provider_name(at: &At<'_>, d: &mut Diagnostics) -> Option<String> {
    if at.node.as_scalar().is_some() {
        at.expected(d, "a mapping").help("write it as `provider: { name: postgres, schemaVersion: v1 }`");
        return None;
    }
    let mut map = at.map(d)?;
    let name = map.require(d, "name").and_then(|at| at.text(d)).map(str::to_owned);
    for key in ["schemaVersion", "version"] {
        if let Some(at) = map.value(key) {
            at.text(d);
        }
    }
    map.finish(d, Severity::Warning);
    name
}

/// A number, or `{id, parameters}`.
fn managed_plan(at: &At<'_>, d: &mut Diagnostics) {
    if at.node.as_scalar().is_some() {
        at.int(d, 0..=i64::from(u32::MAX));
        return;
    }
    let Some(mut map) = at.map(d) else { return };
    number(&mut map, "id", 0, u32::MAX, d);
    if let Some(parameters) = map.value("parameters") {
        parameters.map(d);
    }
    map.finish(d, Severity::Warning);
}

/// The templates of a tree of any shape.
fn walk(at: &At<'_>, d: &mut Diagnostics, uses: &mut Vec<Spotted<Key>>) {
    match &at.node.kind {
        Kind::Scalar(_) => {
            if let Some(text) = template(at, Severity::Warning, d) {
                let spot = &text.spot;
                uses.extend(text.value.keys().map(|key| Spotted { value: key.clone(), spot: spot.clone() }));
            }
        }
        Kind::Sequence(_) => at.items(d).unwrap_or_default().iter().for_each(|item| walk(item, d, uses)),
        Kind::Mapping(_) => at.entries(d).unwrap_or_default().iter().for_each(|(_, _, value)| walk(value, d, uses)),
    }
}

/// Warns of keys that say how something runs, where nothing does.
fn idle_keys(kind: &FileKind, map: &Map<'_>, declares_ports: bool, d: &mut Diagnostics) {
    let what = match kind {
        FileKind::Headless => "a service that only leads to a `target`",
        FileKind::Managed { .. } => "a Managed Service",
        _ => return,
    };
    let network = matches!(kind, FileKind::Managed { .. }).then_some("network");
    let keys = ["replicas", "healthEndpoint", "env", "runAsUser", "runAsGroup", "volumeMounts", "volumes"];
    for key in keys.into_iter().chain(network).filter(|key| map.has(key)) {
        let place = map.key_place(key).unwrap_or(map.place);
        d.warning(place, format!("{}.{key}", map.field), format!("`{key}` does nothing for {what}"));
    }
    if declares_ports && network.is_none() {
        let place = map.key_place("network").unwrap_or(map.place);
        d.warning(place, format!("{}.network.ports", map.field), format!("ports do nothing for {what}"));
    }
}
