//! The tour: a few requests, what they find asleep, and what falls asleep again.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde_json::Value;

use super::guest::{Visit, visit};
use super::router::Router;
use super::sample::Sample;
use crate::cli::api::Overview;
use crate::cli::client::{Client, Lines};
use crate::cli::remote::{Failure, path};
use crate::cli::terminal::{Out, Tone, tame};

/// Longer than the sample's `idleAfter` and a stop take.
const SLEEP: Duration = Duration::from_secs(60);

/// Shows the landscape; returns after the tour if `once`, else never.
pub(super) async fn show(sample: &Sample, router: &mut Router, out: &Out, once: bool) -> Result<(), Failure> {
    let client = router.ready().await?;
    introduce(sample, out)?;
    let stage = Stage { sample, out, begin: Instant::now() };
    let events = client.follow(&path(&["events"]), "text/event-stream").await?;
    tokio::select! {
        ended = stage.narrate(events) => ended,
        ended = stage.play(&client, once) => ended,
        failure = router.ended() => Err(failure),
    }
}

fn introduce(sample: &Sample, out: &Out) -> Result<(), Failure> {
    out.line(&out.paint(Tone::Bold, "A landscape of five services, and none of them runs.\n"))?;
    let rows = [
        ("/", "web      files, served by Python's own server"),
        ("/api/", "api      two replicas, behind a path that is stripped"),
        ("/reports/", "reports  takes two seconds to start"),
        ("/broken", "broken   does not start at all"),
    ];
    for (path, what) in rows {
        out.line(&format!("  {:38} {what}", sample.url(path)))?;
    }
    out.line(&format!("  {:38} store    private: awake with the others", ""))?;
    out.line(&format!("  {:38} what the router counts", format!("http://{}/metrics", sample.admin)))?;
    out.line(&format!("  {:38} its files; ci.yml is read again as you save it\n", sample.folder.display()))
}

struct Stage<'s> {
    sample: &'s Sample,
    out: &'s Out,
    begin: Instant,
}

impl Stage<'_> {
    async fn play(&self, client: &Client, once: bool) -> Result<(), Failure> {
        self.ask("/").await?;
        self.ask("/").await?;
        self.ask("/api/hello").await?;
        self.ask("/api/hello").await?;
        self.crowd("/reports/", 20).await?;
        self.ask("/broken").await?;
        self.say(Tone::Bold, "Now nobody asks for anything. What is not used for 10 s is switched off:")?;
        self.until_asleep(client).await?;
        self.say(Tone::Bold, "Everything sleeps. The next request finds it as if it had never been off:")?;
        self.ask("/").await?;
        if once {
            return Ok(());
        }
        let admin = match self.sample.admin.port() {
            9090 => String::new(),
            _ => format!(" --admin http://{}", self.sample.admin),
        };
        let url = self.sample.url("/");
        self.say(Tone::Bold, &format!("It is yours now; Ctrl-C ends it. Open {url} in a browser, or ask"))?;
        for command in ["status", "why demo/web", "logs demo/broken", "pin demo/api"] {
            self.out.line(&format!("           landscape-router {command}{admin}"))?;
        }
        std::future::pending().await
    }

    async fn ask(&self, path: &str) -> Result<(), Failure> {
        let Visit { status, took, woke, refused } = visit(self.sample.http, path).await?;
        let tone = if refused.is_some() { Tone::Bad } else { Tone::Good };
        let end = match (refused, woke) {
            (Some(reason), _) => format!(": {}", tame(&reason)),
            (None, true) => ", held while it started".to_owned(),
            (None, false) => String::new(),
        };
        self.say(tone, &format!("GET {path:12} {status} after {}{end}", milliseconds(took)))
    }

    async fn crowd(&self, path: &str, count: usize) -> Result<(), Failure> {
        let visits = try_join_all((0..count).map(|_| visit(self.sample.http, path))).await?;
        let good = visits.iter().filter(|visit| visit.status == 200).count();
        let slowest = visits.iter().map(|visit| visit.took).max().unwrap_or_default();
        let what = format!("GET {path:12} {count} times at once: {good} answered within {}", milliseconds(slowest));
        self.say(if good == count { Tone::Good } else { Tone::Bad }, &what)
    }

    async fn until_asleep(&self, client: &Client) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            let overview: Overview = client.get(&path(&["landscapes"])).await?;
            let mut states = overview.landscapes.iter().flat_map(|l| &l.services).filter_map(|s| s.state.as_deref());
            if states.all(|state| matches!(state, "off" | "failed")) {
                return Ok(());
            }
            if begin.elapsed() > SLEEP {
                return Err(Failure::Failed("something stays awake; ask `landscape-router why demo/web`".into()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Tells what the router does, as it does it.
    async fn narrate(&self, mut events: Lines) -> Result<(), Failure> {
        while let Some(line) = events.next().await? {
            let event = line.strip_prefix("data: ").and_then(|json| serde_json::from_str(json).ok());
            if let Some((tone, text)) = event.as_ref().and_then(told) {
                self.say(tone, &text)?;
            }
        }
        Err(Failure::Failed("the demo's router ended its event stream".into()))
    }

    fn say(&self, tone: Tone, text: &str) -> Result<(), Failure> {
        let time = format!("{:7.2} s", self.begin.elapsed().as_secs_f64());
        self.out.line(&format!("{}  {}", self.out.paint(Tone::Faint, &time), self.out.paint(tone, text)))
    }
}

/// What is worth telling of an event.
fn told(event: &Value) -> Option<(Tone, String)> {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    let service = tame(text("service")?);
    match text("event")? {
        "start" => Some((Tone::Plain, format!("  {service} wakes"))),
        "stop" => Some((Tone::Faint, format!("  {service} sleeps"))),
        "failed" => {
            let detail = event.pointer("/failure/detail").and_then(Value::as_str).unwrap_or_default();
            Some((Tone::Faint, format!("  {service} failed: {}", tame(detail))))
        }
        _ => None,
    }
}

fn milliseconds(span: Duration) -> String {
    format!("{:.0} ms", span.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_matters_is_told() {
        let event = |kind: &str| json!({ "service": "web", "event": kind, "failure": { "detail": "exit status 3" } });
        assert_eq!(told(&event("start")).unwrap().1, "  web wakes");
        assert_eq!(told(&event("stop")).unwrap().1, "  web sleeps");
        assert_eq!(told(&event("failed")).unwrap().1, "  web failed: exit status 3");
        assert!(told(&event("state")).is_none());
        assert!(told(&json!({ "event": "gap" })).is_none());
    }
}
