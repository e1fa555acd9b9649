//! What the router stands on: the machine's own network, or a user namespace where it may make one.
//!
//! Decided before anything else is: only a process of one thread may go into a user namespace, and it never
//! comes out. Into which one is mostly not free: what an earlier router left can be reached from within the
//! one it runs in, and from nowhere else.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::takeover;
use crate::backend::process;
use crate::capabilities;
use crate::config::{self, Glance};
use crate::private::ground::{self, Lack, Namespace, user};

/// How long shims may seem to run whose router has ended them.
const GOING: Duration = Duration::from_secs(1);

/// See the module's words.
#[derive(Debug)]
pub(super) enum Standing {
    /// As it was started, with whatever rights it has.
    Machine,
    /// In a user namespace; with the hub that replicas of an earlier router are on.
    User(Option<Namespace>),
    /// As it was started, though the configuration asks for a user namespace: why.
    Refused(Lack),
}

/// What there is already.
enum Earlier {
    /// Nothing that would oblige.
    Nothing,
    /// All of it runs in this user namespace.
    In(OwnedFd),
    /// It runs where this process is, too, or in several places.
    Here,
}

impl Standing {
    /// Finds the place for this process and moves it there.
    pub(super) fn take(config: &Path, take_over: bool) -> Self {
        if capabilities::for_networks() {
            return Self::Machine;
        }
        // A configuration that cannot be read is refused later, with its mistakes.
        let Some(glance) = config::glance(config) else { return Self::Machine };
        let shims = lasting_shims(&glance);
        let earlier = match predecessor(&glance.state, take_over && glance.user_namespaces) {
            Earlier::Nothing => of_shims(&shims),
            known => known,
        };
        let moved = match earlier {
            Earlier::In(namespace) => user::enter(&namespace),
            Earlier::Here if glance.user_namespaces => {
                return Self::Refused(Lack::new(
                    "what an earlier router runs is not in a user namespace, and would be lost to one that is",
                    "stop that router and start this one without --take-over",
                ));
            }
            Earlier::Nothing if glance.user_namespaces => match user::survey() {
                survey if survey.can_isolate() => user::enter_new(),
                survey => return survey.into_first_lack().map_or(Self::Machine, Self::Refused),
            },
            Earlier::Here | Earlier::Nothing => return Self::Machine,
        };
        match moved {
            Ok(()) => Self::User(hub_of(&shims)),
            Err(error) => Self::Refused(Lack::new(
                format!("the user namespace cannot be entered ({error})"),
                "run the router as root, or with `process.namespaces: auto`",
            )),
        }
    }
}

/// The shims of replicas that run on. Where these would be in the way, those of a router that has just been
/// told to end get the moment that they take to be gone.
fn lasting_shims(glance: &Glance) -> Vec<u32> {
    let deadline = Instant::now() + GOING;
    loop {
        let shims = process::living_shims(&glance.state);
        let in_the_way = glance.user_namespaces && matches!(of_shims(&shims), Earlier::Here);
        if !in_the_way || Instant::now() > deadline {
            return shims;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn hub_of(shims: &[u32]) -> Option<Namespace> {
    for shim in shims {
        match ground::hub_of(*shim) {
            Ok(hub) => return Some(hub),
            // It may have ended just now, or be one that has no network of its own.
            Err(error) => tracing::debug!("no network is found with the shim {shim}: {error}"),
        }
    }
    None
}

fn predecessor(state: &Path, ask: bool) -> Earlier {
    if !ask {
        return Earlier::Nothing;
    }
    match takeover::user_namespace(state) {
        Ok(None) => Earlier::Nothing,
        Ok(Some(theirs)) => {
            match user::own().and_then(|own| Namespace::new(own).is(&Namespace::new(theirs.try_clone()?))) {
                Ok(false) => Earlier::In(theirs),
                _ => Earlier::Here,
            }
        }
        Err(error) => {
            tracing::warn!("the router that is taken over does not tell where it runs: {error}");
            Earlier::Here
        }
    }
}

fn of_shims(shims: &[u32]) -> Earlier {
    let mut earlier = Earlier::Nothing;
    for shim in shims {
        match (user::of_other(*shim), &earlier) {
            (Ok(Some(namespace)), Earlier::Nothing) => earlier = Earlier::In(namespace),
            (Ok(Some(_)), _) => {}
            // One of our own place that may not be looked into is here, too.
            (Ok(None) | Err(_), Earlier::Nothing) => earlier = Earlier::Here,
            (Ok(None) | Err(_), _) => {}
        }
    }
    earlier
}
