//! `plan`: what a router.yaml would change in its Kubernetes cluster, without changing it.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::mistakes;
use super::remote::{Failure, block_on};
use super::terminal::{Out, Tone, count, tame};
use crate::backend::kubernetes::plan::{self, Action, Change, Field, Plan};
use crate::config::{Purpose, load};
use crate::yaml::{Mistake, Severity};

/// The longest text of a value that is shown whole.
const SHORT: usize = 80;
/// So much is shown around the first difference of long ones.
const AROUND: usize = 30;

/// Arguments of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A router.yaml, and every ci.yml that it names
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Prints what would change. Success: all of it could be told, and would be accepted.
pub fn plan(args: &Args) -> ExitCode {
    let loaded = load(&args.config, Purpose::Check);
    let errors: Vec<Mistake> = loaded.mistakes.into_iter().filter(|m| m.severity == Severity::Error).collect();
    eprint!("{}", mistakes::shown(&Out::new(), &errors));
    let Some(settings) = loaded.settings else { return ExitCode::FAILURE };
    let mut sound = false;
    let done = block_on(async {
        match plan::plan(&settings).await {
            Ok(plan) => {
                sound = plan.problems.is_empty();
                show(args, &plan)
            }
            Err(problems) => {
                problems.iter().for_each(|problem| complain(problem));
                Ok(())
            }
        }
    });
    match done {
        Ok(()) if sound => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(failure) => failure.end(),
    }
}

fn show(args: &Args, plan: &Plan) -> Result<(), Failure> {
    let out = Out::new();
    if args.json {
        // The problems are in it.
        let text = serde_json::to_string_pretty(plan).map_err(|e| Failure::Output(e.into()))?;
        return out.line(&text);
    }
    plan.problems.iter().for_each(|problem| complain(problem));
    out.write(&in_words(&out, plan))
}

fn complain(problem: &str) {
    eprintln!("error: {}", tame(problem));
}

fn in_words(out: &Out, plan: &Plan) -> String {
    let mut text = String::new();
    let mut owner = None;
    // Writing to a string cannot fail.
    for change in &plan.changes {
        let now = owner_of(change);
        if owner.as_ref() != Some(&now) {
            let _ = writeln!(text, "{}", out.paint(Tone::Bold, &tame(&now)));
            owner = Some(now);
        }
        let (sign, tone) = match change.action {
            Action::Create => ("+", Tone::Good),
            Action::Change => ("~", Tone::Busy),
            Action::Remove => ("-", Tone::Bad),
        };
        let _ = writeln!(text, "  {}", out.paint(tone, &tame(&format!("{sign} {} {}", change.kind, change.name))));
        for field in &change.fields {
            let _ = writeln!(text, "      {}", tame(&shown(field)));
        }
    }
    for attached in &plan.attached {
        let plan::Attached { service, kind, namespace, name, replicas } = attached;
        let replicas = count(*replicas, "replica");
        let _ = writeln!(
            text,
            "{}\n  = {kind} {namespace}/{name} is only scaled; now {replicas}",
            out.paint(Tone::Bold, &tame(service))
        );
    }
    for plan::NotRunnable { service, remedy } in &plan.not_runnable {
        let why = out.paint(Tone::Busy, &tame(&format!("! not runnable here: {remedy}")));
        let _ = writeln!(text, "{}\n  {why}", out.paint(Tone::Bold, &tame(service)));
    }
    for plan::NotCompared { kind, name, landscape, service, reason } in &plan.not_compared {
        let whose = whose(landscape, service.as_deref());
        let what = out.paint(Tone::Busy, &tame(&format!("? {kind} {name} cannot be compared: {reason}")));
        let _ = writeln!(text, "{}\n  {what}", out.paint(Tone::Bold, &tame(&whose)));
    }
    for kind in &plan.not_listed {
        let _ = writeln!(text, "? {kind}s may not be listed: which of them would be removed is not known");
    }
    let _ = writeln!(text, "{}: {}", tame(&format!("namespace {} of {}", plan.namespace, plan.cluster)), sum(plan));
    text
}

fn owner_of(change: &Change) -> String {
    match &change.namespace {
        Some(namespace) => format!("names in namespace {namespace}"),
        None => whose(&change.landscape, change.service.as_deref()),
    }
}

fn whose(landscape: &str, service: Option<&str>) -> String {
    service.map_or_else(|| landscape.to_owned(), |service| format!("{landscape}/{service}"))
}

/// `1 created, 2 changed`
fn sum(plan: &Plan) -> String {
    let unknown = plan.not_compared.len();
    let known = sum_of_known(plan);
    if unknown > 0 { format!("{known}, {unknown} not compared") } else { known }
}

