//! Whole files, read and resolved.

mod kinds;
mod network;
mod refused;
mod seen;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::TargetGuard;
use super::{Allowances, Context, Home, LandscapeSpec, Plan, Plans, ServiceSpec, Vault, load, read};
use crate::yaml::{Mistake, Severity};

/// An installation to read files for.
pub(super) struct Installation {
    pub(super) env: BTreeMap<String, String>,
    pub(super) vault: Vault,
    pub(super) plans: Plans,
    pub(super) allow: Vec<ipnet::IpNet>,
    pub(super) allowances: Allowances,
    pub(super) team: &'static str,
}

impl Default for Installation {
    fn default() -> Self {
        let plan = |id: &str, max_replicas| Plan { id: id.into(), cpu: 1.0, memory: 1 << 30, max_replicas };
        Self {
            env: [("VERSION".to_owned(), "1.2".to_owned())].into(),
            vault: Vault::new([("PASS", "hunter2"), ("with space", "${{ team.id }}"), ("HOST", "db.example")]),
            plans: Plans { by_id: [(8, plan("8", 3))].into(), default: Some(plan("default", 10)) },
            allow: Vec::new(),
            allowances: Allowances { root: false, shares_ports: true },
            team: "7",
        }
    }
}

impl Installation {
    pub(super) fn load(&self, text: &str) -> (Option<LandscapeSpec>, Vec<Mistake>) {
        let home = Arc::new(Home::new("4711", self.team, "localhost", "/srv/shop".into()));
        let admin = Some(([127, 0, 0, 1], 9090).into());
        let targets = TargetGuard::new(self.allow.clone().into(), [], admin, []);
        let context = Context {
            home: &home,
            env: &self.env,
            vault: &self.vault,
            plans: &self.plans,
            targets: &targets,
            allowances: &|_| self.allowances,
        };
        load(Arc::new("ci.yml".into()), text.as_bytes(), &context)
    }
}

/// The landscape of a file without errors and warnings.
pub(super) fn clean(text: &str) -> LandscapeSpec {
    let (spec, mistakes) = Installation::default().load(text);
    let worse: Vec<_> = mistakes.iter().filter(|m| m.severity > Severity::Note).collect();
    assert!(worse.is_empty(), "{worse:#?}");
    spec.unwrap()
}

/// The landscape of a file that is accepted, and its warnings.
pub(super) fn warned(text: &str) -> (LandscapeSpec, Vec<Mistake>) {
    let (spec, mut mistakes) = Installation::default().load(text);
    mistakes.retain(|m| m.severity > Severity::Note);
    assert!(mistakes.iter().all(|m| m.severity == Severity::Warning), "{mistakes:#?}");
    (spec.unwrap(), mistakes)
}

/// The errors of a file that is refused.
pub(super) fn refused(text: &str) -> Vec<Mistake> {
    let (spec, mut mistakes) = Installation::default().load(text);
    mistakes.retain(|m| m.severity == Severity::Error);
    assert!(spec.is_none(), "accepted: {text}");
    assert!(!mistakes.is_empty(), "refused without a word: {text}");
    mistakes
}

/// One service of a file that holds it alone, its lines indented by four spaces.
pub(super) fn service(lines: &str) -> ServiceSpec {
    let spec = clean(&format!("schemaVersion: v0.4\nrun:\n  web:\n{lines}\n"));
    ServiceSpec::clone(&spec.services["web"])
}

/// Checks that `text` has one mistake, of this severity, at this place, whose message and remedy hold these
/// words.
pub(super) fn one_mistake(text: &str, severity: Severity, place: (u32, u32), words: &[&str]) {
    let (_, mut mistakes) = Installation::default().load(text);
    mistakes.retain(|m| m.severity > Severity::Note);
    let [mistake] = mistakes.as_slice() else { panic!("expected one mistake: {mistakes:#?}") };
    assert_eq!(mistake.severity, severity, "{mistake}");
    assert_eq!((mistake.place.line, mistake.place.column), place, "{mistake}");
    for word in words {
        assert!(mistake.to_string().contains(word), "{word:?} is not in {mistake}");
    }
}

/// What `check --ci` says to a file: its own mistakes and its notes.
pub(super) fn judged(text: &str) -> Vec<String> {
    let (file, mistakes) = read(Arc::new("ci.yml".into()), text.as_bytes());
    let notes = file.map(|f| f.notes()).unwrap_or_default();
    mistakes.into_iter().chain(notes).map(|m| m.to_string()).collect()
}
