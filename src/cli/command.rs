//! `wake`, `sleep`, `restart`, `pin`, `unpin`, `prepare`, `reload`: commands to a running router.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;

use super::api::{Reloaded, Service};
use super::client::Client;
use super::remote::{Failure, Name, Remote, each, path, run};
use super::terminal::{Out, tame};

/// Which service, and which router.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which; a landscape alone means all its services
    #[arg(value_name = "LANDSCAPE[/SERVICE]")]
    name: Name,
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `wake`.
#[derive(Debug, clap::Args)]
pub struct Wake {
    #[command(flatten)]
    args: Args,
    /// Wait until it is ready, or has failed
    #[arg(long, short)]
    wait: bool,
}

/// Arguments of `prepare`.
#[derive(Debug, clap::Args)]
pub struct Prepare {
    /// Which
    #[arg(value_name = "LANDSCAPE")]
    landscape: String,
    #[command(flatten)]
    remote: Remote,
}

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub struct Reload {
    #[command(flatten)]
    remote: Remote,
}

/// A command to a service: how it is sent, and what is then so.
#[derive(Debug)]
pub struct Order {
    method: Method,
    verb: &'static str,
    done: &'static str,
}

/// Be off now.
pub const SLEEP: Order = Order { method: Method::POST, verb: "sleep", done: "is sent to sleep" };
/// Replace every replica.
pub const RESTART: Order = Order { method: Method::POST, verb: "restart", done: "is being restarted" };
/// Stay awake.
pub const PIN: Order = Order { method: Method::PUT, verb: "pin", done: "stays awake until it is unpinned" };
/// No longer stay awake.
pub const UNPIN: Order = Order { method: Method::DELETE, verb: "pin", done: "may sleep again" };
const WAKE: Order = Order { method: Method::POST, verb: "wake", done: "is being woken" };

/// Between two looks at a service that is waited for.
const LOOK: Duration = Duration::from_millis(100);
/// A failure that was there before the command counts once it has stood for so long after it.
const STALE: Duration = Duration::from_secs(2);

/// Gives services a command.
pub fn order(args: &Args, order: &Order) -> ExitCode {
    run(&args.remote, async |client| {
        let services = args.name.services(&client).await?;
        each(&services, async |service| give(&client, args, service, order).await).await
    })
}

/// Wakes services, and waits for them if that is asked.
pub fn wake(wake: &Wake) -> ExitCode {
    let args = &wake.args;
    run(&args.remote, async |client| {
        let services = args.name.services(&client).await?;
        let mut woken = Vec::new();
        let given = each(&services, async |service| {
            let before = client.get::<Service>(&args.name.path(service, &[])).await?;
            give(&client, args, service, &WAKE).await?;
            woken.push(before);
            Ok(())
        });
        let given = given.await;
        if !wake.wait {
            return given;
        }
        let waited = each(&woken, async |before| wait(&client, args, before).await).await;
        match (given, waited) {
            (Err(given), Err(waited)) => {
                eprintln!("error: {given}");
                Err(waited)
            }
            (given, waited) => given.and(waited),
        }
    })
}

async fn give(client: &Client, args: &Args, service: &str, order: &Order) -> Result<(), Failure> {
    let path = args.name.path(service, &[order.verb]);
    let answer: Value = client.send(order.method.clone(), &path).await?;
    let out = Out::new();
    if args.remote.json {
        return out.line(&answer.to_string());
    }
    out.line(&format!("{}/{service} {}", args.name.landscape, order.done))
}

/// Until it is ready or has failed since `before`.
async fn wait(client: &Client, args: &Args, before: &Service) -> Result<(), Failure> {
    let name = format!("{}/{}", args.name.landscape, before.name);
    let failed_at = |s: &Service| s.status.last_failure.as_ref().map(|f| f.at_unix_ms);
    let (began, mut told, mut moved) = (Instant::now(), String::new(), false);
    loop {
        let now: Service = client.get(&args.name.path(&before.name, &[])).await?;
        let (Some(state), status) = (&now.state, &now.status) else {
            return Err(Failure::Failed(format!("{name}: nothing runs for it any more")));
        };
        match state.as_str() {
            "ready" if args.remote.json => return Ok(()),
            "ready" => {
                return Out::new().line(&format!("{name} is ready after {} ms", began.elapsed().as_millis()));
            }
            "failed" if failed_at(&now) != failed_at(before) || began.elapsed() > STALE => {
                let failure = status.last_failure.clone().unwrap_or_default();
                let tail: String = failure.log_tail.iter().map(|l| format!("\n  {}", tame(l))).collect();
                return Err(Failure::Failed(format!("{name} failed: {}{tail}", tame(&failure.detail))));
            }
            "off" if moved || began.elapsed() > STALE => {
                return Err(Failure::Failed(format!("{name} was switched off again")));
            }
            "off" | "failed" => {}
            _ => moved = true,
        }
        if let Some(progress) = status.progress.as_ref().filter(|p| p.text != told) {
            told.clone_from(&progress.text);
            eprintln!("{name}: {}", tame(&told));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Runs a landscape's `prepare` again.
pub fn prepare(args: &Prepare) -> ExitCode {
    run(&args.remote, async |client| {
        let answer: Value = client.send(Method::POST, &path(&["landscapes", &args.landscape, "prepare"])).await?;
        let out = Out::new();
        if args.remote.json {
            return out.line(&answer.to_string());
        }
        out.line(&format!("{} is prepared again; `landscape-router events` shows how far it is", args.landscape))
    })
}

/// Has the configuration read again.
pub fn reload(args: &Reload) -> ExitCode {
    run(&args.remote, async |client| {
        let answer: Value = client.send(Method::POST, &path(&["reload"])).await?;
        let out = Out::new();
        if args.remote.json {
            return out.line(&answer.to_string());
        }
        let strange = |e: serde_json::Error| Failure::Strange { url: client.url().into(), why: e.to_string() };
        let report: Reloaded = serde_json::from_value(answer).map_err(strange)?;
        for warning in &report.mistakes {
            eprintln!("{}", tame(warning));
        }
        out.line(if report.changes.is_empty() { "Read again; nothing is different." } else { "Read again:" })?;
        report.changes.iter().try_for_each(|change| out.line(&format!("  {}", tame(change))))
    })
}
