//! `logs`: what a service wrote.

use std::process::ExitCode;

use futures_util::future::join_all;

use super::api::LogLine;
use super::client::Client;
use super::remote::{Failure, Name, Remote, each, run};
use super::terminal::{Out, Tone};

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which; a landscape alone means all its services
    #[arg(value_name = "LANDSCAPE[/SERVICE]")]
    name: Name,
    /// Go on with new lines, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// So many of the last lines of each service first
    #[arg(long, value_name = "N", default_value_t = 100)]
    tail: usize,
    /// One replica alone, as CS_REPLICA counts them
    #[arg(long, value_name = "N")]
    replica: Option<u32>,
    #[command(flatten)]
    remote: Remote,
}

/// Shows what services wrote.
pub fn logs(args: &Args) -> ExitCode {
    run(&args.remote, async |client| {
        let services = args.name.services(&client).await?;
        // Names are shown where lines of several services meet.
        let prefix = services.len() > 1;
        if args.follow {
            let all = services.iter().map(|s| follow(&client, args, s, prefix));
            return each(join_all(all).await, async |ended| ended).await;
        }
        let mut lines = Vec::new();
        let read = each(&services, async |service| {
            let mut answer = client.follow(&path(args, service), "application/x-ndjson").await?;
            while let Some(json) = answer.next().await? {
                lines.extend(read(&json).map(|line| (line, service, json)));
            }
            Ok(())
        });
        let read = read.await;
        // Stable: lines of one moment stay in their order.
        lines.sort_by_key(|(line, ..)| line.at_unix_ms);
        let out = Out::new();
        lines.iter().try_for_each(|(line, service, json)| show(&out, args, line, prefix.then_some(service), json))?;
        read
    })
}

async fn follow(client: &Client, args: &Args, service: &str, prefix: bool) -> Result<(), Failure> {
    let mut answer = client.follow(&path(args, service), "application/x-ndjson").await?;
    let out = Out::new();
    while let Some(json) = answer.next().await? {
        if let Some(line) = read(&json) {
            show(&out, args, &line, prefix.then_some(service), &json)?;
        }
    }
    Ok(())
}

fn path(args: &Args, service: &str) -> String {
    let replica = args.replica.map(|r| format!("&replica={r}")).unwrap_or_default();
    format!("{}?tail={}&follow={}{replica}", args.name.path(service, &["logs"]), args.tail, args.follow)
}

/// An empty line only keeps the connection.
fn read(json: &str) -> Option<LogLine> {
    serde_json::from_str(json).ok()
}

fn show(out: &Out, args: &Args, line: &LogLine, service: Option<impl AsRef<str>>, json: &str) -> Result<(), Failure> {
    if args.remote.json {
        return out.line(json);
    }
    let source = match service {
        Some(service) => format!("{} {}", service.as_ref(), line.source),
        None => line.source.clone(),
    };
    let tone = if line.stderr { Tone::Busy } else { Tone::Faint };
    // The application's own colours are for a terminal, and come through as it wrote them.
    out.line(&format!("{} {}", out.paint(tone, &format!("{source} |")), line.text))
}
