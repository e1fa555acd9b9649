//! From a [`LandscapeFile`] and an installation to a [`LandscapeSpec`].

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::file::{FileKind, FilePath, FileService, FileTarget, LandscapeFile, Text};
use super::guard::TargetGuard;
use super::image;
use super::plans::Plans;
use super::spec::{
    Health, Home, LandscapeSpec, PathRule, PathTarget, Plan, ServiceKey, ServiceSpec, TargetUrl, Value, Workload,
};
use super::target;
use super::template::{Key, Piece};
use super::vault::Vault;
use crate::yaml::field::quote;
use crate::yaml::{Diagnostics, Mistake};

/// The longest expanded text: what one variable or argument may have on Linux (`MAX_ARG_STRLEN`).
const MAX_TEXT: usize = 128 << 10;
/// All expanded texts of a landscape together.
const MAX_TOTAL: usize = 4 << 20;
/// The port of a service that says nothing.
const DEFAULT_PORT: u16 = 3000;

/// What a landscape's file cannot know.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// Its id, team, hosts and root.
    pub home: &'c Arc<Home>,
    /// `workspace.env`.
    pub env: &'c BTreeMap<String, String>,
    /// Secrets.
    pub vault: &'c Vault,
    /// Plans.
    pub plans: &'c Plans,
    /// Where headless targets may lead.
    pub targets: &'c TargetGuard,
    /// What the operator allows a service, by its name; it depends on the service's backend.
    pub allowances: &'c dyn Fn(&str) -> Allowances,
}

/// What an operator allows one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    /// `runAsUser: 0`.
    pub root: bool,
    /// Whether its replicas share the router's own ports, as processes do and containers do not.
    pub shares_ports: bool,
}

/// Makes a landscape of a file that holds no error, and tells what in it this installation cannot do.
/// No landscape comes back where an error is found or the file holds one.
pub fn resolve(file: &LandscapeFile, context: &Context<'_>) -> (Option<LandscapeSpec>, Vec<Mistake>) {
    let mut resolver = Resolver { context, d: Diagnostics::of(file.source.clone()), total: 0 };
    let mut services = IndexMap::new();
    for service in &file.services {
        if let Some(spec) = resolver.service(service) {
            services.insert(spec.key.service.clone(), Arc::new(spec));
        }
    }
    let good = file.sound && !resolver.d.has_errors();
    let spec = good.then(|| LandscapeSpec {
        home: context.home.clone(),
        prepare: file.prepare.clone(),
        test: file.test.clone(),
        services,
    });
    (spec, resolver.d.finish())
}

struct Resolver<'c> {
    context: &'c Context<'c>,
    d: Diagnostics,
    total: usize,
}

impl<'c> Resolver<'c> {
    /// `None` where an error was told, here or when the file was read. Every part is looked at before
    /// the first bad one decides.
    fn service(&mut self, file: &FileService) -> Option<ServiceSpec> {
        let runs = file.kind.runs();
        if let FileKind::Managed { provider, .. } = &file.kind {
            file.spot.note(&mut self.d, format!("Managed Service {} is not provided here", quote(provider)));
        }
        let workload = self.workload(&file.kind);
        let share = if runs { self.plan(file) } else { Some((nothing(), 1)) };
        let env = if runs { self.env(file) } else { Some(BTreeMap::new()) };
        let paths = self.paths(file);
        if runs {
            let allowances = (self.context.allowances)(&file.name);
            self.user(file, allowances);
            self.health_port(file, allowances);
        }
        let (plan, replicas) = share?;
        let paths = paths?;
        let health = file.health.as_ref().filter(|_| runs).map_or(Health::Default, |h| h.value.clone());
        Some(ServiceSpec {
            key: ServiceKey::new(self.context.home.id.clone(), &*file.name),
            home: self.context.home.clone(),
            workload: workload?,
            plan,
            replicas,
            primary_port: primary_port(&paths, &health, file),
            health,
            ports: file.ports.clone(),
            paths,
            env: env?,
            user: file.user.as_ref().map(|u| u.value),
            group: file.group.as_ref().map(|g| g.value),
            mounts: file.mounts.clone(),
        })
    }

