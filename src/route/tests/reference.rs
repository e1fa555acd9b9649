//! The table against a router that is too simple to be wrong.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Given, builder, landscape, told};

/// A landscape: its id and its services' (prefix, strip) and public ports.
#[derive(Debug, Clone)]
struct Plain {
    id: &'static str,
    services: Vec<(Prefixes, Vec<u16>)>,
}

type Prefixes = Vec<(String, bool)>;
type Domains = Vec<(&'static str, Vec<(String, Vec<&'static str>)>)>;

/// Every prefix is tried in turn; nothing is precomputed.
fn naive(landscapes: &[Plain], domains: &Domains, host: &str, path: &str) -> String {
    let name = host.split(':').next().unwrap_or_default().to_lowercase();
    let name = name.trim_end_matches('.');
    let domain = |host: &str| domains.iter().find(|(h, _)| *h == host).map(|(_, paths)| paths);
    if let Some(paths) = domain(name) {
        return of_domain(landscapes, paths, path);
    }
    if let Some(label) = name.strip_suffix(".localhost") {
        if let Some(l) = landscapes.iter().find(|l| l.id == label) {
            return of_landscape(l, path);
        }
        for l in landscapes {
            let number = label.strip_prefix(&format!("{}-", l.id)).unwrap_or_default();
            let Some(port) = number.parse::<u16>().ok().filter(|p| *p > 0 && p.to_string() == number) else { continue };
            let owners: Vec<usize> = (0..l.services.len()).filter(|i| l.services[*i].1.contains(&port)).collect();
            return match owners.as_slice() {
                [one] => format!("{}/s{one}:{port} {path}", l.id),
                _ => of_landscape(l, path),
            };
        }
    }
    let mut wildcards: Vec<_> = domains.iter().filter(|(h, _)| h.starts_with("*.")).collect();
    wildcards.sort_by_key(|(h, _)| std::cmp::Reverse(h.len()));
    for (wildcard, paths) in wildcards {
        if name.ends_with(&wildcard[1..]) && name.len() > wildcard.len() - 1 {
            return of_domain(landscapes, paths, path);
        }
    }
    "unknown host".to_owned()
}

fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    let path = path.split('?').next().unwrap_or_default();
    path == prefix || path.starts_with(&format!("{prefix}/"))
}

