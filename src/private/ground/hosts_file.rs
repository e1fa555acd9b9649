//! A hosts file of the router's in place of this machine's, for what stays on its network.
//!
//! Who may mount does so. Who may not can make a user namespace, in which that is allowed, where these are:
//! with a network of its own it would isolate as well, and lead nowhere; without, it is still this machine's.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde::{Deserialize, Serialize};

use super::survey::Lack;
use super::{own_mounts, show, user};
use crate::capabilities;

/// Where programs look for names.
pub const PLACE: &str = "/etc/hosts";
/// Where the C library looks for where to look.
const ORDER: &str = "/etc/nsswitch.conf";

/// The command by which this program, started once more, tries whether a hosts file can be shown.
pub const SURVEY: &str = "survey-hosts-file";

/// How a process is shown such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sight {
    /// By the rights that its parent has.
    Mount,
    /// By a user namespace, in which other users than its own are all one.
    UserNamespace,
}

impl Sight {
    /// How this program can show one to what it starts. Takes some ms where it has no rights.
    pub fn survey() -> Result<Self, Lack> {
        if capabilities::to_mount() {
            return Ok(Self::Mount);
        }
        user::unfit().map_or(Ok(()), Err)?;
        let answer = Command::new("/proc/self/exe").arg(SURVEY).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let lack: io::Result<Option<Lack>> = answer.and_then(|output| Ok(serde_json::from_slice(&output.stdout)?));
        match lack {
            Ok(None) => Ok(Self::UserNamespace),
            Ok(Some(lack)) => Err(lack),
            Err(error) => Err(user::cannot_be_tried(&error)),
        }
    }

    /// Shows `file` to this process and to what it starts. `dir`: a folder for what goes with it. Only for a
    /// process of one thread.
    pub fn show(self, file: &Path, dir: &Path) -> io::Result<()> {
        let shown = self.enter().and_then(|()| mount(file, dir));
        if self == Self::UserNamespace {
            capabilities::drop_all()?;
        }
        shown
    }

    /// Goes where it may mount.
    fn enter(self) -> io::Result<()> {
        if self == Self::UserNamespace {
            // Who is not dumpable may not write what makes the namespace its own.
            set_dumpable_behavior(DumpableBehavior::Dumpable)?;
            let entered = user::enter_new();
            set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            entered?;
        }
        own_mounts()
    }
}

fn mount(file: &Path, dir: &Path) -> io::Result<()> {
    show(file, PLACE)?;
    let Some(order) = std::fs::read_to_string(ORDER).ok().as_deref().and_then(files_first) else { return Ok(()) };
    let ours: PathBuf = dir.join("nsswitch.conf");
    std::fs::write(&ours, order)?;
    std::fs::set_permissions(&ours, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    show(&ours, ORDER)
}

/// The same order, in which the hosts file comes before a daemon that reads another one; `None`: it does.
fn files_first(order: &str) -> Option<String> {
    let of_hosts = |line: &&str| line.trim_start().starts_with("hosts:");
    let line = order.lines().find(of_hosts)?;
    let (_, ways) = line.split_once(':')?;
    let mut ways: Vec<&str> = ways.split_whitespace().collect();
    if ways.first() == Some(&"files") {
        return None;
    }
    ways.retain(|way| *way != "files");
    let first = format!("hosts: files {}", ways.join(" "));
    Some(order.lines().map(|l| format!("{}\n", if of_hosts(&l) { &first } else { l })).collect())
}

/// The other process's `main`.
pub fn survey_main() -> ExitCode {
    let tried = Sight::UserNamespace.enter().and_then(|()| show(Path::new(PLACE), PLACE));
    let lack = tried.err().map(|error| user::forbidden(&error));
    match serde_json::to_writer(io::stdout(), &lack) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_before_whoever_would_say_that_there_is_no_such_name() {
        let order =
            "passwd: files\nhosts:  mymachines resolve [!UNAVAIL=return] files myhostname dns\nnetworks: files\n";
        let first =
            "passwd: files\nhosts: files mymachines resolve [!UNAVAIL=return] myhostname dns\nnetworks: files\n";
        assert_eq!(files_first(order).as_deref(), Some(first));
        assert_eq!(files_first(first), None);
        assert_eq!(files_first("passwd: files\n"), None, "without a word the C library does so itself");
    }
}
