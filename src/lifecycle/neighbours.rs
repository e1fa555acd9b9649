//! Replicas by the address that others of their landscape see them at: who it is that calls.

use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;

use crate::backend::{ReplicaId, Seen};
use crate::landscape::{LandscapeId, ServiceKey};

/// See the module's words.
#[derive(Debug, Default)]
pub struct Neighbours {
    by_address: DashMap<IpAddr, (ServiceKey, ReplicaId)>,
}

impl Neighbours {
    /// Takes note of what a backend saw.
    pub(super) fn observe(&self, service: &ServiceKey, seen: &Seen) {
        match seen {
            Seen::Running(id, addresses) => {
                let Some(address) = addresses.seen_as() else { return };
                self.forget(service, *id);
                self.by_address.insert(address, (service.clone(), *id));
            }
            Seen::Ended(id, _) | Seen::Stopped(id) => self.forget(service, *id),
            _ => {}
        }
    }

    /// An address that it had and another replica has by now stays the other's.
    fn forget(&self, service: &ServiceKey, id: ReplicaId) {
        self.by_address.retain(|_, (of, replica)| *replica != id || of != service);
    }

    /// The service of `landscape` that has this address.
    pub fn name(&self, address: IpAddr, landscape: &LandscapeId) -> Option<Arc<str>> {
        let found = self.by_address.get(&address.to_canonical())?;
        let (of, _) = found.value();
        (of.landscape == *landscape).then(|| of.service.clone())
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
        assert_eq!(all.name(at, &"shop".into()).as_deref(), Some("web"));
        assert_eq!(all.name(at, &"other".into()), None);
        all.observe(&web, &Seen::Stopped(id));
        assert_eq!(all.name(at, &"shop".into()), None);
    }

    #[test]
    fn an_address_that_a_successor_has_by_now_is_the_successors() {
        let all = Neighbours::default();
        let web = ServiceKey::new("shop", "web");
        let [old, new] = [1, 2].map(|generation| ReplicaId { ordinal: 0, generation });
        let [at, then]: [IpAddr; 2] = ["10.0.0.2", "10.0.0.3"].map(|a| a.parse().unwrap());
        let running = |id, at| Seen::Running(id, Addresses::new(vec![(3000, (at, 3000).into())]));
        all.observe(&web, &running(old, at));
        all.observe(&web, &running(new, at));
        all.observe(&web, &Seen::Stopped(old));
        assert_eq!(all.name(at, &"shop".into()).as_deref(), Some("web"));
        all.observe(&web, &running(new, then));
        assert_eq!(all.name(at, &"shop".into()), None, "it has moved");
        assert_eq!(all.name(then, &"shop".into()).as_deref(), Some("web"));
    }
}
