//! `demo`: a sample landscape of several services, served by a router of its own, and a short tour of
//! what sleeps and wakes.
//!
//! The router is this program again, as `run`: what the demo shows is what everybody gets.

mod guest;
mod router;
mod sample;
mod tour;

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::remote::{Failure, block_on};
use super::terminal::Out;
use router::Router;
use sample::Sample;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the sample's files are written; those of an earlier demo are replaced [default: the demo
    /// folder of landscape-router in your state folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// End after the tour, as is done without a terminal
    #[arg(long)]
    once: bool,
}

/// Runs the demo until Ctrl-C, or until the tour's end.
pub fn demo(args: &Args) -> ExitCode {
    let out = Out::new();
    let once = args.once || !out.is_terminal();
    let result = Sample::write(args.folder.clone()).and_then(|sample| block_on(show(&sample, &out, once)));
    result.map_or_else(Failure::end, |()| ExitCode::SUCCESS)
}

async fn show(sample: &Sample, out: &Out, once: bool) -> Result<(), Failure> {
    let mut end = signal(SignalKind::terminate()).map_err(Failure::Runtime)?;
    let mut router = Router::start(sample)?;
    let shown = tokio::select! {
        shown = tour::show(sample, &mut router, out, once) => shown,
        _ = tokio::signal::ctrl_c() => out.line("\nEnding ..."),
        _ = end.recv() => Ok(()),
    };
    router.end().await?;
    shown
}
