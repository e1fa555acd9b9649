//! `status --propose`: callers that were seen, as `dependsOn` of a router.yaml.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::api::{Caller, Landscape, Service};
use super::remote::Name;
use super::terminal::{count, tame};
use crate::observe::calls::NOBODY;

/// What one landscape's router.yaml could say.
struct Proposal<'a> {
    landscape: &'a str,
    /// A service's whole `dependsOn`, and what is new in it.
    services: Vec<(&'a str, Vec<&'a str>, Vec<Edge<'a>>)>,
    left_out: Vec<(Edge<'a>, String)>,
}

/// A service that called another one.
#[derive(Clone, Copy)]
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    seen: &'a Caller,
}

/// The part of a router.yaml, to be merged into it.
pub(super) fn in_yaml(landscapes: &[Landscape], name: Option<&Name>) -> String {
    let all = proposals(landscapes, name);
    let mut text = String::new();
    if all.iter().any(|p| !p.services.is_empty()) {
        text.push_str("# Seen since this router started. Merge it into router.yaml.\nlandscapes:\n");
    } else {
        text.push_str("# No service was called by one that does not depend on it already.\n");
    }
    for proposal in &all {
        if !proposal.services.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  - id: {}\n    services:", scalar(proposal.landscape));
        }
        for (service, needs, new) in &proposal.services {
            let needs: Vec<String> = needs.iter().map(|n| scalar(n)).collect();
            let new: Vec<String> = new.iter().map(|e| format!("{} ({})", tame(e.to), often(e.seen))).collect();
            let (service, needs, new) = (scalar(service), needs.join(", "), new.join(", "));
            let _ = writeln!(text, "      {service}: {{ dependsOn: [{needs}] }}   # new: {new}");
        }
    }
    for proposal in &all {
        for (edge, why) in &proposal.left_out {
            let (from, to) = (tame(edge.from), tame(edge.to));
            let _ = writeln!(text, "# Left out: {}/{from} → {to}: {}", tame(proposal.landscape), tame(why));
        }
    }
    text
}

/// The same for programs, with what was left out.
pub(super) fn in_json(landscapes: &[Landscape], name: Option<&Name>) -> String {
    let all = proposals(landscapes, name);
    let services = |p: &Proposal<'_>| -> serde_json::Map<String, Value> {
        p.services.iter().map(|(name, needs, _)| ((*name).to_owned(), json!({ "dependsOn": needs }))).collect()
    };
    let proposed: Vec<Value> = all
        .iter()
        .filter(|p| !p.services.is_empty())
        .map(|p| json!({ "id": p.landscape, "services": services(p) }))
        .collect();
    let left_out: Vec<Value> = all
        .iter()
        .flat_map(|p| p.left_out.iter().map(move |(edge, why)| (p.landscape, edge, why)))
        .map(|(id, edge, why)| json!({ "landscape": id, "service": edge.from, "dependsOn": edge.to, "why": why }))
        .collect();
    format!("{}\n", json!({ "landscapes": proposed, "leftOut": left_out }))
}

fn proposals<'a>(landscapes: &'a [Landscape], name: Option<&Name>) -> Vec<Proposal<'a>> {
    let asked = |l: &&Landscape| name.is_none_or(|n| n.landscape == l.id);
    let wanted = |from: &str| name.and_then(|n| n.service.as_deref()).is_none_or(|n| n == from);
    let mut all: Vec<Proposal<'_>> = landscapes.iter().filter(asked).map(proposal).collect();
    for proposal in &mut all {
        proposal.services.retain(|(service, _, _)| wanted(service));
        proposal.left_out.retain(|(edge, _)| wanted(edge.from));
    }
    all
}

fn proposal(landscape: &Landscape) -> Proposal<'_> {
    let mut needs: HashMap<&str, Vec<&str>> = landscape
        .services
        .iter()
        .map(|s| (s.name.as_str(), s.depends_on.iter().map(String::as_str).collect()))
        .collect();
    let mut new: HashMap<&str, Vec<Edge<'_>>> = HashMap::new();
    let mut left_out = Vec::new();
    for edge in edges(&landscape.services) {
        let known = |name: &str| landscape.services.iter().find(|s| s.name == name);
        let reason = match (known(edge.from), known(edge.to)) {
            (None, _) => Some("the ci.yml has no such service any more".to_owned()),
            (_, to) if to.is_none_or(|s| s.state.is_none()) => {
                Some("nothing runs for it here, so that nothing waits for it".to_owned())
            }
            _ if edge.from == edge.to => Some("a service does not wait for itself".to_owned()),
            _ => way(&needs, edge.to, edge.from).map(|way| {
                let way: Vec<String> = way.into_iter().map(tame).collect();
                format!("together with {} services would wait for each other", way.join(" → "))
            }),
        };
        match reason {
            Some(why) => left_out.push((edge, why)),
            None => {
                needs.entry(edge.from).or_default().push(edge.to);
                new.entry(edge.from).or_default().push(edge);
            }
        }
    }
    let services = landscape.services.iter().filter_map(|s| {
        let name = s.name.as_str();
        Some((name, needs.get(name)?.clone(), new.remove(name)?))
    });
    Proposal { landscape: &landscape.id, services: services.collect(), left_out }
}

