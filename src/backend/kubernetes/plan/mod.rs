//! What a configuration would change in its cluster, without changing it.
//!
//! Every object is applied as the router would apply it, as a dry run: the API server's own defaults,
//! admission and validation have their say, and what it answers is compared with what is there. What
//! carries our mark and nobody asks for would be removed.

mod api;
mod diff;
mod live;
mod named;
mod wanted;

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::Value;

use self::api::{Api, Judged};
use self::live::{Kind, Live};
use self::wanted::{Wanted, wanted};
use super::connect::connect;
use super::{manifest, names};
use crate::config::settings::Settings;
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
    /// Objects that may be written and not be read: whether they would change is not known.
    pub not_compared: Vec<NotCompared>,
    /// Kinds that may not be listed: which of ours nobody asks for any more is not known.
    pub not_listed: Vec<&'static str>,
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
    /// Where it is, if that is not where workloads are: names of services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whose it is; absent for names, which two landscapes may share.
    #[serde(skip_serializing_if = "String::is_empty")]
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

/// An object that this account may not read.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotCompared {
    /// `Secret`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub landscape: String,
    /// Whose it is; absent for what a landscape has as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// For people.
    pub reason: &'static str,
}

/// Why there is no plan at all: each a sentence.
pub type Problems = Vec<String>;

/// What `settings` would change. What it cannot tell of single objects is among the plan's problems.
pub async fn plan(settings: &Settings) -> Result<Plan, Problems> {
    let one = |problem: String| vec![problem];
    let cluster = connect(&settings.kubernetes, Some(ANSWER)).await.map_err(one)?;
    let logins = manifest::logins(&settings.kubernetes.registries).await.map_err(one)?;
    let names = settings.kubernetes.names.as_ref().map(|names| names.namespace.as_str());
    let api = Api { cluster: &cluster, names, instance: &settings.kubernetes.instance };
    let live = api.everything().await?;
    let mut wanted = wanted(settings, &cluster.namespace, &logins, &live);
    let pod = std::env::var("POD_IP").ok().and_then(|pod| pod.parse().ok());
    let exhausted = named::named(settings, &live, pod, &mut wanted.objects).err();
    let mut plan = Plan {
        cluster: cluster.url.clone(),
        namespace: cluster.namespace.clone(),
        changes: Vec::new(),
        attached: Vec::new(),
        not_runnable: Vec::new(),
        not_compared: Vec::new(),
        not_listed: live.hidden.iter().map(|kind| kind.word()).collect(),
        problems: wanted.unknown.iter().map(|(id, why)| format!("landscape {id}: {why}")).collect(),
    };
    plan.problems.extend(exhausted.map(|e| e.to_string()));
    let judged = stream::iter(&wanted.objects).map(|object| api.judge(object, &live)).buffered(AT_ONCE);
    for change in judged.collect::<Vec<_>>().await {
        match change {
            Ok(Judged::Same) => {}
            Ok(Judged::Different(change)) => plan.changes.push(change),
            Ok(Judged::Unread(unread)) => plan.not_compared.push(unread),
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
    plan.changes.extend(removals(&wanted, &live, names));
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

fn removals(wanted: &Wanted, live: &Live, names_at: Option<&str>) -> Vec<Change> {
    let change = |(kind, name, value): (Kind, &str, &Value)| {
        let annotation = |name: &str| value["metadata"]["annotations"][name].as_str().map(str::to_owned);
        Change {
            action: Action::Remove,
            kind: kind.word(),
            name: name.to_owned(),
            namespace: names_at.filter(|_| kind.is_of_names()).map(str::to_owned),
            landscape: annotation(names::LANDSCAPE).unwrap_or_default(),
            service: annotation(names::SERVICE),
            fields: Vec::new(),
        }
    };
    wanted.superfluous(live).into_iter().map(change).collect()
}

#[cfg(test)]
mod tests;
