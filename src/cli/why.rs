//! `why`: why a service is awake, and when it will sleep.

use std::process::ExitCode;

use serde_json::Value;

use super::api;
use super::remote::{Failure, Name, Remote, run};
use super::terminal::{Out, Tone, tame};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which; a landscape alone means all its services
    #[arg(value_name = "LANDSCAPE[/SERVICE]")]
    name: Name,
    #[command(flatten)]
    remote: Remote,
}

/// Tells why a service is awake.
pub fn why(args: &Args) -> ExitCode {
    run(&args.remote, async |client| {
        let out = Out::new();
        for service in args.name.services(&client).await? {
            let answer: Value = client.get(&args.name.path(&service, &["why"])).await?;
            if args.remote.json {
                out.line(&answer.to_string())?;
                continue;
            }
            let strange = |e: serde_json::Error| Failure::Strange { url: client.url().into(), why: e.to_string() };
            let why: api::Why = serde_json::from_value(answer).map_err(strange)?;
            out.line(&out.paint(Tone::Bold, &format!("{}/{service}", args.name.landscape)))?;
            for sentence in why.sentences {
                out.line(&format!("  {}", tame(&sentence)))?;
            }
        }
        Ok(())
    })
}
