//! `events`: what happens, as it happens.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::remote::{Failure, Remote, path, run};
use super::terminal::{Out, Tone, tame};
use crate::observe::Rfc3339;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those of this landscape
    #[arg(value_name = "LANDSCAPE")]
    landscape: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Shows what happens until Ctrl-C.
pub fn events(args: &Args) -> ExitCode {
    run(&args.remote, async |client| {
        let filter = args.landscape.as_ref().map(|l| path(&[l]).replace("/api/v1/", "?landscape=")).unwrap_or_default();
        let mut lines = client.follow(&format!("{}{filter}", path(&["events"])), "text/event-stream").await?;
        let out = Out::new();
        while let Some(line) = lines.next().await? {
            let Some(json) = line.strip_prefix("data: ") else { continue };
            if args.remote.json {
                out.line(json)?;
            } else if let Ok(event) = serde_json::from_str(json) {
                out.line(&shown(&event, &out))?;
            }
        }
        Err(Failure::Failed("the router ended the stream".into()))
    })
}

fn shown(event: &Value, out: &Out) -> String {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let at = event.get("atUnixMs").and_then(Value::as_u64);
    let time = at.map(|ms| Rfc3339(UNIX_EPOCH + Duration::from_millis(ms)).to_string()).unwrap_or_default();
    let name = match (text("landscape"), text("service")) {
        ("", _) => "router".to_owned(),
        (landscape, "") => landscape.to_owned(),
        (landscape, service) => format!("{landscape}/{service}"),
    };
    let inner = |object: &str, key: &str| event.pointer(&format!("/{object}/{key}")).and_then(Value::as_str);
    let cause = event.get("cause").and_then(Value::as_str).unwrap_or("unknown");
    let (tone, what) = match text("event") {
        "state" => (Tone::Plain, format!("{} -> {}", text("from"), text("to"))),
        "start" => (Tone::Good, format!("switched on ({cause})")),
        "stop" if event.get("paused") == Some(&Value::Bool(true)) => (Tone::Faint, format!("paused ({cause})")),
        "stop" => (Tone::Faint, format!("switched off ({cause})")),
        "replica" => {
            let ordinal = event.get("ordinal").and_then(Value::as_u64).unwrap_or_default();
            (Tone::Plain, format!("replica {ordinal}: {}", text("text")))
        }
        "failed" => (Tone::Bad, format!("failed: {}", inner("failure", "detail").unwrap_or_default())),
        "progress" => (Tone::Busy, inner("progress", "text").unwrap_or_default().to_owned()),
        "reload" => reload(event),
        "gap" => (Tone::Busy, "some events were missed".to_owned()),
        _ => (Tone::Plain, event.to_string()),
    };
    format!(
        "{} {} {}",
        out.paint(Tone::Faint, &time),
        out.paint(Tone::Bold, &tame(&name)),
        out.paint(tone, &tame(&what))
    )
}

/// How a reading of the configuration went.
fn reload(event: &Value) -> (Tone, String) {
    let all = |key: &str| {
        let lines = event.pointer(&format!("/reload/{key}")).and_then(Value::as_array);
        lines.into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
    };
    let changes = Some(all("changes")).filter(|c| !c.is_empty()).unwrap_or_else(|| "nothing is different".into());
    if event.pointer("/reload/ok") == Some(&Value::Bool(true)) {
        return (Tone::Plain, format!("configuration read again: {changes}"));
    }
    (Tone::Bad, format!("the configuration has mistakes: {}; {changes}", all("mistakes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_told_in_a_line() {
        let line = |v: Value| shown(&v, &Out::plain());
        let base = |event: &str| json!({ "atUnixMs": 0, "landscape": "4711", "service": "web", "event": event });
        let with = |event: &str, more: Value| {
            let mut all = base(event);
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            line(all)
        };
        let start = "1970-01-01T00:00:00.000Z 4711/web ";
        assert_eq!(with("state", json!({ "from": "off", "to": "starting" })), format!("{start}off -> starting"));
        assert_eq!(with("start", json!({ "cause": "demand" })), format!("{start}switched on (demand)"));
        assert_eq!(with("stop", json!({ "cause": "idle", "paused": true })), format!("{start}paused (idle)"));
        let failed = json!({ "failure": { "detail": "exit status 3" } });
        assert_eq!(with("failed", failed), format!("{start}failed: exit status 3"));
        let reload = |ok: bool, changes: Value, mistakes: Value| {
            let how = json!({ "ok": ok, "changes": changes, "mistakes": mistakes });
            line(json!({ "atUnixMs": 0, "event": "reload", "reload": how })).split_off(25)
        };
        assert_eq!(reload(true, json!(["a", "b"]), json!([])), "router configuration read again: a; b");
        let bad = "router the configuration has mistakes: x; nothing is different";
        assert_eq!(reload(false, json!([]), json!(["x"])), bad);
        assert_eq!(line(json!({ "event": "gap" })), " router some events were missed");
        assert_eq!(line(json!({ "event": "new", "x": 1 })), " router {\"event\":\"new\",\"x\":1}");
    }
}
