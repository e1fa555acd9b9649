//! `check`: every mistake of a router.yaml and what it names, or of one ci.yml alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::terminal::{Out, Tone, count};
use super::{machine, mistakes};
use crate::config::settings::{BackendKind, LandscapeSettings, Settings};
use crate::config::{self, Purpose};
use crate::landscape;
use crate::yaml::{self, Diagnostics, Mistake, Place, Severity};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["config", "ci"]))]
pub struct Args {
    /// A router.yaml, and every ci.yml that it names
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A ci.yml alone; what only an installation can know is a note
    #[arg(long, value_name = "FILE")]
    ci: Option<PathBuf>,
    /// Warnings are errors
    #[arg(long)]
    strict: bool,
    /// JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What was judged.
struct Judged {
    mistakes: Vec<Mistake>,
    /// What the file holds, in words.
    holds: String,
}

/// Prints every mistake. Success: there is no error, and with `--strict` no warning.
pub fn check(args: &Args) -> ExitCode {
    let (name, judged) = match (&args.config, &args.ci) {
        (Some(file), _) => (file, router(file)),
        (None, Some(file)) => (file, ci(file)),
        // The command line asks for one of them.
        (None, None) => return ExitCode::FAILURE,
    };
    let least = if args.strict { Severity::Warning } else { Severity::Error };
    let good = !judged.mistakes.iter().any(|m| m.severity >= least);
    let out = Out::new();
    let text = if args.json { json_of(&judged, good) } else { text_of(&out, name, &judged, good) };
    match out.write(&text) {
        Ok(()) if good => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(failure) => failure.end(),
    }
}

fn json_of(judged: &Judged, good: bool) -> String {
    format!("{:#}\n", json!({ "good": good, "mistakes": mistakes::as_json(&judged.mistakes) }))
}

fn text_of(out: &Out, name: &Path, judged: &Judged, good: bool) -> String {
    let verdict = if good { out.paint(Tone::Good, "good") } else { out.paint(Tone::Bad, "not good") };
    let holds = if judged.holds.is_empty() { String::new() } else { format!(", {}", judged.holds) };
    let sum = mistakes::sum(&judged.mistakes);
    format!("{}{}: {verdict}{holds}: {sum}\n", mistakes::shown(out, &judged.mistakes), name.display())
}

fn router(file: &Path) -> Judged {
    let loaded = config::load(file, Purpose::Check);
    let mut mistakes = loaded.mistakes;
    let holds = loaded.settings.as_ref().map(contents).unwrap_or_default();
    if let Some(settings) = &loaded.settings {
        let landscapes = on_processes(settings);
        let (of_machine, apart) = machine::look(settings, file, landscapes > 0);
        mistakes.extend(of_machine);
        mistakes.extend(trust_domain(landscapes, file, apart));
    }
    Judged { mistakes, holds }
}

fn contents(settings: &Settings) -> String {
    let services: usize =
        settings.landscapes.iter().filter_map(|l| l.spec.as_ref().ok()).map(|s| s.services.len()).sum();
    format!("{}, {}", count(settings.landscapes.len() as u64, "landscape"), count(services as u64, "service"))
}

/// How many landscapes have services that run as processes.
fn on_processes(settings: &Settings) -> usize {
    let has_some = |l: &&LandscapeSettings| {
        let Ok(spec) = &l.spec else { return false };
        let runs = |name: &str| spec.services.get(name).is_some_and(|s| s.runs());
        l.policies.iter().any(|(key, policy)| policy.backend == BackendKind::Process && runs(&key.service))
    };
    settings.landscapes.iter().filter(has_some).count()
}

/// Processes of one user can read, trace and signal each other.
fn trust_domain(landscapes: usize, file: &Path, apart: bool) -> Option<Mistake> {
    (landscapes > 0).then(|| Mistake {
        severity: Severity::Note,
        file: Arc::new(file.to_owned()),
        place: Place::default(),
        field: "backend".into(),
        message: {
            let all = format!("all processes of {} are one trust domain", count(landscapes as u64, "landscape"));
            let networks = "their networks are apart, their users and files are not";
            if apart { format!("{all}: {networks}") } else { all }
        },
        remedy: Some("run what does not trust each other with `backend: docker`".into()),
        excerpt: None,
    })
}

fn ci(file: &Path) -> Judged {
    let name = Arc::new(file.to_owned());
    let bytes = match yaml::file::read(file) {
        Ok(bytes) => bytes,
        Err(unread) => {
            let mut diagnostics = Diagnostics::hidden(name);
            unread.tell(&mut diagnostics);
            return Judged { mistakes: diagnostics.finish(), holds: String::new() };
        }
    };
    let (landscape, mut mistakes) = landscape::read(name, &bytes);
    let mut holds = String::new();
    if let Some(landscape) = landscape {
        mistakes.extend(landscape.notes());
        mistakes.sort_by_key(|m| m.place);
        holds = count(landscape.service_names().count() as u64, "service");
    }
    Judged { mistakes, holds }
}
