//! A service whose life another router process owns, after a take-over: requests that are still here
//! are forwarded, and what they need is asked of the owner.
//!
//! The owner keeps the service awake while this end is *open*. It is open from the take-over, or from
//! the owner's answer to a demand, until nothing is in flight here; it is closed replica by replica
//! ([`super::word`]), so that no request slips through between the last look and the owner's being told.

use std::sync::Arc;

use super::handles::Handles;
use super::service::{ReadySet, Refusal, Service};
use super::signals;
use crate::backend::{Addresses, ReplicaId};

/// See the module's words.
#[derive(Debug)]
pub struct Follower {
    service: Arc<Service>,
    handles: Handles,
    rotation: Vec<(ReplicaId, Addresses)>,
    /// Something may be in flight, here or on its way to a replica.
    open: bool,
    /// An operator sent it to sleep, and nobody has woken it since.
    asleep: bool,
}

impl Follower {
    pub(super) fn new(service: Arc<Service>, handles: Handles, asleep: bool) -> Self {
        let rotation = service.rotation();
        // Out of rotation, it may still drain.
        let open = !rotation.is_empty() || service.in_flight() > 0;
        // Whoever was refused by an earlier failure may ask the owner now.
        service.shut(None);
        Self { service, handles, rotation, open, asleep }
    }

    /// The service.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Whether requests may be on a replica, or find one without asking the owner.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether an operator sent it to sleep, and nobody had woken it by the take-over.
    pub fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// Waits until requests need a replica.
    pub async fn asked(&self) {
        // The flags first: one that stays up is never raised again.
        while self.service.signals.take() & (signals::DEMAND | signals::SUSPECT) == 0 || self.service.held() == 0 {
            self.service.signals.raised().await;
        }
    }

    /// The owner's replicas: held requests get their leases.
    pub fn open(&mut self, rotation: Vec<(ReplicaId, Addresses)>) {
        self.rotation.clone_from(&rotation);
        self.open = true;
        for id in self.handles.suspects() {
            // The owner has probed it since, or it would not be named.
            self.handles.trust(id);
        }
        let set = self.handles.rotation(rotation);
        self.service.set_everything(self.handles.everything());
        self.service.publish(set);
    }

    /// Closes this end if nothing is in flight or held; true if it is closed now.
    pub fn close_if_idle(&mut self) -> bool {
        let ids: Vec<ReplicaId> = self.rotation.iter().map(|(id, _)| *id).collect();
        if self.service.held() > 0 || self.service.in_flight() > 0 {
            return false;
        }
        if !self.handles.close_if_idle(&ids) {
            // Some are closed, and one has been leased in this moment: all are opened again.
            self.open(self.rotation.clone());
            return false;
        }
        self.rotation.clear();
        self.open = false;
        self.service.publish(ReadySet::default());
        true
    }

    /// The owner could not serve: held requests are answered.
    pub fn refuse(&self, refusal: &Refusal) {
        self.service.refuse_held(refusal);
    }

    /// The owner is gone: held requests are answered, and all that come.
    pub fn shut(&self) {
        self.service.shut(Some(Refusal::ShuttingDown));
    }
}
