//! The shim's loop.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::control::{self, Told};
use super::state::Replica;
use crate::backend::process::paths::{META, write_whole};
use crate::backend::process::procfs::Identity;
use crate::backend::process::protocol::{Command, Outcome, ShimSpec};
use crate::moment::until;

/// Runs the replica to its end and removes what it had in `state`.
/// `problems`: what went wrong already, and is to be told.
pub fn run(spec: ShimSpec, router: UnixStream, problems: Vec<String>) -> io::Result<()> {
    // One thread: it starts in microseconds, and nothing else reaps our children.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let dir = spec.dir.clone();
    let result = LocalSet::new().block_on(&runtime, supervise(spec, router, problems));
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => result.and(Err(e)),
        _ => result,
    }
}

async fn supervise(mut spec: ShimSpec, router: UnixStream, mut problems: Vec<String>) -> io::Result<()> {
    let mut children = signal(SignalKind::child())?;
    let mut end = signal(SignalKind::terminate())?;
    router.set_nonblocking(true)?;
    let first = tokio::net::UnixStream::from_std(router)?;

    spec.meta.shim = Some(Identity::of(std::process::id())?);
    // Without a folder nobody could find this replica, or someone already cleaned it up.
    let listener = match control::listen(&spec.dir) {
        Ok(listener) => Some(listener),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(e),
        Err(e) => {
            problems.push(format!("a router started later will not find this replica: control socket: {e}"));
            None
        }
    };
    problems.extend(spec.meta.cgroups.create());
    if let Err(e) = serde_json::to_vec(&spec.meta)
        .map_err(io::Error::from)
        .and_then(|json| write_whole(&spec.dir.join(META), &json))
    {
        problems.push(format!(
            "should it and its shim be killed together, a router started later will not clean up after it: {META}: {e}"
        ));
    }

    let (told, mut messages) = mpsc::unbounded_channel();
    let mut replica = Replica::new(spec, problems);
    let _serving = AbortOnDrop(tokio::task::spawn_local(control::serve(first, listener, told)));
    let grace = replica.orphan_grace();
    // The router that started us hears of everything, a step that ends at once included.
    if let Some(Told::Connected(id, to)) = messages.recv().await {
        replica.connected(id, to);
    }
    replica.advance();
    loop {
        if reap(&mut replica)? {
            replica.childless().await;
        }
        let now = Instant::now();
        replica.tick(now);
        if replica.is_over(now) {
            return Ok(());
        }
        let deadline = replica.deadline();
        tokio::select! {
            Some(()) = children.recv() => {}
            Some(()) = end.recv() => replica.stop(grace),
            Some(message) = messages.recv() => match message {
                Told::Connected(id, to) => replica.connected(id, to),
                Told::Gone(id) => replica.gone(id),
                Told::Command(Command::Stop { grace_ms }) => replica.stop(Duration::from_millis(grace_ms)),
                Told::Command(Command::Pause) => replica.pause().await,
                Told::Command(Command::Resume) => replica.resume(),
                Told::Command(Command::Forget) => if replica.is_ended() { return Ok(()) },
            },
            () = until(deadline) => {}
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reaps what has ended; true when no child is left.
fn reap(replica: &mut Replica) -> io::Result<bool> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => replica.reaped(pid, outcome(status)),
            Ok(None) => return Ok(false),
            Err(rustix::io::Errno::CHILD) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn outcome(status: WaitStatus) -> Outcome {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, Some(signal)) => Outcome::Signaled(signal),
        // Neither is not an end; the kernel reports none here without being asked.
        (None, None) => Outcome::Nothing,
    }
}