    fn env(&mut self, file: &FileService) -> Option<BTreeMap<String, Value>> {
        let expanded: Vec<_> = file.env.iter().map(|(name, text)| Some((name.clone(), self.expand(text)?))).collect();
        expanded.into_iter().collect()
    }

    fn paths(&mut self, file: &FileService) -> Option<Vec<PathRule>> {
        let rule = |path: &FilePath| {
            let to = match &path.to {
                FileTarget::Port(number) => PathTarget::Port(*number),
                FileTarget::Url(text) => PathTarget::Url(self.target(text)?),
            };
            Some(PathRule { prefix: path.prefix.clone(), strip: path.strip, to })
        };
        let rules: Vec<_> = file.paths.iter().map(rule).collect();
        rules.into_iter().collect()
    }

    fn workload(&mut self, kind: &FileKind) -> Option<Workload> {
        Some(match kind {
            FileKind::Reactive { steps, base } => Workload::Reactive { steps: steps.clone(), base: base.clone() },
            FileKind::Container { image, command } => {
                Workload::Container { image: self.image(image)?, command: command.clone() }
            }
            FileKind::CustomBase { image, steps } => {
                Workload::CustomBase { image: self.image(image)?, steps: steps.clone() }
            }
            FileKind::Headless => Workload::Headless,
            FileKind::Managed { provider, .. } => Workload::Managed { provider: provider.clone() },
            FileKind::Unclear => return None,
        })
    }

    fn plan(&mut self, file: &FileService) -> Option<(Plan, u32)> {
        let spot = file.plan.as_ref().map_or(&file.spot, |p| &p.spot);
        let id = file.plan.as_ref().map(|p| p.value);
        let Some((plan, asked_for)) = self.context.plans.find(id) else {
            let what = id.map_or("no plan is given".to_owned(), |id| format!("plan {id} is unknown"));
            spot.error(&mut self.d, format!("{what} and router.yaml has no default plan"))
                .help("add `plans: { default: { cpu: 1, memory: 1GiB, maxReplicas: 10 } }` to router.yaml");
            return None;
        };
        if let (false, Some(id)) = (asked_for, id) {
            spot.warning(&mut self.d, format!("plan {id} is unknown; the default plan is taken"))
                .help(format!("add `{id}` to `plans` of router.yaml"));
        }
        let wanted = file.replicas.as_ref().map_or(1, |r| r.value);
        if let Some(replicas) = file.replicas.as_ref().filter(|r| r.value > plan.max_replicas) {
            let (max, id) = (plan.max_replicas, &plan.id);
            replicas
                .spot
                .error(&mut self.d, format!("plan {id} has at most {max} replicas, found {wanted}"))
                .help("ask for fewer, or raise the plan's `maxReplicas` in router.yaml");
        }
        Some((plan.clone(), wanted))
    }

    fn user(&mut self, file: &FileService, allowances: Allowances) {
        if let Some(user) = file.user.as_ref().filter(|u| u.value == 0 && !allowances.root) {
            user.spot.error(&mut self.d, "running as root (uid 0) needs the operator's consent").help(
                "use another uid, or set `allowRoot: true` of its backend (`process`, `docker` or `kubernetes`) in router.yaml",
            );
        }
    }

    /// A process that is probed at the admin listener's port would be found healthy without running.
    fn health_port(&mut self, file: &FileService, allowances: Allowances) {
        let Some(health) = &file.health else { return };
        let (Health::Http { port, .. } | Health::Tcp { port }) = health.value else { return };
        if allowances.shares_ports && self.context.targets.admin().is_some_and(|admin| admin.port() == port) {
            health
                .spot
                .error(&mut self.d, format!("port {port} is the router's own admin listener's"))
                .help("let the application listen at another port, or move `listen.admin` in router.yaml");
        }
    }

    fn image(&mut self, text: &Text) -> Option<Value> {
        let value = self.expand(text)?;
        if let Err(why) = image::check(&value.text) {
            // What is wrong without a template was told when the file was read.
            if text.value.as_literal().is_some() {
                return None;
            }
            let found = shown(&value);
            text.spot.error(&mut self.d, format!("{why}, found {found}")).help("it is what the templates expand to");
            return None;
        }
        Some(value)
    }

