//! The running router: its parts, and how a new configuration reaches all of them.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use super::backends::Backends;
use super::names::ClusterNames;
use super::private::{self, Private};
use super::routes::{self, Served};
use crate::admin::{ConfigHealth, EventLog, Reloaded};
use crate::config::diff::Changes;
use crate::config::settings::{BackendKind, KubernetesNames, Namespaces, PrivateSettings, Settings};
use crate::config::watch::Watch;
use crate::config::{self, Purpose};
use crate::landscape::{LandscapeId, ServiceKey};
use crate::lifecycle::{GateBudget, Lifecycle, ServiceSetup};
use crate::listen::{Listeners, Opened};
use crate::observe::{AccessLogWriter, Metrics, RouterStats, ServiceStats};
use crate::proxy::{CurrentSnapshot, Rules, Snapshot};
use crate::yaml::Mistake;

/// See the module's words.
pub struct Router {
    pub(super) config: PathBuf,
    pub(super) settings: ArcSwap<Settings>,
    pub(super) health: Mutex<ConfigHealth>,
    pub(super) lifecycle: Lifecycle,
    pub(super) backends: Backends,
    /// The network between services, where there is one.
    pub(super) private: Option<Private>,
    /// The names of services in a cluster, where there are some.
    pub(super) names: Option<ClusterNames>,
    pub(super) budget: Arc<GateBudget>,
    pub(super) current: CurrentSnapshot,
    pub(super) listeners: Arc<Listeners>,
    /// Where the admin API listens, as bound.
    pub(super) admin: Option<SocketAddr>,
    pub(super) access_log: Mutex<AccessLogWriter>,
    pub(super) stats: Arc<RouterStats>,
    pub(super) events: EventLog,
    pub(super) metrics: ArcSwapOption<Metrics>,
    /// Every service of the configuration.
    pub(super) served: ArcSwap<HashMap<ServiceKey, Served>>,
    pub(super) watch: Mutex<Option<Watch>>,
    pub(super) serving: AtomicBool,
    pub(super) ending: AtomicBool,
    /// One configuration at a time.
    pub(super) applying: tokio::sync::Mutex<()>,
}

impl Router {
    /// Reads everything again. What is wrong leaves everything as it was, and is told.
    pub async fn reload(&self) -> Reloaded {
        let _one = self.applying.lock().await;
        let (file, previous) = (self.config.clone(), self.settings.load_full());
        let reading = {
            let previous = previous.clone();
            tokio::task::spawn_blocking(move || config::load(&file, Purpose::Run { previous: Some(&previous) }))
        };
        let loaded = match reading.await {
            Ok(loaded) => loaded,
            Err(e) => return self.told(false, Vec::new(), vec![format!("the configuration could not be read: {e}")]),
        };
        let sound = !loaded.has_errors(false);
        let mut mistakes = loaded.mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>();
        for mistake in &loaded.mistakes {
            log(mistake);
        }
        if let Some(watch) = &*self.watch.lock() {
            watch.files(loaded.files);
        }
        let Some(new) = loaded.settings else { return self.refused(mistakes) };
        if let Some(fixed) = self.unchangeable(&previous, &new) {
            let mistake = loaded.pointer.error(fixed.key, fixed.message, fixed.remedy);
            log(&mistake);
            mistakes.push(mistake.to_string());
            return self.refused(mistakes);
        }
        let changes = Changes::between(&previous, &new);
        match self.apply(Arc::new(new)).await {
            Ok(()) => {
                tracing::info!("configuration reloaded: {changes}");
                match tokio::task::spawn_blocking(move || loaded.good.keep()).await {
                    Ok(kept) => kept.iter().for_each(log),
                    Err(e) => tracing::warn!("the last good landscapes were not kept: {e}"),
                }
                self.told(sound, changes.lines(), mistakes)
            }
            Err(reason) => {
                tracing::error!("configuration not applied: {reason}");
                mistakes.push(format!("{}: {reason}", self.config.display()));
                self.told(false, Vec::new(), mistakes)
            }
        }
    }

    fn unchangeable(&self, old: &Settings, new: &Settings) -> Option<Fixed> {
        let in_cluster = self.names.is_some() || self.backends.running(BackendKind::Kubernetes).is_some();
        unchangeable(old, new, in_cluster)
    }

    fn refused(&self, mistakes: Vec<String>) -> Reloaded {
        tracing::error!("the configuration is not taken: what was good before is still served");
        self.told(false, Vec::new(), mistakes)
    }

