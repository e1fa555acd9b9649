//! The entries of `landscapes`, each with its ci.yml.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checks::Checks;
use super::files::Files;
use super::last_good::LastGood;
use super::load::Purpose;
use super::model::{self, Router};
use super::policy::Layers;
use super::settings::{BackendKind, LandscapeSettings, Policy, Settings, TrafficRule};
use super::{relations, traffic};
use crate::landscape::{
    self, Allowances, Context, Home, LandscapeSpec, Plans, ServiceKey, ServiceSpec, TargetGuard, Vault,
};
use crate::yaml::field::quote;
use crate::yaml::{self, Diagnostics, Mistake, Severity};

/// One entry, its paths resolved.
pub(super) struct Entry<'m> {
    model: &'m model::Landscape,
    /// `landscapes[3]`.
    at: String,
    home: Arc<Home>,
    /// The ci.yml, absolute.
    ci: PathBuf,
    /// As the user would name it.
    shown: Arc<PathBuf>,
    env: BTreeMap<String, String>,
    /// Whether the root is there.
    root_is_there: bool,
    /// The rules of each service that has its own, and of all others.
    traffic: Vec<(&'m str, Arc<[TrafficRule]>)>,
    common_traffic: Arc<[TrafficRule]>,
}

/// What became of one entry.
pub(super) struct Outcome {
    pub(super) landscape: LandscapeSettings,
    /// Mistakes of the ci.yml, and what concerns this landscape alone.
    pub(super) mistakes: Vec<Mistake>,
    /// The text to keep as the last good one.
    pub(super) text: Option<Vec<u8>>,
}

/// Checks what entries say of themselves and of each other.
pub(super) fn entries<'m>(router: &'m Router, settings: &Settings, c: &mut Checks<'_>) -> Vec<Entry<'m>> {
    let general = traffic::rules(&router.defaults.traffic, "defaults.traffic", c);
    confused_ids(router, c);
    let mut all: Vec<Entry<'m>> = Vec::new();
    for (i, model) in router.landscapes.iter().enumerate() {
        let at = format!("landscapes[{i}]");
        all.push(entry(Layers::new(router, model), at, settings, &general, c));
    }
    all
}

/// An id twice, and `a-3000` beside `a`, whose port 3000 would have the same host.
fn confused_ids(router: &Router, c: &mut Checks<'_>) {
    let ids = || router.landscapes.iter().map(|l| &*l.id.0);
    for (one, other) in crate::route::confused_ids(ids()) {
        // Of two alike, the last.
        let Some(at) = ids().collect::<Vec<_>>().iter().rposition(|id| *id == other) else { continue };
        let path = format!("landscapes[{at}].id");
        if one == other {
            c.error(&path, format!("the id {} is given twice", quote(one)))
                .help("every landscape has an id of its own");
        } else {
            let port = other.rsplit('-').next().unwrap_or_default();
            c.error(&path, format!("{} is also the host of port {port} of landscape {}", quote(other), quote(one)))
                .help("choose an id that is not another one, a hyphen and a number");
        }
    }
}

