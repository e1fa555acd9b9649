//! What requests tell the actor: a few flags, however many requests set them.
//!
//! Nine thousand requests that find a service cold raise one flag nine thousand times and wake the
//! actor once; there is no queue that could grow.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// A request waits in the gate.
pub const DEMAND: u32 = 1;
/// The last request of a closed replica has ended.
pub const DRAINED: u32 = 1 << 1;
/// A connect failed.
pub const SUSPECT: u32 = 1 << 2;
/// A service that was awake for others' sake alone is used itself.
pub const USED: u32 = 1 << 3;

/// See the module's words.
#[derive(Debug, Default)]
pub struct Signals {
    flags: AtomicU32,
    notify: Notify,
}

impl Signals {
    /// Raises a flag. Wakes the actor only if it was down.
    pub fn raise(&self, flag: u32) {
        // Release, and acquire in `take`: what was done before raising is seen by who takes it. A flag
        // that is up already was not taken yet, and who takes it will see this work too.
        if self.flags.fetch_or(flag, Ordering::AcqRel) & flag == 0 {
            self.notify.notify_one();
        }
    }

    /// Takes all flags down and returns them.
    pub fn take(&self) -> u32 {
        self.flags.swap(0, Ordering::AcqRel)
    }

    /// Until a flag may be up.
    pub async fn raised(&self) {
        self.notify.notified().await;
    }
}