fn of_domain(landscapes: &[Plain], paths: &[(String, Vec<&'static str>)], path: &str) -> String {
    let best = paths.iter().filter(|(p, _)| covers(p, path)).max_by_key(|(p, _)| p.trim_end_matches('/').len());
    let Some((_, ids)) = best else { return "no route -".to_owned() };
    let all: Vec<String> =
        ids.iter().filter_map(|id| landscapes.iter().find(|l| l.id == *id)).map(|l| of_landscape(l, path)).collect();
    let found: Vec<&String> = all.iter().filter(|a| !a.starts_with("no route")).collect();
    if found.is_empty() {
        all.first().cloned().unwrap_or("no route -".to_owned())
    } else {
        found.into_iter().cloned().collect::<Vec<_>>().join(" | ")
    }
}

fn of_landscape(l: &Plain, path: &str) -> String {
    let all = l.services.iter().enumerate().flat_map(|(i, (paths, _))| paths.iter().map(move |p| (i, p)));
    let best = all.filter(|(_, (p, _))| covers(p, path)).max_by_key(|(_, (p, _))| p.trim_end_matches('/').len());
    let Some((i, (prefix, strip))) = best else { return format!("no route {}", l.id) };
    let prefix = prefix.trim_end_matches('/');
    let rewritten = if *strip && !prefix.is_empty() {
        format!("/{}", path[prefix.len()..].trim_start_matches('/'))
    } else {
        path.to_owned()
    };
    format!("{}/s{i}:1 {rewritten}", l.id)
}

const IDS: [&str; 5] = ["a", "b", "a-80", "a-b", "4711"];
const HOSTS: [&str; 5] = ["x.example", "*.example", "*.x.example", "a.localhost", "*.localhost"];

fn path() -> impl Strategy<Value = String> {
    let segment = select(vec!["", "", "a", "b", "ab", "A", "%2F", "a%2Fb", ".", "é"]);
    vec(segment, 0..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn plain(id: &'static str) -> impl Strategy<Value = Plain> {
    let service = (vec((path(), any::<bool>()), 0..4), vec(select(vec![80, 81, 3000]), 0..2));
    vec(service, 0..4).prop_map(move |mut services| {
        // What claims a path first keeps it: two on one are refused before a table is built.
        let mut claimed = std::collections::HashSet::new();
        for (paths, _) in &mut services {
            paths.retain(|(p, _)| claimed.insert(p.trim_end_matches('/').to_owned()));
        }
        Plain { id, services }
    })
}

fn world() -> impl Strategy<Value = (Vec<Plain>, Domains)> {
    let landscapes = Vec::from(IDS.map(plain));
    let ids = select(vec![vec![], vec!["a"], vec!["b"], vec!["a", "b"], vec!["4711", "a-80", "a"]]);
    let paths = vec((path(), ids), 0..3)
        .prop_map(|mut paths| {
            let mut claimed = std::collections::HashSet::new();
            paths.retain(|(p, _)| claimed.insert(p.trim_end_matches('/').to_owned()));
            paths
        })
        .boxed();
    let domains = proptest::sample::subsequence(HOSTS.to_vec(), 0..=HOSTS.len()).prop_flat_map(move |hosts| {
        vec(paths.clone(), hosts.len()).prop_map(move |p| hosts.iter().copied().zip(p).collect())
    });
    (landscapes, domains)
}

fn host() -> impl Strategy<Value = String> {
    let name = select(vec![
        "a.localhost",
        "A.LocalHost",
        "b.localhost",
        "a-80.localhost",
        "a-81.localhost",
        "a-3000.localhost",
        "a-80-80.localhost",
        "a-b-80.localhost",
        "4711-81.localhost",
        "a-0.localhost",
        "a-081.localhost",
        "c.localhost",
        "x.a.localhost",
        "localhost",
        "x.example",
        "X.Example",
        "y.example",
        "y.x.example",
        "z.y.x.example",
        "example",
        "axexample",
        "nowhere",
    ]);
    (name, select(vec!["", ":80", ".", ".:8080"])).prop_map(|(name, tail)| format!("{name}{tail}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_table_finds_what_a_naive_search_finds(
        (landscapes, domains) in world(),
        asked in vec((host(), path(), select(vec!["", "?", "?x=/a/b", "?//"])), 1..20),
    ) {
        let names: Vec<String> = (0..10).map(|i| format!("s{i}")).collect();
        let specs: Vec<_> = landscapes.iter().map(|l| {
            let services: Vec<Given<'_>> = l.services.iter().enumerate().map(|(i, (paths, public))| Given {
                name: &names[i],
                paths: paths.iter().map(|(p, strip)| (&**p, *strip, 1)).collect(),
                public: public.clone(),
            }).collect();
            landscape(l.id, &services)
        }).collect();
        let mut builder = builder(&specs);
        for (host, paths) in &domains {
            builder.domain(host, paths);
        }
        let table = builder.build().unwrap();
        for (host, path, query) in asked {
            let path = format!("{path}{query}");
            let found = told(table.lookup(&host, &path), &path);
            prop_assert_eq!(&found, &naive(&landscapes, &domains, &host, &path), "{} {}", host, path);
        }
    }

    #[test]
    fn no_host_and_no_path_breaks_a_lookup(host in ".{0,300}", path in ".{0,300}") {
        let table = builder(&[super::shop()]).build().unwrap();
        let _ = told(table.lookup(&host, &path), &path);
        let _ = table.explain(&host, &path).to_string();
        let _ = told(table.lookup("4711.localhost", &path), &path);
    }
}
