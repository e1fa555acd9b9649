//! `schema`: the JSON Schema of router.yaml, and its reference page.

use std::process::ExitCode;

use super::terminal::Out;
use crate::config::{reference, schema};

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The reference page of docs/ instead
    #[arg(long)]
    markdown: bool,
}

/// Prints one of them.
pub fn schema(args: &Args) -> ExitCode {
    let text = if args.markdown { reference::markdown() } else { format!("{:#}\n", schema::public()) };
    match Out::new().write(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(),
    }
}
