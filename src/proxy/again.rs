//! The replica for a further attempt.
//!
//! A replica that dies is one fault, however many connections it breaks: its listener may be the last
//! socket that it closes, and takes connections until then without ever reading them. So whose
//! connection broke goes to another replica where there is one, and a second break by the same replica
//! ends the request only if that replica still accepts.
//!
//! Whoever accepts nothing gets no requests until a probe has passed. So a request whose replicas go all at
//! once, before the router has heard of it, runs out of them and is held, as if it had come a moment later.

use std::time::{Duration, Instant};

use super::ErrorCode;
use super::endpoint::{Endpoint, Target};
use super::forward::{Outgoing, Slot};
use super::hold::{self, NotHeld};
use crate::lifecycle::{Demand, Service};

/// So many tries each request has, and for each replica of its service one more: a start that passes its probe and
/// dies is not tried for ever.
const TRIES: usize = 4;

/// What the last replica did.
#[derive(Clone, Copy)]
pub(super) enum Last {
    /// It did not accept.
    Unreachable,
    /// It broke a connection.
    Broke,
}

/// How long one request goes on when nobody accepts: a few tries, and then past each replica of when that was so
/// first, for as long as it may be held.
#[derive(Default)]
pub(super) struct Patience(Option<Since>);

struct Since {
    /// It was held for so long by then.
    held: Duration,
    then: Instant,
    replicas: usize,
    tries: usize,
}

impl Patience {
    /// Nobody accepted, of a request that has been held for so long. How much of its time is spent; `None`: no more
    /// of this.
    pub fn again(&mut self, service: &Service, held: Duration) -> Option<Duration> {
        let since = self.0.get_or_insert_with(|| Since {
            held,
            then: Instant::now(),
            replicas: service.ready_count(),
            tries: 0,
        });
        since.tries += 1;
        let spent = since.held + since.then.elapsed();
        let timely = since.tries <= TRIES || spent < service.hold_settings().timeout;
        (timely && since.tries <= TRIES + since.replicas).then_some(spent)
    }
}

impl Outgoing {
    /// Whether the replica that broke a connection takes another one. What was waiting to be accepted
    /// breaks when the listener closes, so that after such a break this one is refused.
    pub async fn accepts(&self, endpoint: &Endpoint) -> bool {
        matches!(endpoint.target, Target::Url(_)) || Box::pin(self.connect(endpoint)).await.is_ok()
    }

    /// A lease on another replica, waiting for one if there is none.
    pub async fn another(&mut self, endpoint: &Endpoint, slot: &Slot, last: Last) -> Result<(), NotHeld> {
        let Target::Replicas { service, .. } = &endpoint.target else {
            return Ok(());
        };
        let held = self.cold.unwrap_or_default();
        let waited = match last {
            Last::Unreachable => {
                self.patience.again(service, held).ok_or_else(|| NotHeld::Answer(ErrorCode::UpstreamConnect.into()))?
            }
            Last::Broke => held,
        };
        let uid = self.usage.current().map(|lease| lease.replica().uid);
        self.usage.release();
        let failed = match last {
            Last::Unreachable => uid,
            Last::Broke => {
                let other = uid.and_then(|uid| service.try_lease_other(self.use_, uid));
                if let Some(lease) = other.or_else(|| service.try_lease(self.use_, None)) {
                    self.usage.lease(lease);
                    return Ok(());
                }
                None
            }
        };
        let demand = Demand { bytes: slot.as_ref().map_or(0, hold::buffered), failed, waited, ..Demand::of(self.use_) };
        // Boxed: a rare way may not make every connection's future larger.
        let held = Box::pin(hold::hold(service, &mut self.usage, endpoint.policy.hold.half_closed, demand)).await?;
        self.held(held.lease, held.waited);
        Ok(())
    }
}
