//! `explain`: where a URL leads, by a router.yaml, and why.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::remote::Failure;
use super::terminal::{Out, tame};
use crate::config::settings::{BackendKind, Mode, Settings};
use crate::config::{Purpose, load};
use crate::landscape::{ServiceKey, ServiceSpec};
use crate::private::{names::names_of, ports_of};
use crate::route::{Destination, Explanation, Outcome, TableBuilder};
use crate::yaml::Severity;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The router.yaml
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// For programs
    #[arg(long)]
    json: bool,
    /// Such as `http://4711.localhost:8080/api/users?x=1`; scheme and port do not matter
    #[arg(value_name = "URL", value_parser = parse_url)]
    url: Asked,
}

/// A URL's host and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    host: String,
    path: String,
}

/// Tells where a URL leads; success where it leads somewhere.
pub fn explain(args: &Args) -> ExitCode {
    let loaded = load(&args.config, Purpose::Check);
    for mistake in loaded.mistakes.iter().filter(|m| m.severity == Severity::Error) {
        eprintln!("{}", tame(&mistake.to_string()));
    }
    let Some(settings) = loaded.settings else { return ExitCode::FAILURE };
    let explanation = match explanation(&settings, &args.url) {
        Ok(explanation) => explanation,
        Err(conflicts) => {
            conflicts.iter().for_each(|conflict| eprintln!("{}", tame(conflict)));
            return ExitCode::FAILURE;
        }
    };
    let shown = if args.json { in_json(&settings, &explanation) } else { in_words(&settings, &explanation) };
    match shown.and_then(|text| Out::new().write(&text)) {
        Err(failure) => failure.end(),
        Ok(()) if matches!(explanation.outcome, Outcome::Found { .. }) => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

fn explanation(settings: &Settings, asked: &Asked) -> Result<Explanation, Vec<String>> {
    let mut builder = TableBuilder::new(&settings.dev_domain);
    for landscape in &settings.landscapes {
        match &landscape.spec {
            Ok(spec) => builder.landscape(spec, |_, _| ()),
            Err(reason) => builder.invalid(landscape.id.clone(), reason.as_str()),
        }
    }
    for domain in &settings.domains {
        builder.domain(&domain.host, &domain.paths);
    }
    let table = builder.build().map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    Ok(table.explain(&asked.host, &asked.path))
}

/// What runs behind a route: replicas, how, and when.
struct Behind {
    replicas: u32,
    plan: String,
    backend: &'static str,
    mode: &'static str,
}

/// `None` where nothing runs.
fn behind(settings: &Settings, to: &Destination) -> Option<Behind> {
    let landscape = settings.landscapes.iter().find(|l| *l.id == *to.landscape)?;
    let service = landscape.spec.as_ref().ok()?.services.get(&*to.service).filter(|s| s.runs())?;
    let (_, policy) = landscape.policies.iter().find(|(key, _)| *key == service.key)?;
    Some(Behind {
        replicas: service.replicas,
        plan: service.plan.id.to_string(),
        backend: match policy.backend {
            BackendKind::Process => "process",
            BackendKind::Docker => "docker",
            BackendKind::Kubernetes => "kubernetes",
        },
        mode: match policy.mode {
            Mode::OffWhenUnused => "off-when-unused",
            Mode::AlwaysOn => "always-on",
        },
    })
}

/// A service as its landscape's other services find it.
struct Private<'s> {
    service: &'s ServiceSpec,
    names: Vec<String>,
    ports: Vec<u16>,
}

/// The service whose private name this host is.
fn private<'s>(settings: &'s Settings, host: &str) -> Option<Private<'s>> {
    if settings.private.is_none() && settings.kubernetes.names.is_none() {
        return None;
    }
    let specs = settings.landscapes.iter().filter_map(|l| l.spec.as_ref().ok());
    let of = |service: &'s Arc<ServiceSpec>| Private {
        service,
        names: names_of(&service.key.landscape, &service.key.service),
        ports: ports_of(service),
    };
    // An alias is another service's in every landscape.
    let long = |p: &Private<'_>| p.names.iter().any(|n| n == host && *n != p.service.key.service.to_ascii_lowercase());
    specs.flat_map(|spec| spec.services.values()).map(of).find(long).filter(|p| !p.ports.is_empty())
}

fn in_words(settings: &Settings, explanation: &Explanation) -> Result<String, Failure> {
    let mut text: String = explanation.to_string().lines().map(|line| format!("{}\n", tame(line))).collect();
    if let Outcome::Found { routes } = &explanation.outcome {
        for to in routes {
            if let Some(Behind { replicas, plan, backend, mode }) = behind(settings, to) {
                let name = format!("{}/{}", to.landscape, to.service);
                text += &format!("replicas   {replicas} of {name} by the {backend} backend, {mode}, plan {plan}\n");
            }
        }
    }
    if let Some(Private { service, ports, .. }) = private(settings, &explanation.host) {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let (service, landscape) = (&service.key, &service.key.landscape);
        let ports = ports.join(", ");
        text += &format!("private    {service} has this name among the services of {landscape} alone, port {ports}\n");
    }
    Ok(text)
}

