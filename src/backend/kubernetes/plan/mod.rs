//! What a configuration would change in its cluster, without changing it.
//!
//! Every object is applied as the router would apply it, as a dry run: the API server's own defaults,
//! admission and validation have their say, and what it answers is compared with what is there. What
//! carries our mark and nobody asks for would be removed.

mod diff;
mod live;
mod wanted;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use kube::api::{GetParams, ListParams, Patch, PatchParams};
use kube::core::Request;
use serde::Serialize;
use serde_json::Value;

use self::live::{Kind, Live};
use self::wanted::{Object, Wanted, wanted};
use super::connect::{Cluster, cause, connect};
use super::{manifest, names};
use crate::config::settings::{Attach, AttachKind, Settings};
use crate::landscape::ServiceKey;

pub use diff::Field;

/// One answer of an API server takes milliseconds.
const ANSWER: Duration = Duration::from_secs(20);
/// Dry runs at a time.
const AT_ONCE: usize = 8;

/// What would change.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Of the API server.
    pub cluster: String,
    /// Where workloads are.
    pub namespace: String,
    /// Landscapes in the order of the configuration, each with its services; removals last.
    pub changes: Vec<Change>,
    /// Services that only have their replica counts changed.
    pub attached: Vec<Attached>,
    /// Services that will not run, and the remedy.
    pub not_runnable: Vec<NotRunnable>,
    /// Why it could not be told of something, or would fail.
    pub problems: Vec<String>,
}

/// One object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What would become of it.
    pub action: Action,
    /// `Deployment`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub landscape: String,
    /// Whose it is; absent for what a landscape has as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// What would be different of one that is changed.
    pub fields: Vec<Field>,
}

/// What would become of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is not there yet.
    Create,
    /// It is there, and different.
    Change,
    /// Nobody asks for it any more.
    Remove,
}

/// A service that someone else's workload stands for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attached {
    /// `<landscape>/<service>`.
    pub service: String,
    /// `Deployment` or `StatefulSet`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub namespace: String,
    /// How many replicas it is to have now.
    pub replicas: u64,
}

/// A service that no cluster can run as it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRunnable {
    /// `<landscape>/<service>`.
    pub service: String,
    /// For people.
    pub remedy: String,
}

/// Why there is no plan at all: each a sentence.
pub type Problems = Vec<String>;

/// What `settings` would change. What it cannot tell of single objects is among the plan's problems.
pub async fn plan(settings: &Settings) -> Result<Plan, Problems> {
    let one = |problem: String| vec![problem];
    let cluster = connect(&settings.kubernetes, Some(ANSWER)).await.map_err(one)?;
    let logins = manifest::logins(&settings.kubernetes.registries).await.map_err(one)?;
    let api = Api { cluster: &cluster };
    let live = api.everything(&settings.kubernetes.instance).await?;
    let wanted = wanted(settings, &cluster.namespace, &logins, &live);
    let mut plan = Plan {
        cluster: cluster.url.clone(),
        namespace: cluster.namespace.clone(),
        changes: Vec::new(),
        attached: Vec::new(),
        not_runnable: Vec::new(),
        problems: wanted.unknown.iter().map(|(id, why)| format!("landscape {id}: {why}")).collect(),
    };
    let judged = stream::iter(&wanted.objects).map(|object| api.judge(object, &live)).buffered(AT_ONCE);
    for change in judged.collect::<Vec<_>>().await {
        match change {
            Ok(change) => plan.changes.extend(change),
            Err(problem) => plan.tell(problem),
        }
    }
    let attached = stream::iter(&wanted.attached).map(|(key, attach)| api.attached(key, attach)).buffered(AT_ONCE);
    for attached in attached.collect::<Vec<_>>().await {
        match attached {
            Ok(attached) => plan.attached.push(attached),
            Err(problem) => plan.tell(problem),
        }
    }
    plan.changes.extend(removals(&wanted, &live));
    let not_runnable = |(key, remedy): (ServiceKey, String)| NotRunnable { service: key.to_string(), remedy };
    plan.not_runnable = wanted.not_runnable.into_iter().map(not_runnable).collect();
    Ok(plan)
}

