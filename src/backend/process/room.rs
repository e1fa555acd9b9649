//! What all parts of the process backend share.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cgroup::{CgroupSpec, Places};
use super::paths::Paths;
use super::ports::{PortBook, PortRules};
use super::procfs::{self, Identity};
use super::protocol::{Hello, Meta};
use super::runnable::Own;
use super::{ProcessOptions, harden};
use crate::backend::{Attached, BackendError, Goal, Network, Observation, Observer, ReplicaId, Seen};
use crate::config::settings::{Namespaces, ProcessSettings};
use crate::landscape::{LandscapeId, ServiceKey, ServiceSpec};
use crate::private::Told;

/// Beyond the grace of `shutdown`, until the shims' last words are waited for.
const LAST_WORDS: Duration = Duration::from_secs(5);

pub(super) struct Room {
    settings: ArcSwap<ProcessSettings>,
    pub(super) options: ProcessOptions,
    pub(super) paths: Paths,
    pub(super) places: Places,
    pub(super) shell: PathBuf,
    pub(super) own: Own,
    pub(super) ports: PortBook,
    pub(super) runtime: Handle,
    /// The router is gone: every conversation ends, no replica does.
    pub(super) cancel: CancellationToken,
    /// Jobs end with the router.
    pub(super) jobs: CancellationToken,
    pub(super) job_tasks: TaskTracker,
    pub(super) replicas: Mutex<HashMap<(ServiceKey, ReplicaId), Entry>>,
    pub(super) one_less: Notify,
    /// Addresses on landscapes' networks, by token.
    homes: Mutex<HashMap<String, (LandscapeId, Ipv4Addr)>>,
    observer: Observer,
}

/// A replica that exists, is to exist, or has ended and is still listed.
pub(super) struct Entry {
    pub(super) target: watch::Sender<Target>,
    pub(super) known: Arc<Mutex<Known>>,
}

/// What a replica's task aims at.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// Found running and not yet spoken of.
    Keep,
    /// As listed.
    Be(Arc<ServiceSpec>, Goal),
    /// Not listed: gone within the grace.
    Gone(Duration),
}

/// What is known of a replica's processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) shim: Option<Identity>,
    pub(super) step: Option<u32>,
    pub(super) cgroups: CgroupSpec,
}

impl Known {
    pub(super) fn of(hello: &Hello) -> Self {
        let Hello { meta, step, .. } = hello;
        Self { shim: meta.shim.clone(), step: step.as_ref().map(|s| s.pid), cgroups: meta.cgroups.clone() }
    }

    /// Every process of it that can be found.
    pub(super) fn processes(&self) -> Vec<u32> {
        let mut all = self.cgroups.members();
        let below = self.shim.as_ref().map(|s| procfs::descendants(s.pid).unwrap_or_default());
        all.extend(below.unwrap_or_default().into_iter().map(|(pid, _)| pid));
        all
    }
}

impl Room {
    pub(super) fn new(options: ProcessOptions, observer: Observer) -> Result<Self, BackendError> {
        let failed = |e: std::io::Error| BackendError::Failed(e.to_string());
        let runtime = Handle::try_current().map_err(|e| BackendError::Failed(e.to_string()))?;
        let paths = Paths::new(&options.state).map_err(failed)?;
        let shell = find_shell().ok_or_else(|| {
            BackendError::Failed("neither bash nor sh was found in /bin, /usr/bin or /usr/local/bin".into())
        })?;
        let places = if options.control_groups { Places::detect() } else { Places::default() };
        Ok(Self {
            settings: ArcSwap::from_pointee(options.settings.clone()),
            options,
            paths,
            places,
            shell,
            own: Own::get(),
            ports: PortBook::default(),
            runtime,
            cancel: CancellationToken::new(),
            jobs: CancellationToken::new(),
            job_tasks: TaskTracker::new(),
            replicas: Mutex::new(HashMap::new()),
            one_less: Notify::new(),
            homes: Mutex::default(),
            observer,
        })
    }

    pub(super) fn settings(&self) -> Arc<ProcessSettings> {
        self.settings.load_full()
    }

