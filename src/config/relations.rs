//! What router.yaml says about the services of a landscape, compared with the services it has.

use std::collections::HashSet;

use super::checks::Checks;
use super::kubernetes;
use super::model;
use super::policy::Layers;
use crate::landscape::{LandscapeSpec, ServiceSpec};
use crate::yaml::field::{self, quote};

/// Tells services that do not exist, and dependencies that cannot be kept.
pub(super) fn check(spec: &LandscapeSpec, layers: Layers<'_>, at: &str, c: &mut Checks<'_>) {
    let landscape = layers.landscape;
    let names = || spec.services.keys().map(|name| &**name);
    let services = format!("{at}.services");
    for (name, service) in &landscape.services {
        let path = field::key(&services, name);
        if !spec.services.contains_key(name.as_str()) {
            c.key_error(&path, format!("the ci.yml has no service {}", quote(name)))
                .help(format!("it has {}", listed(names())))
                .help_nearest(name, names());
        }
        if let Some(spec) = spec.services.get(name.as_str()) {
            for port in service.protocols.keys().filter(|p| !declares(spec, p)) {
                let path = field::key(&format!("{path}.protocols"), port);
                c.key_error(&path, format!("{} does not declare port {port}", quote(name)))
                    .help(format!("it has {}", listed(spec.ports.iter().map(|p| p.number.to_string()))));
            }
        }
        for (i, needed) in service.depends_on.iter().enumerate() {
            let path = field::index(&format!("{path}.dependsOn"), i);
            match spec.services.get(needed.as_str()) {
                None => {
                    c.error(&path, format!("the ci.yml has no service {}", quote(needed)))
                        .help(format!("it has {}", listed(names())))
                        .help_nearest(needed, names());
                }
                Some(other) if !other.runs() => {
                    c.warning(&path, format!("{} runs nowhere here, so that nothing waits for it", quote(needed)))
                        .help("remove it");
                }
                Some(_) => {}
            }
        }
    }
    kubernetes::relations(spec, layers, at, c);
    for cycle in cycles(landscape) {
        let path = format!("{}.dependsOn", field::key(&services, cycle[0]));
        let way: Vec<_> = cycle.iter().chain(cycle.first()).map(|name| quote(name)).collect();
        c.error(&path, format!("services depend on each other: {}", way.join(" → ")))
            .help("remove one of the dependencies");
    }
}

fn declares(spec: &ServiceSpec, port: &str) -> bool {
    spec.ports.iter().any(|p| port.parse() == Ok(p.number))
}

fn listed<S: ToString>(names: impl Iterator<Item = S>) -> String {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    match names.len() {
        0 => "none".into(),
        1..=12 => names.join(", "),
        n => format!("{} and {} more", names[..12].join(", "), n - 12),
    }
}

/// Services that lead back to themselves by what they depend on: one cycle for each edge that closes one.
fn cycles(landscape: &model::Landscape) -> Vec<Vec<&str>> {
    let needs = |name: &str| landscape.services.get(name).map_or(&[][..], |s| &s.depends_on);
    let (mut found, mut done) = (Vec::new(), HashSet::new());
    for start in landscape.services.keys() {
        // A walk in depth, with the way to where it stands; and how many of each one's needs are walked.
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((name, walked)) = way.last_mut() {
            let name = *name;
            let next = if done.contains(name) { None } else { needs(name).get(*walked) };
            *walked += 1;
            let Some(next) = next else {
                done.insert(name);
                way.pop();
                continue;
            };
            match way.iter().position(|(n, _)| n == next) {
                Some(from) => found.push(way[from..].iter().map(|(n, _)| *n).collect()),
                None => way.push((next, 0)),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landscape(edges: &[(&str, &[&str])]) -> model::Landscape {
        let services: serde_json::Map<_, _> =
            edges.iter().map(|(name, needs)| ((*name).to_owned(), serde_json::json!({ "dependsOn": needs }))).collect();
        serde_json::from_value(serde_json::json!({ "id": "a", "services": services })).unwrap()
    }

    #[test]
    fn cycles_are_found_once() {
        let ring = landscape(&[("a", &["b"]), ("b", &["c"]), ("c", &["b", "d"]), ("d", &[])]);
        assert_eq!(cycles(&ring), [["b", "c"]]);
        assert_eq!(cycles(&landscape(&[("a", &["a"])])), [["a"]]);
        assert!(cycles(&landscape(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &["db"])])).is_empty());
    }

    #[test]
    fn a_long_chain_is_no_deep_call() {
        let names: Vec<String> = (0..50_000).map(|i| format!("s{i}")).collect();
        let needs: Vec<[&str; 1]> = (0..50_000).map(|i| [names[(i + 1) % names.len()].as_str()]).collect();
        let edges: Vec<(&str, &[&str])> = names.iter().zip(&needs).map(|(n, d)| (n.as_str(), &d[..])).collect();
        let chain = landscape(&edges[..20_000]);
        assert!(cycles(&chain).is_empty());
    }
}