fn sum_of_known(plan: &Plan) -> String {
    let of = |action: Action| plan.changes.iter().filter(|c| c.action == action).count();
    let all = [(Action::Create, "created"), (Action::Change, "changed"), (Action::Remove, "removed")];
    let told: Vec<String> = all
        .iter()
        .map(|(action, word)| (of(*action), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    match (told.is_empty(), plan.problems.is_empty()) {
        (true, true) => "no changes".into(),
        (true, false) => count(plan.problems.len() as u64, "problem"),
        (false, true) => told.join(", "),
        (false, false) => format!("{}, {}", told.join(", "), count(plan.problems.len() as u64, "problem")),
    }
}

fn shown(field: &Field) -> String {
    let Field { path, before, after, hidden } = field;
    if *hidden {
        return format!("{path}: changed");
    }
    let (before, after) = (before.as_ref().map(Value::to_string), after.as_ref().map(Value::to_string));
    match (before, after) {
        (Some(before), Some(after)) => {
            let from = first_difference(&before, &after);
            format!("{path}: {} → {}", excerpt(&before, from), excerpt(&after, from))
        }
        (None, Some(after)) => format!("{path}: added {}", excerpt(&after, 0)),
        (Some(before), None) => format!("{path}: removed {}", excerpt(&before, 0)),
        (None, None) => path.clone(),
    }
}

/// In characters.
fn first_difference(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count()
}

/// A short text whole, of a long one what stands around a character.
fn excerpt(text: &str, at: usize) -> String {
    let length = text.chars().count();
    if length <= SHORT {
        return text.to_owned();
    }
    let from = at.saturating_sub(AROUND);
    let kept: String = text.chars().skip(from).take(SHORT).collect();
    let (before, after) = (if from > 0 { "…" } else { "" }, if from + SHORT < length { "…" } else { "" });
    format!("{before}{kept}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn change(action: Action, service: Option<&str>, fields: Vec<Field>) -> Change {
        let (name, service) = ("ws-server-shop-web".to_owned(), service.map(str::to_owned));
        Change { action, kind: "Deployment", name, namespace: None, landscape: "shop".into(), service, fields }
    }

    fn field(path: &str, before: Option<Value>, after: Option<Value>) -> Field {
        Field { path: path.into(), before, after, hidden: false }
    }

    fn plan() -> Plan {
        Plan {
            cluster: "https://c:6443".into(),
            namespace: "apps".into(),
            changes: Vec::new(),
            attached: Vec::new(),
            not_runnable: Vec::new(),
            not_compared: Vec::new(),
            not_listed: Vec::new(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn changes_stand_below_whom_they_concern() {
        let fields = vec![
            field("spec.a", Some(json!("x")), Some(json!("y"))),
            field("spec.b", None, Some(json!(1))),
            field("spec.c\u{1b}", Some(json!([1])), None),
            Field { hidden: true, ..field("data.PASS", None, None) },
        ];
        let plan = Plan {
            changes: vec![
                change(Action::Create, None, Vec::new()),
                change(Action::Change, Some("web"), fields),
                change(Action::Remove, Some("web"), Vec::new()),
            ],
            attached: vec![plan::Attached {
                service: "shop/db".into(),
                kind: "StatefulSet",
                name: "db".into(),
                namespace: "data".into(),
                replicas: 1,
            }],
            not_runnable: vec![plan::NotRunnable { service: "shop/job".into(), remedy: "set a base".into() }],
            not_compared: vec![plan::NotCompared {
                kind: "Secret",
                name: "ws-server-shop-web".into(),
                landscape: "shop".into(),
                service: Some("web".into()),
                reason: "this account may not read it",
            }],
            not_listed: vec!["Secret"],
            problems: vec!["one".into()],
            ..plan()
        };
        let expected = "shop
  + Deployment ws-server-shop-web
shop/web
  ~ Deployment ws-server-shop-web
      spec.a: \"x\" → \"y\"
      spec.b: added 1
      spec.c : removed [1]
      data.PASS: changed
  - Deployment ws-server-shop-web
shop/db
  = StatefulSet data/db is only scaled; now 1 replica
shop/job
  ! not runnable here: set a base
shop/web
  ? Secret ws-server-shop-web cannot be compared: this account may not read it
? Secrets may not be listed: which of them would be removed is not known
namespace apps of https://c:6443: 1 created, 1 changed, 1 removed, 1 problem, 1 not compared
";
        assert_eq!(in_words(&Out::plain(), &plan), expected);
    }

    #[test]
    fn nothing_to_change_is_said() {
        assert_eq!(in_words(&Out::plain(), &plan()), "namespace apps of https://c:6443: no changes\n");
        let one = Plan { problems: vec!["x".into()], ..plan() };
        assert_eq!(in_words(&Out::plain(), &one), "namespace apps of https://c:6443: 1 problem\n");
    }

    #[test]
    fn of_long_texts_the_difference_is_shown() {
        let of = |word: &str| json!(format!("{}{word}{}", "a".repeat(200), "b".repeat(200)));
        let told = shown(&field("spec.x", Some(of("old")), Some(of("new"))));
        assert!(told.contains("aaold") && told.contains("aanew") && told.matches('…').count() == 4, "{told}");
        assert!(told.chars().count() < 200, "{told}");
    }
}
