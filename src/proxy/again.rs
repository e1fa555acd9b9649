//! The replica for a further attempt.
//!
//! A replica that dies is one fault, however many connections it breaks: its listener may be the last
//! socket that it closes, and takes connections until then without ever reading them. So whose
//! connection broke goes to another replica where there is one, and a second break by the same replica
//! ends the request only if that replica still accepts.
//!
//! Whoever accepts nothing gets no requests until a probe has passed. So a request whose replicas go all at
//! once, before the router has heard of it, runs out of them and is held, as if it had come a moment later.

use super::ErrorCode;
use super::endpoint::{Endpoint, Target};
use super::forward::{Outgoing, Slot};
use super::hold::{self, NotHeld};
use crate::lifecycle::{Demand, Service};

/// How many replicas more than there are may refuse one request: a start that passes its probe and dies is
/// not tried for ever.
const MORE: usize = 4;

/// What the last replica did.
#[derive(Clone, Copy)]
pub(super) enum Last {
    /// It did not accept.
    Unreachable,
    /// It broke a connection.
    Broke,
}

/// How often one request may still find that nobody accepts: by each replica of when it did first, and a few
/// times more.
#[derive(Default)]
pub(super) struct Patience(Option<usize>);

impl Patience {
    /// Nobody accepted. Whether to go on.
    pub fn again(&mut self, service: &Service) -> bool {
        let left = self.0.get_or_insert_with(|| service.ready_count() + MORE);
        let again = *left > 0;
        *left = left.saturating_sub(1);
        again
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
        if matches!(last, Last::Unreachable) && !self.patience.again(service) {
            return Err(NotHeld::Answer(ErrorCode::UpstreamConnect.into()));
        }
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
        let demand = Demand {
            bytes: slot.as_ref().map_or(0, hold::buffered),
            failed,
            waited: self.cold.unwrap_or_default(),
            ..Demand::of(self.use_)
        };
        // Boxed: a rare way may not make every connection's future larger.
        let held = Box::pin(hold::hold(service, &mut self.usage, endpoint.policy.hold.half_closed, demand)).await?;
        self.held(held.lease, held.waited);
        Ok(())
    }
}
