//! Capabilities of this thread, and what programs that it starts have of them.
//!
//! A process of another user than root has nothing left of its capabilities once it becomes another
//! program, unless they are in the ambient set then. There they are for the moment of one start alone.

use std::io;

use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
};

/// What packet filters take.
pub(crate) const FILTERS: CapabilitySet = CapabilitySet::NET_ADMIN;

/// What a shim needs to move into its replica's network, and to give all of it up.
pub(crate) const MOVE_IN: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SETPCAP);

/// What a program may have whose file gives it that, so that it can be started at all.
const HARMLESS: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Whether this thread may do everything that the private network needs.
pub(crate) fn for_networks() -> bool {
    has(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE)
}

/// Whether this thread, and root's programs that it starts, may mount.
pub(crate) fn to_mount() -> bool {
    has(CapabilitySet::SYS_ADMIN)
}

/// Whether this thread may listen at ports below 1024.
pub(crate) fn for_low_ports() -> bool {
    has(CapabilitySet::NET_BIND_SERVICE)
}

fn has(wanted: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

/// Runs `start`; a program that it starts has `lent`, as far as this thread has it.
pub(crate) fn lend<T>(lent: CapabilitySet, start: impl FnOnce() -> T) -> T {
    let _given_back = Lent::lend(lent);
    start()
}

/// What was in the inheritable set before; what is taken out of it leaves the ambient one, too.
struct Lent(Option<CapabilitySet>);

impl Lent {
    fn lend(lent: CapabilitySet) -> Self {
        // Root's programs have what root has.
        if rustix::process::geteuid().is_root() {
            return Self(None);
        }
        let Ok(mut sets) = capabilities(None) else { return Self(None) };
        let before = sets.inheritable;
        let lent = lent & sets.permitted;
        sets.inheritable |= lent;
        if lent.is_empty() || set_capabilities(None, sets).is_err() {
            return Self(None);
        }
        let given_back = Self(Some(before));
        for one in lent {
            // Refused where the process was told never to do this: what is started says what it lacks.
            let _ = configure_capability_in_ambient_set(one, true);
        }
        given_back
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(before) = self.0.take() else { return };
        let given_back = capabilities(None).and_then(|mut sets| {
            sets.inheritable = before;
            set_capabilities(None, sets)
        });
        if let Err(error) = given_back {
            // To give up what one has is never refused; an application must not get it by mistake.
            eprintln!("landscape-router: lent capabilities cannot be taken back: {error}");
            std::process::abort();
        }
    }
}

/// Leaves `kept` to the programs that this thread starts from now on, be they root's or given more by their
/// files; the thread itself keeps what it has. Needs CAP_SETPCAP, if there is anything to take away.
pub(crate) fn bound(kept: CapabilitySet) -> rustix::io::Result<()> {
    for one in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        // One that the kernel does not know is in no set.
        if !kept.contains(one) && capability_is_in_bounding_set(one).unwrap_or(false) {
            remove_capability_from_bounding_set(one)?;
        }
    }
    Ok(())
}

/// Gives up every capability, for this thread and whatever it starts from now on.
pub(crate) fn give_up() -> io::Result<()> {
    bound(HARMLESS)?;
    drop_all()
}

/// The same, and a program that it starts has those that its file gives it.
pub(crate) fn drop_all() -> io::Result<()> {
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of `/proc/<pid>/status` of what `start` starts.
    fn effective(start: impl FnOnce(&mut std::process::Command) -> io::Result<std::process::Output>) -> String {
        let output = start(std::process::Command::new("grep").args(["CapEff", "/proc/self/status"])).unwrap();
        String::from_utf8(output.stdout).unwrap().trim_start_matches("CapEff:").trim().to_owned()
    }

    #[test]
    fn what_is_lent_is_for_one_start_and_what_is_given_up_does_not_come_back() {
        if !rustix::process::geteuid().is_root() || !has(CapabilitySet::SETPCAP | MOVE_IN | CapabilitySet::SETUID) {
            eprintln!("skipped: needs root with all capabilities");
            return;
        }
        // All of this is of one thread alone.
        let tried = std::thread::spawn(|| {
            rustix::thread::set_keep_capabilities(true).unwrap();
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(64_321)).unwrap();
            let mut sets = capabilities(None).unwrap();
            sets.effective = sets.permitted;
            set_capabilities(None, sets).unwrap();
            assert_eq!(effective(|c| c.output()), "0000000000000000");
            assert_eq!(effective(|c| lend(FILTERS, || c.output())), "0000000000001000");
            assert_eq!(effective(|c| c.output()), "0000000000000000");
            give_up().unwrap();
            assert!(!has(FILTERS));
            assert_eq!(effective(|c| lend(FILTERS, || c.output())), "0000000000000000");
        });
        tried.join().unwrap();
    }
}
