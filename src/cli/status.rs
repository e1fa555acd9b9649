//! `status`: every service and what it does.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::api::{Cluster, Landscape, Overview, Service, Status};
use super::client::Client;
use super::propose;
use super::remote::{Failure, Name, Remote, path, run};
use super::terminal::{Cell, Out, Tone, span, table, tame};
use crate::observe::calls::NOBODY;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this landscape or service
    #[arg(value_name = "LANDSCAPE[/SERVICE]")]
    name: Option<Name>,
    /// Show it again every second, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// Show which services called each other without `dependsOn`, as a part of a router.yaml
    #[arg(long, conflicts_with = "watch")]
    propose: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Shows what every service does.
pub fn status(args: &Args) -> ExitCode {
    run(&args.remote, async |client| {
        let out = Out::new();
        loop {
            let text = shown(&client, args, &out).await?;
            if !args.watch {
                return out.write(&text);
            }
            // From the top left corner, and everything below it cleared.
            let clear = if out.is_terminal() && !args.remote.json { "\x1b[H\x1b[2J" } else { "" };
            out.write(&format!("{clear}{text}"))?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
}

async fn shown(client: &Client, args: &Args, out: &Out) -> Result<String, Failure> {
    let all: Value = client.get(&path(&["landscapes"])).await?;
    if let Some(name) = &args.name {
        // Asked for by itself, so that the router tells of a name that does not exist.
        let segments = ["landscapes", &name.landscape, "services", name.service.as_deref().unwrap_or_default()];
        let own: Value = client.get(&path(if name.service.is_some() { &segments } else { &segments[..2] })).await?;
        if args.remote.json && !args.propose {
            return Ok(format!("{own}\n"));
        }
    }
    if args.remote.json && !args.propose {
        return Ok(format!("{all}\n"));
    }
    let strange = |e: serde_json::Error| Failure::Strange { url: client.url().to_owned(), why: e.to_string() };
    let mut overview: Overview = serde_json::from_value(all).map_err(strange)?;
    if args.propose {
        let shown = if args.remote.json { propose::in_json } else { propose::in_yaml };
        return Ok(shown(&overview.landscapes, args.name.as_ref()));
    }
    if let Some(name) = &args.name {
        overview.landscapes.retain(|l| l.id == name.landscape);
        for landscape in &mut overview.landscapes {
            landscape.services.retain(|s| name.service.as_ref().is_none_or(|n| *n == s.name));
        }
    }
    Ok(text(&overview, out))
}

fn text(overview: &Overview, out: &Out) -> String {
    let mut text = String::new();
    let config = &overview.router.config;
    if !config.ok {
        let line = "The configuration has mistakes; what was good before is still served:";
        text.push_str(&format!("{}\n", out.paint(Tone::Bad, line)));
    }
    for mistake in &config.mistakes {
        text.push_str(&format!("  {}\n", tame(mistake)));
    }
    if let Some(cluster) = &overview.router.cluster {
        text.push_str(&routers(cluster, out));
    }
    if overview.landscapes.is_empty() {
        text.push_str("No landscapes.\n");
    }
    let head = ["SERVICE", "KIND", "STATE", "REPLICAS", "IN FLIGHT", "HELD", "SLEEPS IN", "ADDRESS", "NOTE"];
    let mut rows = vec![head.map(|h| Cell(Tone::Faint, h.to_owned())).to_vec()];
    // Told only once there is something to tell.
    let called = overview.landscapes.iter().flat_map(|l| &l.services).any(|s| !s.callers.is_empty());
    if called {
        rows[0].insert(CALLERS, Cell(Tone::Faint, "CALLED BY".to_owned()));
    }
    for landscape in &overview.landscapes {
        if let Some(error) = &landscape.error {
            let kept = if landscape.services.is_empty() { "" } else { "; its last good version is served" };
            let line = format!("{}: ci.yml is not used{kept}: {}", landscape.id, tame(error));
            text.push_str(&format!("{}\n", out.paint(Tone::Bad, &line)));
        }
        for service in &landscape.services {
            let mut row = row(landscape, service);
            if called {
                row.insert(CALLERS, Cell::new(callers(service)));
            }
            rows.push(row);
        }
    }
    if rows.len() > 1 {
        text.push_str(&table(out, &rows));
    }
    text
}

/// Who they are, where there are several, or this one has lost the others.
fn routers(cluster: &Cluster, out: &Out) -> String {
    let mut text = String::new();
    if cluster.cut_off {
        let line = "This router cannot renew its Lease: it serves on, and nothing is switched off here.";
        text.push_str(&format!("{}\n", out.paint(Tone::Bad, line)));
    }
    if cluster.routers.len() > 1 {
        let named = cluster.routers.iter().map(|name| match () {
            () if Some(name) == cluster.leader.as_ref() => format!("{} (leads)", tame(name)),
            () => tame(name),
        });
        let named: Vec<String> = named.collect();
        text.push_str(&format!("Routers: {}; this is {}\n", named.join(", "), tame(&cluster.identity)));
    }
    text
}

/// Where its column is: before the note.
const CALLERS: usize = 8;

fn callers(service: &Service) -> String {
    const SHOWN: usize = 3;
    let name = |name: &str| if name == NOBODY { "others".to_owned() } else { tame(name) };
    let mut names: Vec<String> = service.callers.iter().take(SHOWN).map(|c| name(&c.service)).collect();
    match service.callers.len() {
        0 => "-".into(),
        n if n > SHOWN => {
            names.push(format!("{} more", n - SHOWN));
            names.join(", ")
        }
        _ => names.join(", "),
    }
}

/// How other services of its landscape reach it.
fn private(service: &Service) -> Option<String> {
    let private = service.private.as_ref()?;
    Some(format!("{}:{}", tame(private.names.first()?), private.ports.first()?))
}

fn row(landscape: &Landscape, service: &Service) -> Vec<Cell> {
    let name = Cell(Tone::Bold, format!("{}/{}", landscape.id, service.name));
    let address = service.urls.first().or(landscape.urls.first().filter(|_| service.state.is_none()));
    let replica = || service.status.replicas.iter().find_map(|r| r.address.clone());
    let address = address.cloned().or_else(|| private(service)).or_else(replica);
    let address = Cell::new(address.unwrap_or_else(|| "-".into()));
    let dash = || Cell(Tone::Faint, "-".into());
    let (Some(word), status) = (&service.state, &service.status) else {
        let note = Cell::new(tame(service.note.as_deref().unwrap_or_default()));
        return vec![name, Cell::new(&*service.kind), dash(), dash(), dash(), dash(), dash(), address, note];
    };
    let ready = status.replicas.iter().filter(|r| r.state == "ready").count();
    let number = |n: u64| if n == 0 { Cell(Tone::Faint, "0".into()) } else { Cell::new(n.to_string()) };
    vec![
        name,
        Cell::new(&*service.kind),
        state(word, status.paused),
        Cell::new(format!("{ready}/{}", status.wanted_replicas)),
        number(status.in_flight),
        number(status.held),
        Cell::new(sleeps(service, status)),
        address,
        Cell::new(tame(&note(service, word))),
    ]
}

fn state(word: &str, paused: bool) -> Cell {
    let tone = match word {
        "ready" => Tone::Good,
        "failed" => Tone::Bad,
        "off" => Tone::Faint,
        _ => Tone::Busy,
    };
    Cell(tone, tame(if paused && word == "off" { "paused" } else { word }))
}

fn sleeps(service: &Service, status: &Status) -> String {
    match status.seconds_until_sleep {
        Some(secs) => span(secs),
        None if service.pinned => "pinned".into(),
        None if status.mode == "always-on" => "never".into(),
        None => "-".into(),
    }
}

/// What a person should know, the worst first.
fn note(service: &Service, state: &str) -> String {
    let status = &service.status;
    let mut notes = Vec::new();
    notes.extend(status.not_runnable.iter().map(|why| format!("cannot run here: {why}")));
    notes.extend(status.unknown.iter().map(|why| format!("may be out of date: {why}")));
    if let Some(failure) = status.last_failure.as_ref().filter(|_| !matches!(state, "ready" | "off")) {
        let retry = failure.retry_in_ms.filter(|ms| *ms > 0).map(|ms| span(ms as f64 / 1000.0));
        notes.push(failure.detail.clone() + &retry.map(|r| format!("; again in {r}")).unwrap_or_default());
    }
    notes.extend(status.progress.iter().map(|p| match p.fraction {
        Some(fraction) => format!("{} ({:.0} %)", p.text, fraction * 100.0),
        None => p.text.clone(),
    }));
    let ejected = status.replicas.iter().filter(|r| r.ejected).count();
    if ejected > 0 {
        notes.push(format!("{ejected} left out after broken connections"));
    }
    notes.extend(status.outside_replicas.map(|n| format!("scaled to {n} from outside")));
    if status.rolling {
        notes.push("replicas are being replaced".into());
    }
    if notes.is_empty() {
        notes.extend(service.note.clone());
    }
    notes.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(v: Value) -> String {
        text(&serde_json::from_value(v).unwrap(), &Out::plain())
    }

    #[test]
    fn a_table_tells_what_every_service_does() {
        let text = shown(json!({
            "router": { "version": "1", "config": { "ok": true, "mistakes": [] } },
            "landscapes": [{ "id": "4711", "error": null, "urls": ["http://4711.localhost:8080"], "services": [
                { "service": "web", "kind": "reactive", "urls": ["http://4711.localhost:8080/"], "pinned": false,
                  "state": "ready", "replicas": [{ "state": "ready" }, { "state": "starting" }], "wantedReplicas": 2,
                  "inFlight": 3, "held": 0, "secondsUntilSleep": 61.0, "outsideReplicas": 2 },
                { "service": "api", "kind": "container", "urls": [], "pinned": true,
                  "state": "failed", "wantedReplicas": 1, "held": 4,
                  "lastFailure": { "detail": "exit status 3\u{1b}[2J", "atUnixMs": 1, "retryInMs": 4000 } },
                { "service": "db", "kind": "managed", "note": "not provided here: postgres", "state": null },
            ] }],
        }));
        assert_eq!(
            text,
            "SERVICE   KIND       STATE   REPLICAS  IN FLIGHT  HELD  SLEEPS IN  ADDRESS                      NOTE\n\
             4711/web  reactive   ready   1/2       3          0     1m01s      http://4711.localhost:8080/  scaled to 2 from outside\n\
             4711/api  container  failed  0/1       0          4     pinned     -                            exit status 3 [2J; again in 4s\n\
             4711/db   managed    -       -         -          -     -          http://4711.localhost:8080   not provided here: postgres\n"
        );
    }

    #[test]
    fn private_callers_are_named_where_there_are_any() {
        let caller = |name: &str| json!({ "service": name, "connections": 1, "requests": 0 });
        let text = shown(json!({
            "router": {},
            "landscapes": [{ "id": "1", "error": null, "services": [
                { "service": "web", "kind": "reactive", "urls": ["http://1.localhost/"], "state": "off" },
                { "service": "db", "kind": "reactive", "state": "ready", "replicas": [{ "state": "ready", "address": "127.0.0.1:1" }],
                  "private": { "address": "10.212.0.7", "names": ["db"], "ports": [5432, 1] },
                  "callers": [caller("-"), caller("a"), caller("b"), caller("c"), caller("d")] },
            ] }],
        }));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("ADDRESS              CALLED BY             NOTE"), "{text}");
        assert!(lines[1].contains("http://1.localhost/  -"), "{text}");
        assert!(lines[2].contains("db:5432              others, a, b, 2 more"), "{text}");
    }

    #[test]
    fn mistakes_come_first() {
        let text = shown(json!({
            "router": { "config": { "ok": false, "mistakes": ["router.yaml:3:1: error: unknown key"] } },
            "landscapes": [{ "id": "4712", "error": "ci.yml:1:1: error: empty", "services": [] }],
        }));
        assert_eq!(
            text,
            "The configuration has mistakes; what was good before is still served:\n  \
             router.yaml:3:1: error: unknown key\n4712: ci.yml is not used: ci.yml:1:1: error: empty\n"
        );
    }
}