impl Plan {
    /// What concerns all objects alike is told once.
    fn tell(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

fn removals(wanted: &Wanted, live: &Live) -> Vec<Change> {
    let change = |(kind, name, value): (Kind, &str, &Value)| {
        let annotation = |name: &str| value["metadata"]["annotations"][name].as_str().map(str::to_owned);
        Change {
            action: Action::Remove,
            kind: kind.word(),
            name: name.to_owned(),
            landscape: annotation(names::LANDSCAPE).unwrap_or_default(),
            service: annotation(names::SERVICE),
            fields: Vec::new(),
        }
    };
    wanted.superfluous(live).into_iter().map(change).collect()
}

/// Requests, and what their failures mean.
struct Api<'c> {
    cluster: &'c Cluster,
}

impl Api<'_> {
    /// All that carries our mark.
    async fn everything(&self, instance: &str) -> Result<Live, Problems> {
        let (mut live, mut problems) = (Live::default(), Vec::new());
        let marked = ListParams::default().labels(&names::selector(instance));
        for kind in Kind::ALL {
            let request = Request::new(kind.path(&self.cluster.namespace)).list(&marked);
            match self.ask(request).await {
                Ok(mut list) => live.add(kind, &mut list),
                Err(error) => {
                    problems.push(self.told(&error, &format!("every {} of ours has to be listed", kind.word()), false));
                    // Each kind has rights of its own; all else is the same for all.
                    if !matches!(&error, kube::Error::Api(status) if status.is_forbidden()) {
                        break;
                    }
                }
            }
        }
        if problems.is_empty() { Ok(live) } else { Err(problems) }
    }

    /// What applying an object would do; `None`: nothing.
    async fn judge(&self, object: &Object, live: &Live) -> Result<Option<Change>, String> {
        let before = live.get(object.kind, &object.name);
        if before.is_none() {
            self.must_be_free(object).await?;
        }
        let params = PatchParams { dry_run: true, ..PatchParams::apply(names::MANAGER).force() };
        let request = Request::new(object.kind.path(&self.cluster.namespace));
        let after = self.ask(request.patch(&object.name, &params, &Patch::Apply(&object.value))).await;
        let after = after.map_err(|e| self.failed(object, &e))?;
        let fields = before.map(|before| diff::fields(before, &after));
        if fields.as_ref().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        Ok(Some(Change {
            action: if before.is_some() { Action::Change } else { Action::Create },
            kind: object.kind.word(),
            name: object.name.clone(),
            landscape: object.landscape.to_string(),
            service: object.service.as_deref().map(str::to_owned),
            fields: fields.unwrap_or_default(),
        }))
    }

    /// An object without our mark is someone else's, whatever it is called.
    async fn must_be_free(&self, object: &Object) -> Result<(), String> {
        let request = Request::new(object.kind.path(&self.cluster.namespace));
        match self.ask(request.get(&object.name, &GetParams::default())).await {
            Ok(_) => Err(format!(
                "{} {} is there already and not ours: rename it, or give the landscape another id",
                object.kind.word(),
                object.name
            )),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(self.failed(object, &error)),
        }
    }

    async fn attached(&self, key: &ServiceKey, attach: &Attach) -> Result<Attached, String> {
        let namespace = attach.namespace.as_deref().unwrap_or(&self.cluster.namespace);
        let (kind, collection) = match attach.kind {
            AttachKind::Deployment => ("Deployment", "deployments"),
            AttachKind::StatefulSet => ("StatefulSet", "statefulsets"),
        };
        let request = Request::new(format!("/apis/apps/v1/namespaces/{namespace}/{collection}"));
        let name = &attach.name;
        match self.ask(request.get(name, &GetParams::default())).await {
            Ok(found) => Ok(Attached {
                service: key.to_string(),
                kind,
                name: name.clone(),
                namespace: namespace.to_owned(),
                replicas: found["spec"]["replicas"].as_u64().unwrap_or(1),
            }),
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                Err(format!("{key} is attached to {kind} {name}, which is not in namespace {namespace}"))
            }
            Err(error) => Err(self.told(&error, &format!("{kind} {namespace}/{name} of {key} cannot be read"), false)),
        }
    }

    async fn ask(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, kube::Error> {
        // Not by `request`, which logs what it cannot read, secrets too.
        let text = self.cluster.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        serde_json::from_str(&text).map_err(kube::Error::SerdeError)
    }

    fn failed(&self, object: &Object, error: &kube::Error) -> String {
        if let kube::Error::Api(status) = error
            && status.is_not_found()
        {
            let namespace = &self.cluster.namespace;
            return format!("there is no namespace {namespace}: make it (`kubectl create namespace {namespace}`)");
        }
        let what = format!("{} {} would be refused", object.kind.word(), object.name);
        self.told(error, &what, object.kind == Kind::Secret)
    }

    /// A failure in words; what was said about a Secret may repeat it.
    fn told(&self, error: &kube::Error, what: &str, is_secret: bool) -> String {
        match error {
            kube::Error::Api(status) if status.code == 401 => {
                format!("{} does not accept the credentials: are they another cluster's, or too old?", self.cluster.url)
            }
            kube::Error::Api(status) if is_secret && !status.is_forbidden() => format!("{what}: {}", status.reason),
            kube::Error::Api(status) => {
                let remedy = if status.message.contains(" cannot ") { "; give this account the right" } else { "" };
                format!("{what}: {}{remedy}", status.message)
            }
            other => format!("no cluster answers at {}: {}", self.cluster.url, cause(other)),
        }
    }
}

#[cfg(test)]
mod tests;
