//! A user namespace for a router without rights: there it may make networks, and nothing else that it
//! could not do before.
//!
//! It knows one user and one group, the router's own. Whoever is in it is in it for good, and only a
//! process of one thread may go in: before anything else is started.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{getegid, geteuid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use super::hub;
use super::survey::{Lack, Survey, rights};

/// The command by which this program, started once more, tries what user namespaces allow here.
pub const SURVEY: &str = "survey-user-namespace";

/// Moves this process into a new user namespace.
pub fn enter_new() -> io::Result<()> {
    let at = |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // SAFETY: only the user namespace is left; the table of descriptors stays shared, which is what the
    // call is unsafe for.
    #[allow(unsafe_code)]
    let left = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) };
    left.map_err(io::Error::from).map_err(at("it cannot be made"))?;
    // Without this the kernel lets nobody without rights map a group.
    std::fs::write("/proc/self/setgroups", "deny").map_err(at("setgroups"))?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).map_err(at("uid_map"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).map_err(at("gid_map"))
}

/// Moves this process into a user namespace that there is.
pub fn enter(namespace: &OwnedFd) -> io::Result<()> {
    Ok(move_into_link_name_space(std::os::fd::AsFd::as_fd(namespace), Some(LinkNameSpaceType::User))?)
}

/// The user namespace of this process.
pub fn own() -> io::Result<OwnedFd> {
    open("/proc/self/ns/user")
}

/// The user namespace of another process, where it is not the one of this process.
pub fn of_other(pid: u32) -> io::Result<Option<OwnedFd>> {
    let path = format!("/proc/{pid}/ns/user");
    if std::fs::read_link(&path)? == std::fs::read_link("/proc/self/ns/user")? {
        return Ok(None);
    }
    open(&path).map(Some)
}

fn open(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What would be possible in a user namespace: tried by another process, for there is no way back.
pub fn survey() -> Survey {
    if let Some(lack) = unfit() {
        return Survey::without(lack);
    }
    let answer = Command::new("/proc/self/exe").arg(SURVEY).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let survey = answer.and_then(|output| Ok(serde_json::from_slice(&output.stdout)?));
    survey.unwrap_or_else(|error| Survey::without(cannot_be_tried(&error)))
}

pub(super) fn cannot_be_tried(error: &io::Error) -> Lack {
    Lack::new(
        format!("whether user namespaces are allowed here cannot be tried ({error})"),
        "see that the router's program can be started by the router's user",
    )
}

/// What cannot be had without rights on the machine's own network.
pub fn no_egress() -> Lack {
    Lack::new(
        "by a user namespace replicas reach each other, and nothing outside of this machine",
        "for egress run the router as root, with `process.namespaces: auto`",
    )
}

/// Who must not be in a user namespace.
pub(super) fn unfit() -> Option<Lack> {
    let remedy = "run the router as a user of its own";
    let uid = geteuid();
    if uid.is_root() {
        let what = "root without capabilities would have all of them in a user namespace, and its replicas with it";
        return Some(Lack::new(what, format!("{remedy}, or as root with CAP_NET_ADMIN and CAP_SYS_ADMIN")));
    }
    // Whatever belongs to a user that the namespace does not know belongs to this number there.
    let stands_for_all = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?.trim().parse().ok();
    (stands_for_all == Some(uid.as_raw())).then(|| {
        let uid = uid.as_raw();
        Lack::new(
            format!("in a user namespace uid {uid} stands for all other users, and the router runs as it"),
            remedy,
        )
    })
}

/// The other process's `main`.
pub fn survey_main() -> ExitCode {
    let tried = enter_new().and_then(|()| hub::new_hub()).and_then(|hub| hub.enter(rights));
    let survey = match tried {
        Ok(survey) => Survey { egress: Some(no_egress()), ..survey },
        // Made, but without any rights inside, is what AppArmor may leave of one.
        Err(error) => Survey::without(forbidden(&error)),
    };
    match serde_json::to_writer(io::stdout(), &survey) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Who forbids it is not told; what can be read says where to look first.
pub(super) fn forbidden(error: &io::Error) -> Lack {
    Lack::new(
        format!("user namespaces cannot be used here ({error})"),
        remedy(|path| std::fs::read_to_string(path).ok()),
    )
}

fn remedy(read: impl Fn(&str) -> Option<String>) -> &'static str {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return "sysctl user.max_user_namespaces=15000, or run the router as root";
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return "sysctl kernel.unprivileged_userns_clone=1, or run the router as root";
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "give the router's program an AppArmor profile with `userns,`, or sysctl \
                kernel.apparmor_restrict_unprivileged_userns=0, or run the router as root";
    }
    "allow them where the router runs (a container's seccomp profile, systemd's RestrictNamespaces and \
     ProtectKernelTunables), or run the router as root"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_the_switch_that_is_off() {
        let with = |path: &'static str, value: &'static str| {
            remedy(move |asked| (asked == path).then(|| format!("{value}\n")))
        };
        assert!(with("/proc/sys/user/max_user_namespaces", "0").contains("user.max_user_namespaces"));
        assert!(with("/proc/sys/kernel/unprivileged_userns_clone", "0").contains("unprivileged_userns_clone=1"));
        assert!(with("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1").contains("AppArmor"));
        assert!(with("/proc/sys/user/max_user_namespaces", "96365").contains("seccomp"));
    }
}
