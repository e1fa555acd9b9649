//! The command line: one file a command.

mod api;
pub mod check;
mod client;
pub mod command;
pub mod completions;
pub mod demo;
pub mod events;
pub mod explain;
pub mod logs;
mod machine;
mod mistakes;
pub mod plan;
mod propose;
mod remote;
pub mod run;
pub mod schema;
pub mod status;
mod terminal;
pub mod why;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// One process in front of every workspace: routes, balances, wakes what is asked for and switches off
/// what nobody uses.
#[derive(Debug, Parser)]
#[command(name = "landscape-router", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the landscapes of a router.yaml
    Run(run::Args),
    /// Tell every mistake of a router.yaml or of a ci.yml
    Check(check::Args),
    /// Show what a router.yaml would change in its Kubernetes cluster, without changing it
    Plan(plan::Args),
    /// Tell where a URL leads, and why
    Explain(explain::Args),
    /// Serve a sample landscape and show what sleeps and wakes
    Demo(demo::Args),
    /// Show what every service of a running router does
    Status(status::Args),
    /// Tell why a service is awake, and when it will sleep
    Why(why::Args),
    /// Switch a service on now
    Wake(command::Wake),
    /// Switch a service off now; the next request wakes it
    Sleep(command::Args),
    /// Replace every replica of a service
    Restart(command::Args),
    /// Keep a service awake until it is unpinned
    Pin(command::Args),
    /// Let a pinned service sleep again
    Unpin(command::Args),
    /// Run a landscape's prepare steps again
    Prepare(command::Prepare),
    /// Have a running router read its configuration again
    Reload(command::Reload),
    /// Show what a service wrote
    Logs(logs::Args),
    /// Show what happens, as it happens
    Events(events::Args),
    /// Print the JSON Schema of router.yaml
    Schema(schema::Args),
    /// Print what a shell needs to complete this command line
    Completions(completions::Args),
}

/// Reads the arguments and does what they say; the exit code.
pub fn main() -> ExitCode {
    // rustls has two providers among our dependencies and panics where it has to guess; failing here
    // only means that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::check(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Status(args) => status::status(&args),
        Command::Why(args) => why::why(&args),
        Command::Wake(args) => command::wake(&args),
        Command::Sleep(args) => command::order(&args, &command::SLEEP),
        Command::Restart(args) => command::order(&args, &command::RESTART),
        Command::Pin(args) => command::order(&args, &command::PIN),
        Command::Unpin(args) => command::order(&args, &command::UNPIN),
        Command::Prepare(args) => command::prepare(&args),
        Command::Reload(args) => command::reload(&args),
        Command::Logs(args) => logs::logs(&args),
        Command::Events(args) => events::events(&args),
        Command::Schema(args) => schema::schema(&args),
        Command::Completions(args) => completions::completions(&args, Cli::command()),
    }
}
