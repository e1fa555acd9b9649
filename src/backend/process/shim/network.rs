//! The shim moves into its replica's network, and shows what runs there the files that go with it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, LinkNameSpaceType, move_into_link_name_space};

use crate::backend::process::protocol::NetworkSpec;
use crate::capabilities;
use crate::private::ground::{own_mounts, show};

/// What programs read to find names. `nsswitch.conf` keeps the machine's own ways of asking, a daemon's
/// for example, from answering for our names.
const FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hosts", "/etc/hosts"), ("nsswitch.conf", "/etc/nsswitch.conf")];

/// What a replica that runs as root may still do: what an engine's containers may, without raw packets and
/// devices. With more it would leave its network as it likes.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// Enters the namespace, for good. `dir`: a folder for the files.
pub fn enter(namespace: &OwnedFd, spec: &NetworkSpec, dir: &Path) -> io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    own_mounts()?;
    for (name, at) in FILES {
        // A file that the system does not have is not looked for either.
        let Ok(there) = std::fs::read_to_string(at) else { continue };
        let ours = dir.join(name);
        std::fs::write(&ours, contents(name, spec, &there))?;
        std::fs::set_permissions(&ours, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        show(&ours, at)?;
    }
    match capabilities::bound(KEPT) {
        // Without the right to, this user is not root, and what is started has none anyway.
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        done => Ok(done?),
    }
}

fn contents(name: &str, spec: &NetworkSpec, there: &str) -> String {
    match name {
        "resolv.conf" => format!("nameserver {}\noptions timeout:3 attempts:2\n", spec.resolver),
        "hosts" => "127.0.0.1 localhost\n::1 localhost\n".into(),
        _ => hosts_by_files_and_dns(there),
    }
}

/// The same file, in which hosts come from the two files and from nowhere else.
fn hosts_by_files_and_dns(there: &str) -> String {
    let mut text: String =
        there.lines().filter(|l| !l.trim_start().starts_with("hosts:")).map(|l| format!("{l}\n")).collect();
    text.push_str("hosts: files dns\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_about_hosts_is_changed() {
        let there = "passwd: files systemd\n hosts: files resolve [!UNAVAIL=return] dns\nservices: files\n";
        assert_eq!(hosts_by_files_and_dns(there), "passwd: files systemd\nservices: files\nhosts: files dns\n");
    }
}