fn entry<'m>(
    layers: Layers<'m>,
    at: String,
    settings: &Settings,
    general: &[TrafficRule],
    c: &mut Checks<'_>,
) -> Entry<'m> {
    let model = layers.landscape;
    let (ci, root) = match (&model.ci, &model.root) {
        (Some(ci), Some(root)) => (PathBuf::from(ci), PathBuf::from(root)),
        (Some(ci), None) => (PathBuf::from(ci), Path::new(ci).parent().unwrap_or(Path::new("")).to_owned()),
        (None, Some(root)) => (Path::new(root).join("ci.yml"), PathBuf::from(root)),
        (None, None) => {
            c.error(&at, "expected `ci`, `root` or both").help("`root: shop` reads shop/ci.yml");
            (PathBuf::new(), PathBuf::new())
        }
    };
    let ci = match &model.profile {
        Some(profile) => with_profile(&ci, &profile.0),
        None => ci,
    };
    let absolute = |path: &Path| c.resolve(&path.to_string_lossy());
    let (ci_path, root_path) = (absolute(&ci), absolute(&root));
    let root_field = format!("{at}.root");
    if !layers.is_all_elsewhere() && contains(&root_path, &settings.state) {
        c.error(&root_field, format!("the router's state folder {} lies inside this root", settings.state.display()))
            .help("set `state` to a folder outside of every root, such as `state: ../.landscape-router`");
    }
    let home = Home {
        id: model.id.0.as_str().into(),
        team: model.team.as_str().into(),
        dev_domain: format!("{}.{}", model.id.0, settings.dev_domain).into(),
        root: root_path.clone(),
    };
    let mut common = traffic::rules(&model.defaults.traffic, &format!("{at}.defaults.traffic"), c);
    common.extend_from_slice(general);
    let of_service = |(name, service): (&'m String, &'m model::Service)| {
        let path = format!("{}.traffic", yaml::field::key(&format!("{at}.services"), name));
        let mut rules = traffic::rules(&service.traffic, &path, c);
        rules.extend_from_slice(&common);
        (name.as_str(), Arc::from(rules))
    };
    let traffic = model.services.iter().filter(|(_, s)| !s.traffic.is_empty()).map(of_service).collect();
    Entry {
        model,
        home: Arc::new(home),
        ci: ci_path,
        shown: Arc::new(ci),
        env: model.env.iter().map(|(k, v)| (k.clone(), v.0.clone())).collect(),
        root_is_there: root_path.is_dir(),
        traffic,
        common_traffic: common.into(),
        at,
    }
}

/// `ci.yml` and `prod` are `ci.prod.yml`.
fn with_profile(ci: &Path, profile: &str) -> PathBuf {
    let stem = ci.file_stem().unwrap_or_default().to_string_lossy();
    let extension = ci.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    ci.with_file_name(format!("{stem}.{profile}{extension}"))
}

/// Whether a path lies in a folder, links followed as far as both exist.
fn contains(folder: &Path, path: &Path) -> bool {
    real(path).starts_with(real(folder))
}

fn real(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            return path.strip_prefix(ancestor).map(|rest| real.join(rest)).unwrap_or(real);
        }
    }
    path.to_owned()
}

/// Reads the ci.yml files of one router.yaml.
pub(super) struct Reader<'r> {
    pub(super) router: &'r Router,
    /// Everything but the landscapes.
    pub(super) settings: &'r Settings,
    pub(super) plans: &'r Plans,
    pub(super) vault: &'r Vault,
    /// The folder of router.yaml as the user named it.
    pub(super) folder: &'r Path,
    pub(super) purpose: Purpose<'r>,
    pub(super) last_good: &'r LastGood,
    /// Whether parts of router.yaml were refused: a ci.yml is then judged by itself, since what it misses
    /// may be in them.
    pub(super) rough: bool,
}

/// A ci.yml's text, judged.
struct Judged {
    spec: Option<Arc<LandscapeSpec>>,
    /// Of the ci.yml.
    mistakes: Vec<Mistake>,
    /// Of router.yaml, about this landscape's services.
    relations: Vec<Mistake>,
}

impl Judged {
    /// Good in itself and together with router.yaml.
    fn good(&self) -> Option<&Arc<LandscapeSpec>> {
        self.spec.as_ref().filter(|_| !self.relations.iter().any(|m| m.severity == Severity::Error))
    }
}

