//! Measures what the router promises, from outside: the real binary as a child process, sockets and
//! files as its users have them.
//!
//! * [`http`]: a small client that validates what it reads and tells when the first byte came.
//! * [`load`]: many such clients at once.
//! * [`router`]: a `landscape-router run` with a folder of its own.
//! * [`peers`]: HAProxy, nginx and a bare Pingora forwarder with the same task.
//! * [`proc`]: what the kernel knows of a process: CPU time and resident memory.
//! * [`figures`]: medians, percentiles and the tables that are printed.
//!
//! One binary a promise: `compare`, `memory`, `cold-start`, `boundary`, `burst`, `changes`,
//! `private`; and
//! `sample-app`, the application that all of them put behind the router. Every binary ends with
//! status 1 when what it measures is not as promised.

pub mod figures;
pub mod http;
pub mod load;
pub mod options;
pub mod peers;
pub mod proc;
pub mod router;

use std::future::Future;
use std::process::ExitCode;

/// Runs a bench to its end, on one thread; an error is printed and makes the exit code.
pub fn run(bench: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(tokio::task::LocalSet::new().run_until(bench)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nNot as promised: {error:#}");
            ExitCode::FAILURE
        }
    }
}
