//! What the two routers say to each other.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{Addresses, ReplicaId};
use crate::landscape::ServiceKey;

/// From the successor.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToOld {
    /// Send a descriptor of the user namespace that you run in. Asked by whoever may become a successor.
    UserNamespace,
    /// Send duplicates of the listening sockets; nothing changes yet.
    Listeners,
    /// Give everything up: from now on the successor owns the lives of the services.
    Lives,
    /// A service's replicas, in answer to [`ToNew::Demand`].
    Ready {
        /// Whose.
        service: ServiceKey,
        /// Which, and where.
        replicas: Vec<(ReplicaId, Addresses)>,
    },
    /// A service cannot serve.
    Failed {
        /// Which.
        service: ServiceKey,
        /// Why, for the client.
        public: String,
        /// When to try again.
        retry_after: Duration,
    },
}

/// From the old router.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToNew {
    /// The descriptor beside this message, in answer to [`ToOld::UserNamespace`].
    UserNamespace,
    /// The descriptors beside this message: `http` in this order, then `admin`.
    Listeners {
        /// As configured.
        http: Vec<SocketAddr>,
        /// As configured.
        admin: Option<SocketAddr>,
    },
    /// Some of the private listeners, in answer to [`ToOld::Lives`]: the interfaces of the descriptors beside
    /// this message.
    Private(Vec<String>),
    /// Everything is given up. These services are still used by the old router's requests.
    Lives {
        /// Their names.
        used: Vec<ServiceKey>,
        /// Those that an operator sent to sleep and nobody has woken since. Older routers do not say.
        #[serde(default)]
        asleep: Vec<ServiceKey>,
    },
    /// It cannot be given up now: why.
    Refused(String),
    /// Requests of the old router wait for a service, and use it once it is ready.
    Demand(ServiceKey),
    /// Nothing of the old router uses the service any more.
    Unused(ServiceKey),
}
