//! The router as the admin API and the metrics see it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::router::Router;
use super::routes::Served;
use crate::admin::{EventLog, LandscapeView, Model, PrivateView, Refused, Reloaded, RouterView, ServiceView};
use crate::backend::{Backend, LogLine, LogQuery};
use crate::cluster::ClusterStatus;
use crate::config::settings::{BackendKind, LandscapeSettings, Settings};
use crate::landscape::{ServiceKey, ServiceSpec};
use crate::lifecycle::Command;
use crate::observe::metrics::{Sample, Source};

impl Router {
    fn view(&self, settings: &Settings, landscape: &LandscapeSettings) -> LandscapeView {
        let bases = self.bases(settings, &landscape.id);
        let (error, services) = match &landscape.spec {
            Ok(spec) => {
                let base = bases.first().map_or("", String::as_str);
                let all = self.served.load();
                let view = |spec: &Arc<ServiceSpec>| {
                    let status = self.lifecycle.get(&spec.key).map(|h| h.status());
                    let view = ServiceView::of(spec, base, status);
                    match all.get(&spec.key) {
                        Some(served) => ServiceView {
                            depends_on: served.policy.depends_on.clone(),
                            private: self.private_view(settings, spec, served),
                            callers: served.stats.calls.view(),
                            ..view
                        },
                        None => view,
                    }
                };
                (landscape.stale.clone(), spec.services.values().map(view).collect())
            }
            Err(reason) => (Some(reason.clone()), Vec::new()),
        };
        LandscapeView { id: landscape.id.to_string(), error, urls: bases, services }
    }

    /// How other services of its landscape reach a service.
    fn private_view(&self, settings: &Settings, spec: &ServiceSpec, served: &Served) -> Option<PrivateView> {
        let names = settings.kubernetes.names.as_ref();
        match names.filter(|_| served.policy.backend == BackendKind::Kubernetes) {
            Some(names) => PrivateView::in_cluster(spec, &names.namespace),
            None => served.address.map(|address| PrivateView::of(spec, address)),
        }
    }

    /// Where a landscape is reached: its dev host at the first listener, then its custom domains.
    fn bases(&self, settings: &Settings, id: &str) -> Vec<String> {
        let port = self.listeners.addresses().first().map(|a| a.port());
        let at = |host: &str| match port {
            Some(80) | None => format!("http://{host}"),
            Some(port) => format!("http://{host}:{port}"),
        };
        let own = at(&format!("{id}.{}", settings.dev_domain));
        let domains = settings.domains.iter().filter(|d| d.paths.iter().any(|(_, ids)| ids.iter().any(|i| &**i == id)));
        std::iter::once(own).chain(domains.map(|d| at(&d.host))).collect()
    }

    /// The backend that runs a service, and whether there is such a service at all.
    fn backend_of(&self, service: &ServiceKey) -> Result<Arc<dyn Backend>, Refused> {
        let served = self.served.load();
        let known = served.get(service).ok_or(Refused::Unknown)?;
        if known.service.is_none() {
            return Err(Refused::Impossible("nothing runs for this service here".into()));
        }
        let missing = || Refused::Unavailable("its backend is not connected".into());
        self.backends.running(known.policy.backend).ok_or_else(missing)
    }
}

#[async_trait]
impl Model for Router {
    fn landscapes(&self) -> Vec<LandscapeView> {
        let settings = self.settings.load();
        settings.landscapes.iter().map(|l| self.view(&settings, l)).collect()
    }

    fn landscape(&self, id: &str) -> Option<LandscapeView> {
        let settings = self.settings.load();
        settings.landscapes.iter().find(|l| &*l.id == id).map(|l| self.view(&settings, l))
    }

    fn router(&self) -> RouterView {
        RouterView {
            version: env!("CARGO_PKG_VERSION"),
            started: self.stats.started(),
            config: self.health.lock().clone(),
            cluster: self.cluster(),
        }
    }

    fn readiness(&self) -> Result<(), String> {
        Router::readiness(self)
    }

    async fn command(&self, service: &ServiceKey, command: Command) -> Result<(), Refused> {
        self.backend_of(service)?;
        let handle = self.lifecycle.get(service).ok_or(Refused::Unknown)?;
        Ok(handle.command(command).await?)
    }

    async fn prepare(&self, landscape: &str) -> Result<(), Refused> {
        let settings = self.settings.load_full();
        let known = settings.landscapes.iter().find(|l| &*l.id == landscape).ok_or(Refused::Unknown)?;
        let kind = known.policies.iter().find(|(key, _)| self.lifecycle.get(key).is_some()).map(|(_, p)| p.backend);
        let backend = kind.and_then(|kind| self.backends.running(kind));
        let Some(backend) = backend else {
            return Err(Refused::Impossible("no service of this landscape runs here".into()));
        };
        let (lifecycle, id) = (self.lifecycle.clone(), landscape.to_owned());
        // Its progress and its end are told as events.
        tokio::spawn(async move {
            if let Some(Err(failure)) = lifecycle.prepare(&id, &backend, true).await {
                tracing::error!(landscape = id, detail = failure.detail, "prepare failed");
            }
        });
        Ok(())
    }

    async fn logs(&self, service: &ServiceKey, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, Refused> {
        Ok(self.backend_of(service)?.logs(service, query).await?)
    }

    async fn reload(&self) -> Reloaded {
        Router::reload(self).await
    }

    fn events(&self) -> &EventLog {
        &self.events
    }

    fn metrics(&self) -> Result<String, String> {
        let metrics = self.metrics.load();
        let metrics = metrics.as_ref().ok_or("the router is starting")?;
        metrics.text().map_err(|e| e.to_string())
    }
}

impl Source for Router {
    fn services(&self) -> Vec<Sample> {
        let served = self.served.load();
        let sample = |(key, s): (&ServiceKey, &Served)| Sample {
            key: key.clone(),
            stats: s.stats.clone(),
            status: s.service.as_ref().map(|service| service.status()),
        };
        let mut all: Vec<Sample> = served.iter().map(sample).collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    fn cluster(&self) -> Option<Arc<ClusterStatus>> {
        self.backends.routers().map(|routers| routers.status())
    }
}