/// Who called whom without depending on it, the busiest first: of calls both ways the busier one stays.
fn edges(services: &[Service]) -> Vec<Edge<'_>> {
    let depends =
        |from: &str, to: &str| services.iter().any(|s| s.name == from && s.depends_on.iter().any(|d| d == to));
    let mut all: Vec<Edge<'_>> = services
        .iter()
        .flat_map(|s| s.callers.iter().map(|seen| Edge { from: &seen.service, to: &s.name, seen }))
        .filter(|edge| edge.from != NOBODY && !depends(edge.from, edge.to))
        .collect();
    let busy = |e: &Edge<'_>| e.seen.requests.saturating_add(e.seen.connections);
    all.sort_by(|a, b| busy(b).cmp(&busy(a)).then_with(|| (a.from, a.to).cmp(&(b.from, b.to))));
    all
}

/// How `from` depends on `to`, over others or not at all.
fn way<'a>(needs: &HashMap<&'a str, Vec<&'a str>>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut came: HashMap<&str, &'a str> = HashMap::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for &next in needs.get(at).into_iter().flatten() {
            if next == to {
                let mut way = vec![next, at];
                while let Some(before) = way.last().and_then(|last| came.get(last)) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if next != from && !came.contains_key(next) {
                came.insert(next, at);
                open.push(next);
            }
        }
    }
    None
}

fn often(seen: &Caller) -> String {
    match seen.requests {
        0 => count(seen.connections, "connection"),
        n => format!("{}, {}", count(seen.connections, "connection"), count(n, "request")),
    }
}

/// A name as a plain scalar of YAML where it is one and cannot be read as anything but text, else quoted;
/// what JSON escapes, YAML reads alike.
fn scalar(name: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && !WORDS.contains(&&*name.to_ascii_lowercase());
    if plain { name.to_owned() } else { Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service, what it depends on, and who called it how often.
    type Seen<'s> = (&'s str, &'s [&'s str], &'s [(&'s str, u64)]);

    fn landscape(services: &[Seen<'_>]) -> [Landscape; 1] {
        let service = |(name, needs, callers): &Seen<'_>| {
            let callers: Vec<_> =
                callers.iter().map(|(s, n)| json!({ "service": s, "connections": n, "requests": 0 })).collect();
            let state = if *name == "ext" { Value::Null } else { "ready".into() };
            json!({ "service": name, "state": state, "dependsOn": needs, "callers": callers })
        };
        let services: Vec<_> = services.iter().map(service).collect();
        [serde_json::from_value(json!({ "id": "4711", "error": null, "services": services })).unwrap()]
    }

    #[test]
    fn what_was_seen_is_added_to_what_is_there() {
        let all = landscape(&[
            ("web", &["db"], &[("-", 9)]),
            ("api", &[], &[("web", 3)]),
            ("db", &[], &[("web", 1), ("api", 2)]),
            ("on", &[], &[("api", 1)]),
        ]);
        assert_eq!(
            in_yaml(&all, None),
            "# Seen since this router started. Merge it into router.yaml.\n\
             landscapes:\n  \
             - id: \"4711\"\n    \
             services:\n      \
             web: { dependsOn: [db, api] }   # new: api (3 connections)\n      \
             api: { dependsOn: [db, \"on\"] }   # new: db (2 connections), on (1 connection)\n"
        );
        let one: Name = "4711/web".parse().unwrap();
        assert!(!in_yaml(&all, Some(&one)).contains(" api:"));
        let other: Name = "4712".parse().unwrap();
        assert_eq!(in_yaml(&all, Some(&other)), "# No service was called by one that does not depend on it already.\n");
    }

    #[test]
    fn a_cycle_is_left_open_where_it_is_used_least() {
        let all = landscape(&[("a", &["b"], &[("c", 1)]), ("b", &[], &[("a", 9)]), ("c", &[], &[("b", 5), ("c", 7)])]);
        let yaml = in_yaml(&all, None);
        assert!(yaml.contains("b: { dependsOn: [c] }") && !yaml.contains("c: {"), "{yaml}");
        assert!(
            yaml.contains("# Left out: 4711/c → a: together with a → b → c services would wait for each other\n"),
            "{yaml}"
        );
        assert!(yaml.contains("# Left out: 4711/c → c: a service does not wait for itself\n"), "{yaml}");
    }

    #[test]
    fn what_would_be_refused_is_left_out() {
        let all = landscape(&[("web", &[], &[("gone", 2)]), ("ext", &[], &[("web", 2)])]);
        let json: Value = serde_json::from_str(&in_json(&all, None)).unwrap();
        assert_eq!(json["landscapes"], json!([]));
        assert_eq!(json["leftOut"][0]["service"], "gone");
        assert_eq!(json["leftOut"][1]["dependsOn"], "ext");
        assert!(json["leftOut"][1]["why"].as_str().unwrap().starts_with("nothing runs"));
    }
}