impl Reader<'_> {
    /// Reads one entry's ci.yml; what is wrong with router.yaml is told to `c`.
    pub(super) fn read(&self, entry: &Entry<'_>, c: &mut Checks<'_>, files: &mut Files) -> Outcome {
        let read = yaml::file::read(&entry.ci);
        files.add(&entry.ci, read.as_deref());
        let name = Arc::new(self.folder.join(&*entry.shown));
        let mut own = Diagnostics::of(c.diagnostics.source().clone());
        if !entry.root_is_there && !self.is_elsewhere(entry, read.as_deref().ok(), c) {
            let path = format!("{}.root", entry.at);
            let message = format!("there is no folder {}", entry.home.root.display());
            own.error(c.places.value(&path), path, message).help("make it, or correct `root`");
            let mistakes = own.finish();
            // A folder that is being replaced stops nothing that runs. A text kept from before may be of
            // another root.
            return match self.in_force(entry, c) {
                Some(spec) => self.stale(entry, spec, mistakes),
                None => self.outcome(entry, Err(first_error(&mistakes)), None, mistakes),
            };
        }
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(unread) => {
                let mut d = Diagnostics::hidden(name);
                unread.tell(&mut d);
                return self.stand_in(entry, d.finish(), c);
            }
        };
        if self.rough {
            let (_, mistakes) = landscape::read(name, &bytes);
            return self.outcome(entry, Err("router.yaml is not good".to_owned()), None, mistakes);
        }
        let judged = self.judge(entry, name, &bytes, c);
        if let Some(spec) = judged.good().cloned() {
            c.diagnostics.extend(judged.relations);
            return self.outcome(entry, Ok(spec), Some(bytes), judged.mistakes);
        }
        if judged.spec.is_none() {
            return self.stand_in(entry, judged.mistakes, c);
        }
        // Good in itself, but router.yaml disagrees: it is the ci.yml that changed if its last version
        // still agrees; else router.yaml is wrong.
        let kept = self.kept(entry, c).filter(|(text, _)| *text != bytes);
        match kept {
            Some((_, spec)) => {
                let mistakes: Vec<_> = judged.mistakes.into_iter().chain(judged.relations).collect();
                self.stale(entry, spec, mistakes)
            }
            None => {
                let reason = first_error(&judged.relations);
                c.diagnostics.extend(judged.relations);
                self.outcome(entry, Err(reason), None, judged.mistakes)
            }
        }
    }

    /// Whether no service of a landscape sees the root on this machine: in a cluster it is a claim's.
    fn is_elsewhere(&self, entry: &Entry<'_>, bytes: Option<&[u8]>, c: &mut Checks<'_>) -> bool {
        let layers = Layers::new(self.router, entry.model);
        let is_there = |s: &Arc<ServiceSpec>| layers.backend(&s.key.service) == BackendKind::Kubernetes;
        match bytes.and_then(|bytes| self.judge(entry, Arc::default(), bytes, c).spec) {
            Some(spec) => spec.services.values().filter(|s| s.runs()).all(is_there),
            None => layers.is_all_elsewhere(),
        }
    }

    fn judge(&self, entry: &Entry<'_>, name: Arc<PathBuf>, bytes: &[u8], c: &mut Checks<'_>) -> Judged {
        let layers = Layers::new(self.router, entry.model);
        let allowances = |service: &str| match layers.backend(service) {
            BackendKind::Process => Allowances { root: self.settings.process.allow_root, shares_ports: true },
            BackendKind::Docker => Allowances { root: self.settings.docker.allow_root, shares_ports: false },
            BackendKind::Kubernetes => Allowances { root: self.settings.kubernetes.allow_root, shares_ports: false },
        };
        let context = Context {
            home: &entry.home,
            env: &entry.env,
            vault: self.vault,
            plans: self.plans,
            targets: &TargetGuard::new(
                self.settings.headless_allow.clone(),
                self.settings.listen.http.as_slice(),
                self.settings.listen.admin,
                [],
            ),
            allowances: &allowances,
        };
        let (spec, mistakes) = landscape::load(name, bytes, &context);
        let spec = spec.map(Arc::new);
        let relations = spec.as_deref().map(|spec| self.relations(spec, entry, c)).unwrap_or_default();
        Judged { spec, mistakes, relations }
    }

    fn relations(&self, spec: &LandscapeSpec, entry: &Entry<'_>, c: &Checks<'_>) -> Vec<Mistake> {
        let mut own = Diagnostics::of(c.diagnostics.source().clone());
        let mut checks = Checks { diagnostics: &mut own, places: c.places, folder: c.folder };
        relations::check(spec, Layers::new(self.router, entry.model), &entry.at, &mut checks);
        let mut all = own.finish();
        // What all landscapes have from router.yaml's own defaults is told once.
        let told = |m: &Mistake| c.diagnostics.mistakes().iter().any(|t| t.field == m.field && t.message == m.message);
        all.retain(|m| m.severity == Severity::Error || !told(m));
        all
    }

    /// The last good text from the state folder, if it still is good.
    fn kept(&self, entry: &Entry<'_>, c: &mut Checks<'_>) -> Option<(Vec<u8>, Arc<LandscapeSpec>)> {
        let Purpose::Run { .. } = self.purpose else { return None };
        let text = self.last_good.read(&entry.home.id)?;
        let spec = self.judge(entry, Arc::default(), &text, c).good().cloned()?;
        Some((text, spec))
    }

    /// A bad ci.yml: its last good version runs on, if there is one.
    fn stand_in(&self, entry: &Entry<'_>, mistakes: Vec<Mistake>, c: &mut Checks<'_>) -> Outcome {
        let kept = self.kept(entry, c).map(|(_, spec)| spec);
        match kept.or_else(|| self.in_force(entry, c)) {
            Some(spec) => self.stale(entry, spec, mistakes),
            None => self.outcome(entry, Err(first_error(&mistakes)), None, mistakes),
        }
    }

    /// The version in force, if it still is good.
    fn in_force(&self, entry: &Entry<'_>, c: &Checks<'_>) -> Option<Arc<LandscapeSpec>> {
        let Purpose::Run { previous } = self.purpose else { return None };
        let before = previous?.landscapes.iter().find(|l| l.id == entry.home.id)?;
        let spec = before.spec.as_ref().ok().filter(|spec| spec.home == entry.home)?;
        let agrees = !self.relations(spec, entry, c).iter().any(|m| m.severity == Severity::Error);
        agrees.then(|| spec.clone())
    }

    fn stale(&self, entry: &Entry<'_>, spec: Arc<LandscapeSpec>, mistakes: Vec<Mistake>) -> Outcome {
        let reason = first_error(&mistakes);
        let mut outcome = self.outcome(entry, Ok(spec), None, mistakes);
        outcome.landscape.stale = Some(reason);
        outcome
    }

    fn outcome(
        &self,
        entry: &Entry<'_>,
        spec: Result<Arc<LandscapeSpec>, String>,
        text: Option<Vec<u8>>,
        mistakes: Vec<Mistake>,
    ) -> Outcome {
        let policies = spec.as_ref().map(|spec| self.policies(spec, entry)).unwrap_or_default();
        let landscape = LandscapeSettings { id: entry.home.id.clone(), spec, stale: None, policies };
        Outcome { landscape, mistakes, text }
    }

    fn policies(&self, spec: &LandscapeSpec, entry: &Entry<'_>) -> Vec<(ServiceKey, Arc<Policy>)> {
        let layers = Layers::new(self.router, entry.model);
        let traffic = |name: &str| {
            let own = entry.traffic.iter().find(|(n, _)| *n == name);
            own.map_or(&entry.common_traffic, |(_, rules)| rules).clone()
        };
        let policy = |key: &ServiceKey| Arc::new(layers.policy(&key.service, traffic(&key.service)));
        spec.services.values().map(|s| (s.key.clone(), policy(&s.key))).collect()
    }
}

fn first_error(mistakes: &[Mistake]) -> String {
    let first = mistakes.iter().find(|m| m.severity == Severity::Error).or(mistakes.first());
    first.map_or_else(|| "it could not be read".to_owned(), ToString::to_string)
}
