//! What a service is in a container, whoever runs that: its image, its environment, what it starts with and
//! what it sees of the shared file system.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::script::{self, Shell};
use crate::landscape::{Home, ServiceSpec, Value, Workload};

/// Where a Reactive finds the landscape's root.
pub(super) const APP: &str = "/home/user/app";
/// The group that owns the shared file system; every container is in it.
pub(super) const SHARED_GROUP: u32 = 1010;
/// What is left of the capabilities: enough for an image that starts as root, prepares its files and
/// becomes someone else.
pub(super) const CAPABILITIES: [&str; 7] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL", "NET_BIND_SERVICE"];
/// The least memory that engines accept.
const LEAST_MEMORY: u64 = 6 * 1024 * 1024;

/// What router.yaml says of the images of a backend, and whom it trusts.
pub(super) struct Ground<'a> {
    /// The backend's block in router.yaml, and its name there: `docker`.
    pub(super) key: &'static str,
    /// `base`
    pub(super) base: Option<&'a str>,
    /// `bases`
    pub(super) bases: &'a [(String, String)],
    /// `allowRoot`
    pub(super) allow_root: bool,
}

impl Ground<'_> {
    /// The image a service runs in; the error is the remedy, for people.
    pub(super) fn image<'s>(&self, spec: &'s ServiceSpec) -> Result<Cow<'s, Value>, String> {
        match &spec.workload {
            Workload::Container { image, .. } | Workload::CustomBase { image, .. } => Ok(Cow::Borrowed(image)),
            Workload::Reactive { base: Some(name), .. } => Ok(Cow::Owned(self.named_base(name))),
            Workload::Reactive { base: None, .. } => self.base().map(Cow::Owned),
            Workload::Headless => Err("a headless service has nothing to run".into()),
            Workload::Managed { provider } => Err(format!("the managed service `{provider}` is not provided here")),
        }
    }

    /// The image that runs Reactives, `prepare` and `test`.
    pub(super) fn base(&self) -> Result<Value, String> {
        self.base.map(Value::plain).ok_or_else(|| {
            format!(
                "no base image for services with `steps`: set `{}.base` in router.yaml, or `backend: process`",
                self.key
            )
        })
    }

    /// One of `bases`, or where they do not list it an image of that name.
    fn named_base(&self, name: &str) -> Value {
        let listed = self.bases.iter().find(|(listed, _)| listed == name).map(|(_, image)| image.as_str());
        Value::plain(listed.unwrap_or(name))
    }

    /// Whether the specification can run; the error is the remedy, for people.
    pub(super) fn runnable(&self, spec: &ServiceSpec) -> Result<(), String> {
        self.image(spec)?;
        if spec.user == Some(0) && !self.allow_root {
            return Err(format!(
                "`runAsUser: 0` needs the operator's consent: `{}.allowRoot: true` in router.yaml",
                self.key
            ));
        }
        Ok(())
    }
}

/// One part of the shared file system, and where it appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    /// Relative to the root, `""` for all of it.
    pub(super) path: &'a str,
    /// Absolute, in the container.
    pub(super) target: &'a str,
}

/// What of the shared file system the service gets to see. A mount of its own may take the root's place.
pub(super) fn sources(spec: &ServiceSpec) -> Vec<Source<'_>> {
    let replaced = spec.mounts.iter().any(|m| m.mount_path == APP);
    let whole = matches!(spec.workload, Workload::Reactive { .. }) && !replaced;
    let whole = whole.then_some(Source { path: "", target: APP });
    let mounts = spec.mounts.iter().map(|m| Source { path: &m.workspace_path, target: &m.mount_path });
    whole.into_iter().chain(mounts).collect()
}

/// What a container starts with; `None` leaves the image's own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// In place of the image's entry point, and of its command.
    pub(super) entrypoint: Option<Vec<String>>,
    /// In place of the image's command, behind its entry point.
    pub(super) command: Option<Vec<String>>,
    /// Where it begins.
    pub(super) folder: Option<&'static str>,
}

/// What a service's container starts with.
pub(super) fn start(spec: &ServiceSpec) -> Start {
    let in_steps = |shell, steps| Some(script::command(shell, steps, false));
    match &spec.workload {
        Workload::Container { command, .. } => Start { command: command.clone(), ..Start::default() },
        Workload::Reactive { steps, .. } => {
            Start { entrypoint: in_steps(Shell::BashOrSh, steps), folder: Some(APP), ..Start::default() }
        }
        Workload::CustomBase { steps, .. } => Start { entrypoint: in_steps(Shell::Sh, steps), ..Start::default() },
        Workload::Headless | Workload::Managed { .. } => Start::default(),
    }
}

/// A service's environment, without what tells its replicas apart. A later value wins: an image's PORT would
/// be its own; a Reactive has ours, unless its env says otherwise.
pub(super) fn environment(spec: &ServiceSpec) -> BTreeMap<&str, Value> {
    let port = matches!(spec.workload, Workload::Reactive { .. })
        .then(|| ("PORT", Value::plain(spec.primary_port.to_string())));
    let own = spec.env.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let server = ("CS_SERVER", Value::plain(Arc::clone(&spec.key.service)));
    port.into_iter().chain(own).chain(workspace(&spec.home)).chain([server]).collect()
}

/// What every container is told of where it runs; ci.yml cannot say otherwise.
pub(super) fn workspace(home: &Home) -> [(&'static str, Value); 3] {
    [("WORKSPACE_ID", &home.id), ("TEAM_ID", &home.team), ("WORKSPACE_DEV_DOMAIN", &home.dev_domain)]
        .map(|(name, text)| (name, Value::plain(Arc::clone(text))))
}

/// A plan's bytes as engines take them.
pub(super) fn memory(wanted: u64) -> i64 {
    i64::try_from(wanted.max(LEAST_MEMORY)).unwrap_or(i64::MAX)
}