    pub(super) fn configure(&self, settings: ProcessSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// For a replica that runs as `user`. Another user than the router's own that is not root has no
    /// privilege left for a low port, whoever may have it here.
    pub(super) fn port_rules(&self, user: Option<u32>) -> PortRules {
        let settings = self.settings.load();
        let may = user.is_none_or(|uid| uid == self.own.uid || uid == 0);
        PortRules { range: settings.ports, low: settings.low_ports && may }
    }

    /// The networks that replicas get namespaces on, if they get any.
    fn network(&self) -> Option<&Arc<dyn Network>> {
        self.options.network.as_ref().filter(|_| self.settings.load().namespaces != Namespaces::Off)
    }

    /// Preparations download what a landscape needs: where its network does not lead outside, they are on the
    /// machine's, from where no replica can be reached.
    pub(super) fn prepares_on_the_machine(&self) -> bool {
        self.network().is_some_and(|network| network.lacks_egress())
    }

    /// A namespace of its own for what has this token; `None` where it is to be on the machine's network.
    pub(super) async fn attach(&self, landscape: &LandscapeId, token: &str) -> io::Result<Option<Attached>> {
        let Some(network) = self.network() else { return Ok(None) };
        let attached = network.attach(landscape).await?;
        self.homes.lock().insert(token.to_owned(), (landscape.clone(), attached.address));
        Ok(Some(attached))
    }

    /// What is told to what runs on the machine's network; what is attached to one of its own asks there.
    pub(super) fn told(&self, landscape: &LandscapeId, attached: Option<&Attached>) -> Told {
        let hosts = self.options.hosts.as_ref().filter(|_| attached.is_none());
        hosts.map(|hosts| hosts.of(landscape)).unwrap_or_default()
    }

    /// What was found has this address, or these ports of the machine.
    pub(super) async fn keep(&self, meta: &Meta, landscape: &LandscapeId) {
        match (meta.network, &self.options.network) {
            (Some(address), Some(network)) => {
                if let Err(e) = network.keep(landscape, address).await {
                    tracing::warn!(%landscape, "what runs cannot call other services until it was off: {e}");
                }
                self.homes.lock().insert(meta.token.clone(), (landscape.clone(), address));
            }
            (Some(_), None) => {}
            (None, _) => self.ports.keep(&meta.token, &meta.addresses),
        }
    }

    /// Gives the ports or the address of what had this token back.
    pub(super) fn give_back(&self, token: &str) {
        self.ports.release(token);
        let home = self.homes.lock().remove(token);
        if let (Some((landscape, address)), Some(network)) = (home, &self.options.network) {
            network.release(&landscape, address);
        }
    }

    pub(super) fn known(&self, service: &ServiceKey, id: ReplicaId) -> Option<Known> {
        let replicas = self.replicas.lock();
        replicas.get(&(service.clone(), id)).map(|entry| entry.known.lock().clone())
    }

    pub(super) fn observe(&self, service: &ServiceKey, seen: Seen) {
        tracing::debug!(%service, ?seen, "observed");
        // Without a receiver the router is ending, and nobody wants to know.
        let _ = self.observer.send(Observation { service: service.clone(), seen });
    }

    /// The descriptors' limit that children get: the one the router was started with.
    pub(super) fn files(&self) -> Option<(u64, u64)> {
        harden::original_files()
    }

    /// Waits until no replica is left.
    async fn empty(&self) {
        loop {
            let less = self.one_less.notified();
            tokio::pin!(less);
            // Registered before the look, so that no notice is missed.
            less.as_mut().enable();
            if self.replicas.lock().is_empty() {
                return;
            }
            less.await;
        }
    }

    pub(super) async fn shutdown(&self, stop: bool, grace: Duration) {
        self.jobs.cancel();
        self.job_tasks.close();
        if stop {
            for entry in self.replicas.lock().values() {
                entry.target.send_replace(Target::Gone(grace));
            }
        }
        let all_gone = async {
            self.job_tasks.wait().await;
            if stop {
                self.empty().await;
            }
        };
        if tokio::time::timeout(grace + LAST_WORDS, all_gone).await.is_err() {
            let left: Vec<_> = self.replicas.lock().keys().map(|(s, id)| format!("{s} {id}")).collect();
            tracing::warn!("still stopping: {}; their shims go on with it", left.join(", "));
        }
        self.cancel.cancel();
    }
}

fn find_shell() -> Option<PathBuf> {
    let places = ["/bin", "/usr/bin", "/usr/local/bin"];
    ["bash", "sh"].iter().flat_map(|name| places.iter().map(move |p| PathBuf::from(p).join(name))).find(|p| p.is_file())
}
