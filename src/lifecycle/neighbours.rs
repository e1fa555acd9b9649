//! Replicas by the address that others of their landscape see them at: who it is that calls.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::backend::{ReplicaId, Seen};
use crate::landscape::{LandscapeId, ServiceKey};

/// See the module's words.
#[derive(Debug, Default)]
pub struct Neighbours {
    by_address: DashMap<IpAddr, ServiceKey>,
    of: Mutex<HashMap<(ServiceKey, ReplicaId), IpAddr>>,
}

impl Neighbours {
    /// Takes note of what a backend saw.
    pub(super) fn observe(&self, service: &ServiceKey, seen: &Seen) {
        match seen {
            Seen::Running(id, addresses) => {
                let Some(address) = addresses.seen_as() else { return };
                self.by_address.insert(address, service.clone());
                self.of.lock().insert((service.clone(), *id), address);
            }
            Seen::Ended(id, _) | Seen::Stopped(id) => {
                if let Some(address) = self.of.lock().remove(&(service.clone(), *id)) {
                    // Somebody else's replica may have it by now.
                    self.by_address.remove_if(&address, |_, now| now == service);
                }
            }
            _ => {}
        }
    }

    /// The service of `landscape` that has this address; `-` for none.
    pub fn name(&self, address: IpAddr, landscape: &LandscapeId) -> Arc<str> {
        match self.by_address.get(&address.to_canonical()) {
            Some(found) if found.landscape == *landscape => found.service.clone(),
            _ => "-".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Addresses;

    #[test]
    fn an_address_names_a_service_of_its_landscape_for_as_long_as_the_replica_is_there() {
        let all = Neighbours::default();
        let (web, id) = (ServiceKey::new("shop", "web"), ReplicaId { ordinal: 0, generation: 1 });
        let at: IpAddr = "10.0.0.2".parse().unwrap();
        all.observe(&web, &Seen::Running(id, Addresses::new(vec![(3000, (at, 3000).into())])));
        assert_eq!(&*all.name(at, &"shop".into()), "web");
        assert_eq!(&*all.name(at, &"other".into()), "-");
        all.observe(&web, &Seen::Stopped(id));
        assert_eq!(&*all.name(at, &"shop".into()), "-");
    }
}
