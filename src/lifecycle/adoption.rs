//! What an earlier router left, handed to the services it belongs to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::backend::{Backend, Found, Want};
use crate::config::settings::BackendKind;
use crate::landscape::ServiceKey;

/// An engine that does not answer is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// What is the matter with one is written to the log so often at most.
const SAID_AGAIN: Duration = Duration::from_secs(60);

type ByService = Arc<Mutex<HashMap<ServiceKey, Vec<Found>>>>;

#[derive(Debug)]
struct OfBackend {
    found: ByService,
    known: watch::Receiver<bool>,
    trouble: watch::Receiver<Option<String>>,
}

/// See the module's words.
#[derive(Debug)]
pub(super) struct Adoption {
    backends: Mutex<HashMap<BackendKind, OfBackend>>,
    configured: watch::Sender<bool>,
}

impl Default for Adoption {
    fn default() -> Self {
        Self { backends: Mutex::default(), configured: watch::Sender::new(false) }
    }
}

impl Adoption {
    /// Asks a backend what it finds. When that is known and the services are, what belongs to none of
    /// them (`is_known` says which there are; `None`: the router has ended) is stopped.
    pub fn begin(
        &self,
        backend: Arc<dyn Backend>,
        is_known: impl Fn(&ServiceKey, BackendKind) -> Option<bool> + Send + 'static,
    ) {
        let found = ByService::default();
        let (tell, known) = watch::channel(false);
        let (complain, trouble) = watch::channel(None);
        let kind = backend.kind();
        self.backends.lock().insert(kind, OfBackend { found: found.clone(), known, trouble });
        let mut configured = self.configured.subscribe();
        tokio::spawn(async move {
            let mut said: Option<Instant> = None;
            let all = loop {
                match backend.adopt().await {
                    Ok(all) => break all,
                    Err(error) => {
                        let error = error.to_string();
                        // Said again only when it is something else, and not every second.
                        let other =
                            complain.send_if_modified(|said| said.replace(error.clone()).as_ref() != Some(&error));
                        if other && said.is_none_or(|at| at.elapsed() >= SAID_AGAIN) {
                            said = Some(Instant::now());
                            tracing::warn!(backend = ?kind, %error, "cannot ask what runs already; trying until it can");
                        }
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                }
            };
            let mut keys: Vec<ServiceKey> = all.iter().map(|f| f.service.clone()).collect();
            keys.sort();
            keys.dedup();
            {
                let mut by_service = found.lock();
                for f in all {
                    by_service.entry(f.service.clone()).or_default().push(f);
                }
            }
            tell.send_replace(true);
            if configured.wait_for(|c| *c).await.is_err() {
                return;
            }
            for key in keys {
                if is_known(&key, kind) == Some(false) {
                    tracing::info!(service = %key, backend = ?kind, "was found running and is not configured: stopped");
                    found.lock().remove(&key);
                    let grace = Duration::from_secs(10);
                    backend.apply(Want { service: key, replicas: Vec::new(), number: 0, grace });
                }
            }
        });
    }

    /// What was found of a service, when that is known; each replica is handed out once.
    pub fn found(&self, key: &ServiceKey, kind: BackendKind) -> impl Future<Output = Vec<Found>> + Send + use<> {
        let of = self.backends.lock().get(&kind).map(|b| (b.found.clone(), b.known.clone()));
        let key = key.clone();
        async move {
            let Some((found, mut known)) = of else { return Vec::new() };
            if known.wait_for(|k| *k).await.is_err() {
                return Vec::new();
            }
            found.lock().remove(&key).unwrap_or_default()
        }
    }

    /// Why it is not known yet what was found.
    pub fn trouble(&self, kind: BackendKind) -> Option<watch::Receiver<Option<String>>> {
        self.backends.lock().get(&kind).map(|b| {
            let mut trouble = b.trouble.clone();
            trouble.mark_changed();
            trouble
        })
    }

    /// The services are known now.
    pub fn configured(&self) {
        self.configured.send_replace(true);
    }
}
