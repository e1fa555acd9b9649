//! The actor's side of the leases: one open [`Replica`] for each replica in use, and the earlier ones
//! that still have requests in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::replica::Replica;
use super::service::ReadySet;
use crate::backend::{Addresses, ReplicaId};

/// See the module's words.
#[derive(Debug, Default)]
pub(super) struct Handles {
    current: BTreeMap<ReplicaId, Arc<Replica>>,
    /// Replaced or forgotten, with requests in flight.
    former: Vec<Arc<Replica>>,
    /// Closed, and not yet told to be drained.
    retiring: BTreeSet<ReplicaId>,
}

impl Handles {
    /// The ready set of this rotation. What is closed or has moved is opened as a new replica: a closed
    /// word is never opened again.
    pub fn rotation(&mut self, rotation: Vec<(ReplicaId, Addresses)>) -> ReadySet {
        self.former.retain(|r| r.word.in_flight() > 0);
        let replicas = rotation.into_iter().map(|(id, addresses)| self.open(id, addresses)).collect();
        ReadySet { replicas }
    }

    fn open(&mut self, id: ReplicaId, addresses: Addresses) -> Arc<Replica> {
        if let Some(known) = self.current.get(&id) {
            if !known.word.is_closed() && known.addresses == addresses {
                return known.clone();
            }
            self.former.push(known.clone());
        }
        let replica = Arc::new(Replica::new(id, addresses));
        self.current.insert(id, replica.clone());
        replica
    }

    fn of(&self, id: ReplicaId) -> impl Iterator<Item = &Arc<Replica>> {
        self.current.get(&id).into_iter().chain(self.former.iter().filter(move |r| r.id == id))
    }

    /// Closes all of them, unless one has something in flight; then some may be closed already.
    pub fn close_if_idle(&self, ids: &[ReplicaId]) -> bool {
        ids.iter().all(|id| self.of(*id).all(|r| r.word.close_if_idle()))
    }

    /// Closes it whatever is in flight. [`Handles::drained`] tells when that has ended.
    pub fn retire(&mut self, id: ReplicaId) {
        for replica in self.of(id) {
            replica.word.close_now();
        }
        self.retiring.insert(id);
    }

    /// Retired replicas that have nothing in flight any more; each is told once.
    pub fn drained(&mut self) -> Vec<ReplicaId> {
        let ids: Vec<_> =
            self.retiring.iter().copied().filter(|id| self.of(*id).all(|r| r.word.in_flight() == 0)).collect();
        for id in &ids {
            self.retiring.remove(id);
        }
        ids
    }

    /// It is gone. Requests that are still in flight on it are known until they end.
    pub fn forget(&mut self, id: ReplicaId) {
        self.retiring.remove(&id);
        if let Some(replica) = self.current.remove(&id) {
            replica.word.close_now();
            self.former.push(replica);
        }
        self.former.retain(|r| r.word.in_flight() > 0);
    }

    /// Those to which a connect failed.
    pub fn suspects(&self) -> Vec<ReplicaId> {
        self.current.iter().filter(|(_, r)| r.health.is_suspect()).map(|(id, _)| *id).collect()
    }

    /// A probe passed.
    pub fn trust(&self, id: ReplicaId) {
        if let Some(replica) = self.current.get(&id) {
            replica.health.trust();
        }
    }

    /// Whether it has answered a request since this was asked last.
    pub fn take_answered(&self, id: ReplicaId) -> bool {
        self.current.get(&id).is_some_and(|r| r.health.take_answered())
    }

    /// Every one that may have requests in flight.
    pub fn everything(&self) -> Vec<Arc<Replica>> {
        self.current.values().chain(&self.former).cloned().collect()
    }
}