fn in_json(settings: &Settings, explanation: &Explanation) -> Result<String, Failure> {
    let broken = |e: serde_json::Error| Failure::Output(e.into());
    let mut value = serde_json::to_value(explanation).map_err(broken)?;
    if let (Outcome::Found { routes }, Some(Value::Array(shown))) = (&explanation.outcome, value.get_mut("routes")) {
        for (to, shown) in routes.iter().zip(shown) {
            if let (Some(behind), Value::Object(shown)) = (behind(settings, to), shown) {
                shown.insert("replicas".into(), json!(behind.replicas));
                shown.insert("plan".into(), json!(behind.plan));
                shown.insert("backend".into(), json!(behind.backend));
                shown.insert("mode".into(), json!(behind.mode));
            }
        }
    }
    if let (Some(Private { service, names, ports }), Value::Object(shown)) =
        (private(settings, &explanation.host), &mut value)
    {
        let ServiceKey { landscape, service } = &service.key;
        let found = json!({ "landscape": landscape, "service": service, "names": names, "ports": ports });
        shown.insert("private".into(), found);
    }
    Ok(serde_json::to_string_pretty(&value).map_err(broken)? + "\n")
}

/// `[http[s]://]host[:port][/path][?query]`; a fragment never leaves the client.
fn parse_url(text: &str) -> Result<Asked, String> {
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if ["http", "https", "ws", "wss"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) => rest,
        Some((scheme, _)) if !scheme.contains(['/', '?']) => {
            return Err(format!("expected http or https, found {scheme}"));
        }
        _ => text,
    };
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if host.is_empty() {
        return Err("it has no host; write it as http://4711.localhost/path".to_owned());
    }
    if host.contains('@') {
        return Err("a user or password does not route; leave it out".to_owned());
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Asked { host: host.to_owned(), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_what_follows() {
        for (url, host, path) in [
            ("http://a.localhost:8080/api/x?y=/z#f", "a.localhost:8080", "/api/x?y=/z"),
            ("HTTPS://a.localhost", "a.localhost", "/"),
            ("a.localhost/x://y", "a.localhost", "/x://y"),
            ("a.localhost?x", "a.localhost", "/?x"),
            ("http://[::1]:80/", "[::1]:80", "/"),
        ] {
            assert_eq!(parse_url(url), Ok(Asked { host: host.into(), path: path.into() }), "{url}");
        }
        for bad in ["", "/x", "http:///x", "ftp://a/", "http://u:p@a/"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }

    fn settings(dir: &std::path::Path) -> Settings {
        std::fs::create_dir(dir.join("shop")).unwrap();
        std::fs::write(
            dir.join("shop/ci.yml"),
            "schemaVersion: v0.4
run:
  web: {steps: [{command: x}], replicas: 2, network: {path: /}}
  ext: {network: {paths: [{path: /ext, stripPath: true, target: 'https://h.example/v1'}]}}
",
        )
        .unwrap();
        let config = dir.join("router.yaml");
        let text = "state: ../state\ndomains: { shop.example: { /: ['4711'] } }\nlandscapes:\n  - { id: '4711', ci: shop/ci.yml }\n";
        std::fs::write(&config, text).unwrap();
        let loaded = load(&config, Purpose::Check);
        loaded.settings.unwrap_or_else(|| panic!("{:#?}", loaded.mistakes))
    }

    #[test]
    fn a_route_is_told_with_what_runs_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path());
        let of = |url: &str| explanation(&settings, &parse_url(url).unwrap()).unwrap();
        let words = in_words(&settings, &of("http://4711.localhost:8080/x?y")).unwrap();
        assert!(words.contains("service    web\nport       3000\npath       /x?y\n"), "{words}");
        assert!(words.contains("replicas   2 of 4711/web by the process backend, off-when-unused, plan "), "{words}");
        let json: Value = serde_json::from_str(&in_json(&settings, &of("shop.example/ext/z")).unwrap()).unwrap();
        assert_eq!(json["outcome"], "found");
        assert_eq!(json["routes"][0]["target"], "https://h.example:443/v1");
        assert_eq!(json["routes"][0]["rewritten"], "/v1/z");
        assert!(json["routes"][0].get("replicas").is_none(), "nothing runs behind a target");
        assert_eq!(of("nobody.example").outcome, Outcome::UnknownHost);
        let inside = of("WS-server-4711-web.workspaces:3000");
        let words = in_words(&settings, &inside).unwrap();
        let says = "private    4711/web has this name among the services of 4711 alone, port 3000\n";
        assert!(inside.outcome == Outcome::UnknownHost && words.ends_with(says), "{words}");
        let json: Value = serde_json::from_str(&in_json(&settings, &of("ws-server-4711-ext")).unwrap()).unwrap();
        assert_eq!((&json["private"]["names"][0], &json["private"]["ports"]), (&json!("ext"), &json!([80, 3000])));
        assert!(!in_words(&settings, &of("web")).unwrap().contains("private"), "every landscape may have one");
    }
}
