//! Starting one step.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::{Gid, Uid, fchown};

use crate::backend::process::protocol::{ShimSpec, StepSpec};
use crate::backend::process::raw::{ChildSetup, before_exec, spawn_in_group};

/// A step that was started, and its output.
pub struct Started {
    /// Its process, the leader of a group of its own.
    pub pid: u32,
    /// Standard output.
    pub stdout: PipeReader,
    /// Standard error.
    pub stderr: PipeReader,
}

/// Starts `step`; the error is for the operator.
pub fn start(spec: &ShimSpec, step: &StepSpec) -> Result<Started, String> {
    // exec's own ENOENT does not say what is missing.
    match std::fs::metadata(&spec.cwd) {
        Ok(m) if m.is_dir() => {}
        Ok(_) => return Err(format!("its working directory {} is not a directory", spec.cwd.display())),
        Err(e) => return Err(format!("its working directory {}: {e}", spec.cwd.display())),
    }
    spawn(spec, step).map_err(|e| match &spec.user {
        Some(user) => format!("{} as uid {} in {}: {e}", spec.shell.display(), user.uid, spec.cwd.display()),
        None => format!("{} in {}: {e}", spec.shell.display(), spec.cwd.display()),
    })
}

fn spawn(spec: &ShimSpec, step: &StepSpec) -> io::Result<Started> {
    let (stdout, out) = io::pipe()?;
    let (stderr, err) = io::pipe()?;
    if let Some(user) = &spec.user {
        // Otherwise opening /dev/stdout, as servers configured for containers do, is refused.
        for end in [out.as_fd(), err.as_fd()] {
            fchown(end, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        }
    }
    let groups = &spec.meta.cgroups;
    let mut command = command(spec, step, (&out, &err))?;
    before_exec(&mut command, setup(spec, groups.joins()?));
    if let Some(group) = groups.open_unified()? {
        match spawn_in_group(&mut command, group.as_fd()) {
            Ok(child) => return Ok(Started { pid: child?, stdout, stderr }),
            Err(_) => {
                // The kernel will not start it there; it joins by itself, which takes longer.
                let mut joins = groups.joins()?;
                joins.extend(groups.join_unified()?);
                command = self::command(spec, step, (&out, &err))?;
                before_exec(&mut command, setup(spec, joins));
            }
        }
    }
    // Reaped together with all others, by number.
    let child = command.spawn()?;
    Ok(Started { pid: child.id(), stdout, stderr })
}

fn command(spec: &ShimSpec, step: &StepSpec, (out, err): (&PipeWriter, &PipeWriter)) -> io::Result<Command> {
    let mut command = Command::new(&spec.shell);
    command
        .arg("-c")
        .arg(&step.command)
        .env_clear()
        .envs(spec.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&spec.cwd)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .process_group(0);
    Ok(command)
}

fn setup(spec: &ShimSpec, joins: Vec<OwnedFd>) -> ChildSetup {
    let user = spec.user.as_ref();
    ChildSetup { joins, groups: user.map(|u| u.groups.clone()), gid: user.map(|u| u.gid), uid: user.map(|u| u.uid) }
}
