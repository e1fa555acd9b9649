//! Rules about requests that are not use.

use std::sync::Arc;

use super::checks::Checks;
use super::model;
use super::settings::{PathPattern, TrafficClass, TrafficRule};
use crate::yaml::field::{self, quote};

/// The most text that a fixed answer may hold.
const MAX_BODY: usize = 64 << 10;

/// Reads the rules at a path; what is wrong with one is told, and the rule left out.
pub(super) fn rules(given: &[model::TrafficRule], path: &str, c: &mut Checks<'_>) -> Vec<TrafficRule> {
    given.iter().enumerate().filter_map(|(i, rule)| one(rule, &field::index(path, i), c)).collect()
}

fn one(rule: &model::TrafficRule, at: &str, c: &mut Checks<'_>) -> Option<TrafficRule> {
    let mut good = true;
    if rule.path.is_none() && rule.agent.is_none() && rule.methods.is_empty() && rule.sources.is_empty() {
        c.error(at, "expected at least one of `path`, `agent`, `methods` and `sources`")
            .help("a rule for every request is `path: /*`");
        good = false;
    }
    for (i, method) in rule.methods.iter().enumerate() {
        let known = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if !known {
            c.error(
                &field::index(&format!("{at}.methods"), i),
                format!("expected a method such as `GET`, found {}", quote(method)),
            )
            .help("methods are upper case");
            good = false;
        }
    }
    let path = match rule.path.as_ref().map(|p| pattern(&p.0)) {
        None => None,
        Some(Ok(pattern)) => Some(pattern),
        Some(Err(message)) => {
            c.error(&format!("{at}.path"), message).help("write `/a/b` for one path, `/a/*` for all below");
            return None;
        }
    };
    let then = match &rule.then {
        model::Traffic::Wake => TrafficClass::Wake,
        model::Traffic::OnlyIfAwake => TrafficClass::OnlyIfAwake,
        model::Traffic::NeverExtends => TrafficClass::NeverExtends,
        model::Traffic::AnswerWhileAsleep(answer) => {
            if answer.body.len() > MAX_BODY {
                c.error(&format!("{at}.then.answerWhileAsleep.body"), format!("expected at most {MAX_BODY} bytes"));
                good = false;
            }
            TrafficClass::AnswerWhileAsleep { status: answer.status, body: Arc::from(answer.body.as_str()) }
        }
    };
    let sources = rule.sources.iter().map(|n| n.0).collect();
    good.then(|| TrafficRule { path, agent: rule.agent.clone(), methods: rule.methods.clone(), sources, then })
}

fn pattern(text: &str) -> Result<PathPattern, &'static str> {
    let (prefix, all_below) = match text.strip_suffix("/*") {
        Some("") => ("/", true),
        Some(prefix) => (prefix, true),
        None => (text, false),
    };
    if prefix.contains('*') {
        return Err("`*` may only stand for everything after the last `/`");
    }
    let kept = prefix.to_owned();
    Ok(if all_below { PathPattern::Prefix(kept) } else { PathPattern::Exact(kept) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_everything_below() {
        assert_eq!(pattern("/a"), Ok(PathPattern::Exact("/a".into())));
        assert_eq!(pattern("/a/*"), Ok(PathPattern::Prefix("/a".into())));
        assert_eq!(pattern("/*"), Ok(PathPattern::Prefix("/".into())));
        assert!(pattern("/a*").is_err() && pattern("/*/b").is_err());
    }
}