    fn target(&mut self, text: &Text) -> Option<TargetUrl> {
        let value = self.expand(text)?;
        let judged = target::parse(&value.text, value.secret)
            .and_then(|target| target::check(&target, self.context.targets).map(|()| target));
        match judged {
            Ok(target) => Some(target),
            // What is wrong without a template was told when the file was read.
            Err(_) if text.value.as_literal().is_some_and(|t| target::parse(t, false).is_err()) => None,
            Err(bad) => {
                text.spot.error(&mut self.d, format!("{}, found {}", bad.message, shown(&value))).help(bad.remedy);
                None
            }
        }
    }

    /// The text with its templates' values in place. Values are never looked at again.
    fn expand(&mut self, text: &Text) -> Option<Value> {
        let mut out = String::new();
        let mut secret = false;
        let mut complete = true;
        for piece in &text.value.pieces {
            let (value, from_vault) = match piece {
                Piece::Literal(literal) => (&**literal, false),
                Piece::Key(key) => match self.look_up(key, text) {
                    Some(found) => found,
                    None => {
                        complete = false;
                        continue;
                    }
                },
            };
            secret |= from_vault;
            self.total += value.len();
            if out.len() + value.len() > MAX_TEXT || self.total > MAX_TOTAL {
                let message = format!("more than {MAX_TEXT} bytes, or {MAX_TOTAL} in the whole file, when expanded");
                text.spot.error(&mut self.d, message).help("put long texts into files of the workspace");
                return None;
            }
            out.push_str(value);
        }
        if out.contains('\0') {
            text.spot.error(&mut self.d, "a NUL character in a template's value").help("remove it there");
            return None;
        }
        complete.then(|| Value { text: out.into(), secret })
    }

    fn look_up(&mut self, key: &Key, text: &Text) -> Option<(&'c str, bool)> {
        let context = self.context;
        let home = context.home;
        let missing = match key {
            Key::Id => return Some((&home.id, false)),
            Key::DevDomain => return Some((&home.dev_domain, false)),
            Key::Team => {
                if home.team.is_empty() {
                    text.spot
                        .warning(&mut self.d, "`team.id` is empty: this landscape has no team")
                        .help("add `team` to the landscape in router.yaml");
                }
                return Some((&home.team, false));
            }
            Key::Vault(name) => match context.vault.get(name) {
                Some(value) => return Some((value, true)),
                None => name,
            },
            Key::Env(name) => match context.env.get(name) {
                Some(value) => return Some((value, false)),
                None => name,
            },
        };
        let vault = matches!(key, Key::Vault(_));
        let mistake = text.spot.error(&mut self.d, format!("nothing gives {} a value", quote(&key.to_string())));
        if vault {
            mistake.help("add the name to the vault's file, or the variable with the vault's prefix");
            mistake.help_nearest(missing, context.vault.names());
        } else {
            mistake.help("add the name to `env` of the landscape in router.yaml");
            mistake.help_nearest(missing, context.env.keys().map(|k| &**k));
        }
        None
    }
}

/// The share of a machine that a service has which runs nowhere.
fn nothing() -> Plan {
    Plan { id: "none".into(), cpu: 0.0, memory: 0, max_replicas: 1 }
}

fn shown(value: &Value) -> String {
    if value.secret { "a secret".to_owned() } else { quote(&value.text) }
}

/// That of path `/`, else of the first path, else of the health endpoint, else the first declared, else 3000.
fn primary_port(paths: &[PathRule], health: &Health, file: &FileService) -> u16 {
    let port = |rule: &PathRule| match rule.to {
        PathTarget::Port(number) => Some(number),
        PathTarget::Url(_) => None,
    };
    let probed = match health {
        Health::Http { port, .. } | Health::Tcp { port } => Some(*port),
        Health::Default => None,
    };
    let of_root = paths.iter().find(|rule| rule.prefix == "/").and_then(port);
    let of_first = || paths.iter().find_map(port);
    let declared = || file.ports.first().map(|p| p.number);
    of_root.or_else(of_first).or(probed).or_else(declared).unwrap_or(DEFAULT_PORT)
}
