//! The few calls that have no safe form: what a child does between fork and exec, closing whole
//! ranges of descriptors at the next exec, and waiting for a descriptor that tokio does not know.

#![allow(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;
use rustix::thread::{Gid, Uid};
use tokio::io::unix::AsyncFd;

/// What a step's process does to itself before it becomes the shell.
#[derive(Debug, Default)]
pub struct ChildSetup {
    /// Opened `tasks` or `cgroup.procs` files of the groups it joins. A group that cannot be joined
    /// is left out: the parent sees by itself who is in it.
    pub joins: Vec<OwnedFd>,
    /// Supplementary groups; `None` keeps the router's.
    pub groups: Option<Vec<u32>>,
    /// The group; `None` keeps the router's.
    pub gid: Option<u32>,
    /// The user; `None` keeps the router's.
    pub uid: Option<u32>,
}

/// Has `command`'s child do `setup` before its exec.
pub fn before_exec(command: &mut Command, setup: ChildSetup) {
    let groups: Option<Vec<Gid>> = setup.groups.map(|g| g.into_iter().map(Gid::from_raw).collect());
    let (gid, uid) = (setup.gid.map(Gid::from_raw), setup.uid.map(Uid::from_raw));
    let joins = setup.joins;
    let prepare = move || -> io::Result<()> {
        for group in &joins {
            let _ = rustix::io::write(group.as_fd(), b"0");
        }
        for number in 1..=64 {
            // SAFETY: restoring the default disposition is async-signal-safe and runs no code of
            // ours; numbers that cannot be changed are refused by the kernel without effect.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
        if let Some(groups) = &groups {
            rustix::thread::set_thread_groups(groups)?;
        }
        if let Some(gid) = gid {
            rustix::thread::set_thread_gid(gid)?;
        }
        if let Some(uid) = uid {
            rustix::thread::set_thread_uid(uid)?;
        }
        // Rights that a router without root was given for networks are not its replicas': by them these
        // would leave their own.
        rustix::thread::clear_ambient_capability_set()?;
        // After the change of user, which would clear it: without its shim nothing would end it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, on memory that was allocated
    // before; nothing in `prepare` locks or allocates.
    unsafe { command.pre_exec(prepare) };
}

/// Of `<linux/sched.h>`; the libc crate gives it a type that cannot hold it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Starts `command` as a child that is in the unified control group `group` from its first moment.
///
/// A process that joins a group later makes the kernel wait for every processor, which takes longer
/// than everything else a start does. Where this is refused (an old kernel, a seccomp filter), the
/// error is that of the system call, and nothing was started. Only for a process of one thread.
pub fn spawn_in_group(command: &mut Command, group: BorrowedFd<'_>) -> Result<io::Result<u32>, io::Error> {
    let (mut failure, mut report) = io::pipe()?;
    // SAFETY: a structure of integers, for all of which 0 means "not given".
    let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
    how.flags = CLONE_INTO_CGROUP;
    how.exit_signal = libc::SIGCHLD as u64;
    how.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    // SAFETY: without CLONE_VM this is a fork: the child has a copy of everything. The caller has no
    // other thread, so that no lock is held by a thread that the child does not have.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const how, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let leave = LeaveOnDrop;
            let error = command.exec();
            // Without this report the parent takes the exec for done and sees status 127.
            let _ = report.write_all(&error.raw_os_error().unwrap_or(libc::EINVAL).to_ne_bytes());
            drop(leave);
            Ok(Err(error))
        }
        pid => {
            drop(report);
            let mut code = [0; 4];
            match failure.read_exact(&mut code) {
                // The exec closed the other end.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Ok(pid.unsigned_abs() as u32)),
                Err(e) => Ok(Err(e)),
                Ok(()) => Ok(Err(io::Error::from_raw_os_error(i32::from_ne_bytes(code)))),
            }
        }
    }
}

/// The copy of this process that did not become another must not go on, not even by a panic.
struct LeaveOnDrop;

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        // SAFETY: ends the process without running anything of ours.
        unsafe { libc::_exit(127) }
    }
}

/// Marks every descriptor from `first` on to be closed at exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only flags of descriptors change; none is closed.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets tasks wait for a descriptor.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor moves into the result, which gives it away only after deregistering;
    // nothing here hands out a second owner that could close it before.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

    use super::*;

    #[test]
    fn a_child_gets_no_right_that_the_router_was_given() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: giving capabilities away needs root");
            return;
        }
        // They are a thread's own.
        let child = std::thread::spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.inheritable |= CapabilitySet::NET_ADMIN;
            set_capabilities(None, sets).unwrap();
            configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true).unwrap();
            let mut command = Command::new("grep");
            command.args(["CapAmb", "/proc/self/status"]);
            before_exec(&mut command, ChildSetup::default());
            command.output().unwrap()
        });
        let output = child.join().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "CapAmb:\t0000000000000000\n");
    }
}
