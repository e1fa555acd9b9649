//! The shim: the small process that a replica lives under.
//!
//! It is this same binary with a hidden subcommand, so that nothing else is installed. It owns the
//! replica's processes (as their subreaper it is the parent of every orphan among them), their
//! output and their control groups, and outlives the router: when no router is connected for a
//! while it ends the replica. That its children are gone is known from the kernel saying that it
//! has none.

mod child;
mod control;
mod network;
mod output;
mod run;
mod state;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit};

use super::{handover, protocol, raw};
use crate::capabilities;
use crate::private::ground::keep_hub;

/// Runs the shim to its end. Called before anything else in `main`, when the first argument is
/// `shim`; the specification comes over standard input, which must be the socket a router opened.
pub fn shim_main() -> ExitCode {
    match prepare() {
        // What the replica's network hangs on is kept until its end.
        Ok(Some(Prepared { spec, router, _hub, problems })) => match run::run(spec, router, problems) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                // Nobody reads this but a person who looks for the reason.
                eprintln!("landscape-router shim: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => {
            eprintln!("landscape-router: `shim` is started by the router itself");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("landscape-router shim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What there is to do.
struct Prepared {
    spec: protocol::ShimSpec,
    router: UnixStream,
    _hub: Option<OwnedFd>,
    problems: Vec<String>,
}

/// Leaves everything of the router behind and reads what to run.
fn prepare() -> io::Result<Option<Prepared>> {
    let stdin = io::stdin();
    let Ok(kind) = rustix::net::sockopt::socket_type(stdin.as_fd()) else { return Ok(None) };
    if kind != rustix::net::SocketType::STREAM {
        return Ok(None);
    }
    if let Err(error) = raw::close_on_exec_from(3) {
        // Before Linux 5.11. The router opens everything close-on-exec anyway.
        if error.raw_os_error() != Some(libc::ENOSYS) && error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
    }
    // A session of its own: signals to the router's group or terminal do not reach the replica.
    rustix::process::setsid()?;
    rustix::process::set_child_subreaper(Pid::from_raw(1))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut router = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
    let given = handover::receive(&router)?;
    let spec: protocol::ShimSpec = protocol::read_blocking(&mut router)?;
    if let Some((given, network)) = given.as_ref().zip(spec.network.as_ref()) {
        network::enter(&given.namespace, network, &spec.dir)?;
        if network.capabilities_lent {
            capabilities::give_up()?;
        }
    }
    let mut problems = Vec::new();
    if let Some(hosts) = &spec.hosts
        && let Err(e) = hosts.sight.show(&hosts.path, &spec.dir)
    {
        problems.push(format!("it finds other services by variables, and not by name: {e}"));
    }
    if let Some((soft, hard)) = spec.files {
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: Some(hard) })?;
    }
    let _hub = given.and_then(|given| given.hub).map(keep_hub).transpose()?;
    Ok(Some(Prepared { spec, router, _hub, problems }))
}