    fn told(&self, ok: bool, changes: Vec<String>, mistakes: Vec<String>) -> Reloaded {
        self.stats.reloaded(ok);
        *self.health.lock() = health(&self.config, ok, mistakes.clone());
        let reloaded = Reloaded { ok, changes, mistakes };
        self.events.reloaded(&reloaded);
        reloaded
    }

    /// Makes these settings the ones in force: all of them, or none.
    pub(super) async fn apply(&self, new: Arc<Settings>) -> Result<(), String> {
        // What can fail comes first, and leaves no trace.
        let opened = self.listeners.open(&new.listen.http, Vec::new()).map_err(|e| e.to_string())?;
        self.access_log.lock().configure(new.access_log.as_ref()).map_err(|e| e.to_string())?;
        self.backends.configure(&new).await;
        self.budget.resize(new.hold.max_requests, new.hold.max_bytes);
        self.lifecycle.set_paused_memory(new.paused_memory);
        self.listeners.set_max_connections(new.listen.max_connections);
        self.begin(&new, opened).await?;
        self.settings.store(new);
        Ok(())
    }

    /// Makes the services be these, then the routes, then the listeners: nobody is led to what is not
    /// there yet.
    pub(super) async fn begin(&self, settings: &Settings, opened: Opened) -> Result<(), String> {
        let addresses = self.private.as_ref().map(|p| p.assign(settings)).unwrap_or_default();
        self.lifecycle.configure(self.setups(settings));
        self.publish(settings, &addresses)?;
        self.listeners.serve(opened);
        if let Some(private) = &self.private {
            private.follow().await;
        }
        if let Some(names) = &self.names {
            names.follow(settings);
        }
        Ok(())
    }

    fn setups(&self, settings: &Settings) -> Vec<ServiceSetup> {
        let mut setups = Vec::new();
        for landscape in &settings.landscapes {
            let Ok(spec) = &landscape.spec else { continue };
            for (key, policy) in &landscape.policies {
                let Some(service) = spec.services.get(&key.service).filter(|s| s.runs()) else { continue };
                let backend = self.backends.of(policy.backend, settings, &self.lifecycle);
                setups.push(ServiceSetup {
                    spec: service.clone(),
                    policy: policy.clone(),
                    landscape: spec.clone(),
                    backend,
                    voice: self.backends.routers().and_then(|routers| routers.voice(policy)),
                });
            }
        }
        setups
    }

    /// Swaps what requests read.
    fn publish(&self, settings: &Settings, addresses: &HashMap<ServiceKey, Ipv4Addr>) -> Result<(), String> {
        let before = self.served.load();
        let mut served = HashMap::new();
        for (key, policy) in settings.landscapes.iter().flat_map(|l| &l.policies) {
            let service = self.lifecycle.get(key).map(|h| h.service().clone());
            let kept = || before.get(key).filter(|s| s.service.is_none()).map(|s| s.stats.clone());
            let stats = match &service {
                Some(service) => service.stats().clone(),
                None => kept().unwrap_or_else(|| Arc::new(ServiceStats::default())),
            };
            let address = addresses.get(key).copied();
            served.insert(key.clone(), Served { policy: policy.clone(), stats, service, address });
        }
        let table = routes::table(settings, &served)?;
        let range = self.private.as_ref().map(Private::range);
        let rules = Rules::new(settings, self.listeners.addresses(), self.admin, range);
        let private = private::table(settings, &served);
        self.current.store(Arc::new(Snapshot { table, private, rules }));
        self.served.store(Arc::new(served));
        Ok(())
    }

    /// Whether new requests should come here.
    pub(super) fn readiness(&self) -> Result<(), String> {
        if self.ending.load(Ordering::Acquire) {
            return Err("the router is ending".into());
        }
        if !self.serving.load(Ordering::Acquire) {
            return Err("the router is starting".into());
        }
        if self.backends.routers().is_some_and(|routers| !routers.status().joined) {
            // Replaced by such ones, routers that work would be lost.
            return Err("the other routers are not known yet: Leases cannot be written or watched".into());
        }
        Ok(())
    }
}

/// A key that a running router cannot follow.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    key: &'static str,
    message: &'static str,
    remedy: &'static str,
}

const FIXED: &str = "this cannot change while the router runs";
const TAKE_OVER: &str = "start it anew with `run --take-over`, in a cluster by `kubectl rollout restart`";

