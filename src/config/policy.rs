//! How each service runs: `defaults`, then the landscape's, then the service's own.

use std::sync::Arc;
use std::time::Duration;

use super::defaults as d;
use super::model::{self, Defaults, Router, ServiceHold as HoldModel};
use super::scalar::{Positive, Time};
use super::settings::{
    Attach, AttachKind, BackendKind, HalfClosed, Mode, Policy, Protocol, ServiceHold, Sticky, TrafficRule, WakeRule,
    WhenIdle,
};
use super::validate::bytes;

/// What decides about the services of one landscape.
#[derive(Clone, Copy)]
pub(super) struct Layers<'m> {
    pub(super) router: &'m Router,
    pub(super) landscape: &'m model::Landscape,
}

impl<'m> Layers<'m> {
    pub(super) fn new(router: &'m Router, landscape: &'m model::Landscape) -> Self {
        Self { router, landscape }
    }

    fn service(&self, name: &str) -> Option<&'m model::Service> {
        self.landscape.services.get(name)
    }

    /// The first layer that says something: the service, its landscape, `defaults`.
    fn pick<T>(
        &self,
        name: &str,
        own: impl Fn(&'m model::Service) -> Option<T>,
        other: impl Fn(&'m Defaults) -> Option<T>,
    ) -> Option<T> {
        let service = self.service(name).and_then(own);
        service.or_else(|| other(&self.landscape.defaults)).or_else(|| other(&self.router.defaults))
    }

    /// What runs a service.
    pub(super) fn backend(&self, name: &str) -> BackendKind {
        backend(self.pick(name, |s| s.backend, |d| d.backend).or(self.router.backend))
    }

    /// Whether nothing runs on this machine, whatever services the ci.yml has.
    pub(super) fn is_all_elsewhere(&self) -> bool {
        let others = self.landscape.defaults.backend.or(self.router.defaults.backend).or(self.router.backend);
        let own = self.landscape.services.keys().map(|name| self.backend(name));
        own.chain([backend(others)]).all(|kind| kind == BackendKind::Kubernetes)
    }

    /// Everything about a service. `traffic` are its rules, already read.
    pub(super) fn policy(&self, name: &str, traffic: Arc<[TrafficRule]>) -> Policy {
        let positive = |given: Option<Positive>, default: Time| given.map_or(default.0, |t| t.0);
        let time = |given: Option<Time>, default: Time| given.unwrap_or(default).0;
        Policy {
            mode: match self.pick(name, |s| s.mode, |d| d.mode) {
                None | Some(model::Mode::OffWhenUnused) => Mode::OffWhenUnused,
                Some(model::Mode::AlwaysOn) => Mode::AlwaysOn,
            },
            idle_after: positive(self.pick(name, |s| s.idle_after, |d| d.idle_after), d::IDLE_AFTER),
            when_idle: match self.backend(name) {
                // No pod can be frozen; who asked for that was told.
                BackendKind::Kubernetes => WhenIdle::Stop,
                _ => when_idle(self.pick(name, |s| s.when_idle, |d| d.when_idle)),
            },
            start_timeout: positive(self.pick(name, |s| s.start_timeout, |d| d.start_timeout), d::START_TIMEOUT),
            stop_grace: time(self.pick(name, |s| s.stop_grace, |d| d.stop_grace), d::STOP_GRACE),
            drain_timeout: time(self.pick(name, |s| s.drain_timeout, |d| d.drain_timeout), d::DRAIN_TIMEOUT),
            backend: self.backend(name),
            attach: self.service(name).and_then(|s| s.attach.as_ref()).and_then(attach),
            depends_on: self
                .service(name)
                .map(|s| s.depends_on.iter().map(|n| n.as_str().into()).collect())
                .unwrap_or_default(),
            wake: match self.pick(name, |s| s.wake, |d| d.wake) {
                None | Some(model::Wake::WithLandscape) => WakeRule::WithLandscape,
                Some(model::Wake::OnCall) => WakeRule::OnCall,
            },
            sticky: match self.pick(name, |s| s.sticky, |d| d.sticky) {
                None | Some(model::Sticky::Off) => Sticky::Off,
                Some(model::Sticky::Cookie) => Sticky::Cookie,
            },
            hold: self.hold(name),
            traffic,
            idle_bytes: self.pick(name, |s| s.idle_bytes, |d| d.idle_bytes).map(|t| t.0),
            protocols: self.service(name).map(protocols).unwrap_or_default(),
        }
    }

    fn hold(&self, name: &str) -> ServiceHold {
        let all = &self.router.hold;
        let timeout: Duration = self.in_hold(name, |h| h.timeout).or(all.timeout).map_or(d::HOLD_TIMEOUT.0, |t| t.0);
        let max_bytes = self.in_hold(name, |h| h.max_bytes).or(all.per_service.max_bytes);
        let half_closed = self.in_hold(name, |h| h.half_closed).or(all.half_closed);
        ServiceHold {
            max_requests: self
                .in_hold(name, |h| h.max_requests)
                .or(all.per_service.max_requests)
                .unwrap_or(d::HOLD_PER_SERVICE),
            max_bytes: bytes(max_bytes.unwrap_or(d::HOLD_BYTES_PER_SERVICE)),
            timeout,
            page_after: self.in_hold(name, |h| h.page_after).or(all.page_after).unwrap_or(d::PAGE_AFTER).0,
            release: self.in_hold(name, |h| h.release).or(all.release).unwrap_or(d::RELEASE),
            half_closed: match half_closed {
                None | Some(model::HalfClosed::Leave) => HalfClosed::Leave,
                Some(model::HalfClosed::Keep) => HalfClosed::Keep,
            },
        }
    }

    fn in_hold<T>(&self, name: &str, get: impl Fn(&'m HoldModel) -> Option<T>) -> Option<T> {
        self.pick(name, |s| get(&s.hold), |d| get(&d.hold))
    }
}

fn backend(given: Option<model::Backend>) -> BackendKind {
    match given {
        None | Some(model::Backend::Process) => BackendKind::Process,
        Some(model::Backend::Docker) => BackendKind::Docker,
        Some(model::Backend::Kubernetes) => BackendKind::Kubernetes,
    }
}

/// `None` where it is not one of both, which is told elsewhere.
fn attach(given: &model::Attach) -> Option<Attach> {
    let (kind, name) = match (&given.deployment, &given.stateful_set) {
        (Some(name), None) => (AttachKind::Deployment, name),
        (None, Some(name)) => (AttachKind::StatefulSet, name),
        _ => return None,
    };
    Some(Attach { kind, name: name.clone(), namespace: given.namespace.clone() })
}

fn protocols(service: &model::Service) -> Vec<(u16, Protocol)> {
    // The walk has told what is no port.
    service.protocols.iter().filter_map(|(port, spoken)| Some((port.parse().ok()?, *spoken))).collect()
}

fn when_idle(given: Option<model::WhenIdle>) -> WhenIdle {
    match given {
        None | Some(model::WhenIdle::Plain(model::WhenIdleWord::Stop)) => WhenIdle::Stop,
        Some(model::WhenIdle::Plain(model::WhenIdleWord::Pause)) => WhenIdle::Pause,
        Some(model::WhenIdle::Both(model::PauseThen { pause, then: model::Then::Stop })) => {
            WhenIdle::PauseThenStop { stop_after: pause.0 }
        }
    }
}
