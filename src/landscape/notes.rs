//! What only an installation can know, as `check --ci` tells it.

use super::file::{FileKind, FileService, FileTarget, LandscapeFile, Spot, Text};
use super::spec::Health;
use super::template::Key;
use crate::yaml::{Diagnostics, Mistake};

/// Replicas that any plan allows unless it says otherwise.
const USUAL_REPLICAS: u32 = 10;

impl LandscapeFile {
    /// What the file asks of an installation: plans, vault keys, `workspace.env`, uid 0, low ports,
    /// Managed Services.
    pub fn notes(&self) -> Vec<Mistake> {
        let mut d = Diagnostics::of(self.source.clone());
        for service in &self.services {
            of_service(service, &mut d);
        }
        d.finish()
    }
}

fn of_service(service: &FileService, d: &mut Diagnostics) {
    if let FileKind::Managed { provider, uses } = &service.kind {
        service.spot.note(d, format!("Managed Service `{provider}` is not provided by this router"));
        for used in uses {
            of_key(&used.value, &used.spot, d);
        }
        return;
    }
    if let Some(plan) = &service.plan {
        plan.spot.note(d, format!("plan {} is looked up in `plans` of router.yaml", plan.value));
    }
    if let Some(replicas) = service.replicas.as_ref().filter(|r| r.value > USUAL_REPLICAS) {
        replicas.spot.note(d, format!("more than {USUAL_REPLICAS} replicas need a plan that allows them"));
    }
    if let Some(user) = service.user.as_ref().filter(|u| u.value == 0) {
        user.spot.note(d, "running as root (uid 0) needs the operator's consent");
    }
    let (FileKind::Container { image, .. } | FileKind::CustomBase { image, .. }) = &service.kind else {
        of_texts(service, None, d);
        return;
    };
    of_texts(service, Some(image), d);
}

fn of_texts(service: &FileService, image: Option<&Text>, d: &mut Diagnostics) {
    let targets = service.paths.iter().filter_map(|p| match &p.to {
        FileTarget::Url(text) => Some(text),
        FileTarget::Port(_) => None,
    });
    for text in service.env.iter().map(|(_, text)| text).chain(image).chain(targets) {
        for key in text.value.keys() {
            of_key(key, &text.spot, d);
        }
    }
    if service.kind.runs() {
        let routed = service.paths.iter().filter_map(|p| match p.to {
            FileTarget::Port(number) => Some(number),
            FileTarget::Url(_) => None,
        });
        let probed = match service.health.as_ref().map(|h| &h.value) {
            Some(Health::Http { port, .. } | Health::Tcp { port }) => Some(*port),
            Some(Health::Default) | None => None,
        };
        let mut low: Vec<u16> = service.ports.iter().map(|p| p.number).chain(routed).chain(probed).collect();
        low.retain(|port| *port < 1024);
        low.sort_unstable();
        low.dedup();
        if !low.is_empty() {
            let list = low.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("processes get ports below 1024 as they are only with `process.lowPorts`: {list}");
            service.spot.note(d, message);
        }
    }
}

fn of_key(key: &Key, spot: &Spot, d: &mut Diagnostics) {
    match key {
        Key::Vault(_) => spot.note(d, format!("`{key}` has to be in the vault")),
        Key::Env(_) => spot.note(d, format!("`{key}` has to be in `env` of the landscape in router.yaml")),
        Key::Team => spot.note(d, "`team.id` is the landscape's `team` in router.yaml"),
        Key::Id | Key::DevDomain => return,
    };
}
