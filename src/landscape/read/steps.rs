//! Steps: shell commands in order.

use super::no_nul;
use crate::landscape::spec::Step;
use crate::yaml::{At, Diagnostics, Severity};

/// A list of `{name, command}`.
pub(super) fn read(at: &At<'_>, d: &mut Diagnostics) -> Vec<Step> {
    at.items(d).unwrap_or_default().iter().filter_map(|item| step(item, d)).collect()
}

fn step(at: &At<'_>, d: &mut Diagnostics) -> Option<Step> {
    if at.node.as_mapping().is_none() {
        at.expected(d, "a step").help("write it as `- command: …`");
        return None;
    }
    let mut map = at.map(d)?;
    let name = map.value("name").and_then(|at| at.text(d)).map(str::to_owned);
    let command = match map.get("command") {
        Some(at) => no_nul(&at, d).unwrap_or_default().to_owned(),
        None => {
            at.warning(d, "this step has no `command` and does nothing");
            String::new()
        }
    };
    map.finish(d, Severity::Warning);
    Some(Step { name, command })
}

/// Whether none of these steps has something to run. Where one was refused, that is what there is to tell:
/// `from` is the number of mistakes before they were read.
pub(super) fn are_idle(steps: &[Step], from: usize, d: &Diagnostics) -> bool {
    let refused = d.mistakes().iter().skip(from).any(|m| m.severity == Severity::Error);
    !refused && steps.iter().all(|step| step.command.trim().is_empty())
}