/// What a running router cannot change. `in_cluster`: it has begun to look after services on Kubernetes.
fn unchangeable(old: &Settings, new: &Settings, in_cluster: bool) -> Option<Fixed> {
    // How long raw TCP may be idle is looked up for every connection; of Docker's networks new ones are cut.
    let fixed = |private: &Option<PrivateSettings>| {
        private.clone().map(|p| PrivateSettings { idle: Duration::ZERO, docker: Vec::new(), ..p })
    };
    let names = |settings: &Settings| {
        let names = settings.kubernetes.names.clone();
        names.map(|names| KubernetesNames { idle: Duration::ZERO, ..names })
    };
    let asks = |settings: &Settings| settings.process.namespaces == Namespaces::User;
    if asks(old) != asks(new) {
        let message = "this cannot become `user`, or something else, while the router runs";
        return Some(Fixed { key: "process.namespaces", message, remedy: "stop it and start it anew" });
    }
    let cluster = [
        ("kubernetes.kubeconfig", old.kubernetes.kubeconfig != new.kubernetes.kubeconfig),
        ("kubernetes.context", old.kubernetes.context != new.kubernetes.context),
        ("kubernetes.namespace", old.kubernetes.namespace != new.kubernetes.namespace),
        ("kubernetes.instance", old.kubernetes.instance != new.kubernetes.instance),
    ];
    if let Some((key, _)) = cluster.into_iter().find(|(_, changed)| in_cluster && *changed) {
        let message = "this cannot change while the router looks after services on Kubernetes";
        let remedy =
            "stop it and start it anew (in a cluster, by `kubectl rollout restart`); what it made stays where it was";
        return Some(Fixed { key, message, remedy });
    }
    let all = [
        ("state", old.state != new.state),
        ("threads", old.listen.threads != new.listen.threads),
        ("listen.admin", old.listen.admin != new.listen.admin),
        ("docker.host", old.docker.host != new.docker.host),
        ("kubernetes.names", names(old) != names(new)),
        ("private", fixed(&old.private) != fixed(&new.private)),
    ];
    let (key, _) = all.into_iter().find(|(_, changed)| *changed)?;
    Some(Fixed { key, message: FIXED, remedy: TAKE_OVER })
}

/// The ids of every landscape, bad ones too: what they left running is not swept away.
pub(super) fn landscape_ids(settings: &Settings) -> HashSet<LandscapeId> {
    settings.landscapes.iter().map(|l| l.id.clone()).collect()
}

pub(super) fn health(config: &std::path::Path, ok: bool, mistakes: Vec<String>) -> ConfigHealth {
    ConfigHealth { file: config.display().to_string(), ok, at: SystemTime::now(), mistakes }
}

/// A mistake, in the log.
pub(super) fn log(mistake: &Mistake) {
    use crate::yaml::Severity;
    match mistake.severity {
        Severity::Error => tracing::error!("{mistake}"),
        Severity::Warning => tracing::warn!("{mistake}"),
        Severity::Note => tracing::info!("{mistake}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    #[test]
    fn where_services_run_in_a_cluster_is_fixed_once_it_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("router.yaml");
        let read = |kubernetes: &str| {
            std::fs::write(&file, format!("state: state\nkubernetes:\n  pull: always\n{kubernetes}landscapes: []\n"))
                .unwrap();
            load(&file, Purpose::Check)
        };
        let before = read("  kubeconfig: a\n  context: one\n  namespace: apps\n").settings.unwrap();
        for (key, text) in [
            ("kubernetes.kubeconfig", "  kubeconfig: b\n  context: one\n  namespace: apps\n"),
            ("kubernetes.context", "  kubeconfig: a\n  namespace: apps\n"),
            ("kubernetes.namespace", "  kubeconfig: a\n  context: one\n  namespace: other\n"),
            ("kubernetes.instance", "  kubeconfig: a\n  context: one\n  namespace: apps\n  instance: other\n"),
        ] {
            let loaded = read(text);
            let new = loaded.settings.as_ref().unwrap();
            assert_eq!(unchangeable(&before, new, false), None, "nothing runs there: {key}");
            let fixed = unchangeable(&before, new, true).unwrap();
            assert_eq!(fixed.key, key);
            let told = loaded.pointer.error(fixed.key, fixed.message, fixed.remedy);
            let line = text.lines().position(|l| l.trim().starts_with(key.rsplit('.').next().unwrap()));
            // One that was taken out is told at what is around it.
            assert_eq!(told.place.line, line.map_or(3, |at| at as u32 + 4), "{told}");
        }
        let back = read("  kubeconfig: a\n  context: one\n  namespace: apps\n").settings.unwrap();
        assert_eq!(unchangeable(&before, &back, true), None);
    }
}
