//! `run`: serve the landscapes of a router.yaml.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::observe::logging::LogFormat;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The router.yaml
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
    /// Replace the router that runs on the same state folder, without losing a request
    #[arg(long)]
    pub take_over: bool,
    /// The shape of the router's own log, on standard error
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// Runs until told to end.
pub fn run(args: Args) -> ExitCode {
    crate::app::run(args.config, args.take_over, args.log_format)
}
