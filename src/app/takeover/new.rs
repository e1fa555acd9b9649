//! The successor's side.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::messages::{ToNew, ToOld};
use super::wire::Wire;
use super::{Inherited, gone};
use crate::app::router::Router;
use crate::landscape::ServiceKey;
use crate::lifecycle::{Demand, Lifecycle, Refusal, Use};

/// A router that applies a new configuration answers after that.
const ANSWER: Duration = Duration::from_secs(30);

/// The router that runs on the state folder, from its successor's view.
pub struct Predecessor {
    wire: Arc<Wire>,
    used: BTreeSet<ServiceKey>,
    private: Vec<(String, TcpListener)>,
    asleep: Vec<ServiceKey>,
}

/// The user namespace of the router that runs on the state folder, if one does and tells. Blocks, and starts no
/// thread.
pub fn user_namespace(state: &Path) -> io::Result<Option<OwnedFd>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ask = async {
        let wire = match Wire::connect(state).await {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            other => other?,
        };
        wire.send(&ToOld::UserNamespace, &[]).await?;
        match wire.receive::<ToNew>().await?.ok_or_else(gone)? {
            (ToNew::UserNamespace, descriptors) => Ok(descriptors.into_iter().next()),
            (other, _) => Err(io::Error::other(format!("unexpected: {other:?}"))),
        }
    };
    runtime.block_on(async { tokio::time::timeout(ANSWER, ask).await? })
}

impl Predecessor {
    /// Finds it; `None` where none runs, which is no reason not to start.
    pub async fn find(state: &Path) -> io::Result<Option<Self>> {
        match Wire::connect(state).await {
            Ok(wire) => {
                Ok(Some(Self { wire: Arc::new(wire), used: BTreeSet::new(), private: Vec::new(), asleep: Vec::new() }))
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                tracing::info!("no router runs on this state folder: there is nothing to take over");
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Duplicates of its listening sockets. It goes on as before.
    pub async fn listeners(&self) -> io::Result<Inherited> {
        self.wire.send(&ToOld::Listeners, &[]).await?;
        match self.wire.receive::<ToNew>().await?.ok_or_else(gone)? {
            (ToNew::Listeners { http, admin }, descriptors) => {
                let mut sockets = descriptors.into_iter().map(TcpListener::from);
                let http = http.into_iter().zip(&mut sockets).collect();
                Ok(Inherited { http, admin: admin.zip(sockets.next()) })
            }
            (ToNew::Refused(why), _) => Err(io::Error::other(why)),
            (other, _) => Err(io::Error::other(format!("unexpected: {other:?}"))),
        }
    }

    /// Makes the successor the owner of every service's life. Once this returns, the old router has let
    /// go of the state folder and of its replicas.
    pub async fn take_lives(&mut self) -> io::Result<()> {
        self.wire.send(&ToOld::Lives, &[]).await?;
        loop {
            match self.wire.receive::<ToNew>().await?.ok_or_else(gone)? {
                (ToNew::Private(interfaces), descriptors) => {
                    self.private.extend(interfaces.into_iter().zip(descriptors.into_iter().map(TcpListener::from)));
                }
                (ToNew::Lives { used, asleep }, _) => {
                    (self.used, self.asleep) = (used.into_iter().collect(), asleep);
                    return Ok(());
                }
                (ToNew::Refused(why), _) => return Err(io::Error::other(why)),
                (other, _) => return Err(io::Error::other(format!("unexpected: {other:?}"))),
            }
        }
    }

    /// The listeners of its landscapes' networks, each with its interface: once it has given up their lives.
    pub fn take_private(&mut self) -> Vec<(String, TcpListener)> {
        std::mem::take(&mut self.private)
    }

    /// To be called as soon as the services are there: keeps awake what the old router still uses, and lets
    /// sleep what was sent to sleep there.
    pub fn claim(&self, lifecycle: &Lifecycle) {
        for key in &self.used {
            if let Some(handle) = lifecycle.get(key) {
                handle.service().set_elsewhere(1);
            }
        }
        for key in &self.asleep {
            if let Some(handle) = lifecycle.get(key) {
                handle.sleeps_on();
            }
        }
    }

    /// Serves the old router's wishes until it has ended.
    pub async fn accompany(mut self, router: Arc<Router>) {
        loop {
            match self.wire.receive::<ToNew>().await {
                Ok(Some((ToNew::Demand(key), _))) => {
                    // Before anything is ready, and before the next message: idleness must not come between.
                    if let Some(handle) = router.lifecycle.get(&key) {
                        handle.service().set_elsewhere(1);
                    }
                    self.used.insert(key.clone());
                    tokio::spawn(serve(self.wire.clone(), router.clone(), key));
                }
                Ok(Some((ToNew::Unused(key), _))) => {
                    self.used.remove(&key);
                    release(&router, &key);
                }
                Ok(Some((other, _))) => tracing::warn!("unexpected from the old router: {other:?}"),
                Ok(None) => break,
                Err(e) => {
                    tracing::warn!("the connection to the old router broke: {e}");
                    break;
                }
            }
        }
        for key in &self.used {
            release(&router, key);
        }
        tracing::info!("the old router has ended");
    }
}

fn release(router: &Router, key: &ServiceKey) {
    if let Some(handle) = router.lifecycle.get(key) {
        handle.service().set_elsewhere(0);
    }
}

/// Wakes a service for the old router's requests, as a request of our own would.
async fn serve(wire: Arc<Wire>, router: Arc<Router>, key: ServiceKey) {
    let answer = match router.lifecycle.get(&key) {
        None => failed(key, Refusal::Removed),
        Some(handle) => {
            let service = handle.service();
            let demand = Demand::of(Use::Counts);
            match service.hold(demand).await {
                Ok(_held) => ToOld::Ready { service: key, replicas: service.rotation() },
                Err(refusal) => failed(key, refusal),
            }
        }
    };
    if let Err(e) = wire.send(&answer, &[]).await {
        tracing::debug!("the old router was not told: {e}");
    }
}

fn failed(service: ServiceKey, refusal: Refusal) -> ToOld {
    let soon = std::time::Duration::from_secs(2);
    let (public, retry_after) = match refusal {
        Refusal::Failed { public, retry_after } => (public, retry_after),
        Refusal::Overflow { retry_after } | Refusal::Deadline { retry_after } => {
            ("The service did not become ready in time.".into(), retry_after)
        }
        Refusal::NotRunnable | Refusal::Removed => ("The service is no longer provided.".into(), soon),
        Refusal::Page | Refusal::ShuttingDown => ("The router is being replaced.".into(), soon),
    };
    ToOld::Failed { service, public, retry_after }
}
