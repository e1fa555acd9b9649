//! What is asked of the API server for a plan, and what its answers mean.

use std::borrow::Cow;

use kube::api::{GetParams, ListParams, Patch, PatchParams};
use kube::core::Request;
use serde_json::Value;

use super::live::{Kind, Live};
use super::wanted::Object;
use super::{Action, Attached, Change, NotCompared, Problems, diff};
use crate::backend::kubernetes::connect::{Cluster, cause};
use crate::backend::kubernetes::names;
use crate::config::settings::{Attach, AttachKind};
use crate::landscape::ServiceKey;

/// Requests, and what their failures mean.
pub(super) struct Api<'c> {
    pub(super) cluster: &'c Cluster,
    /// The namespace of names, where services have some.
    pub(super) names: Option<&'c str>,
    pub(super) instance: &'c str,
}

/// What would become of an object.
pub(super) enum Judged {
    /// Nothing.
    Same,
    Different(Change),
    Unread(NotCompared),
}

/// An object as it is there.
enum Before<'l> {
    Absent,
    There(Cow<'l, Value>),
    /// Nobody says whether it is there.
    Unread,
}

impl Api<'_> {
    /// All that carries our mark.
    pub(super) async fn everything(&self) -> Result<Live, Problems> {
        let (mut live, mut problems) = (Live::default(), Vec::new());
        let marked = ListParams::default().labels(&names::selector(self.instance));
        let of_names = Kind::NAMES.into_iter().filter(|_| self.names.is_some());
        for kind in Kind::WORK.into_iter().chain(of_names) {
            // Who has the names that are not ours, the router sees in the same way.
            let which = if kind.is_of_names() { &ListParams::default() } else { &marked };
            let request = Request::new(kind.path(self.namespace(kind))).list(which);
            match self.ask(request).await {
                Ok(mut list) => {
                    live.add(kind, &mut list);
                    live.part(kind, |item| self.is_ours(item));
                }
                // The router itself writes them and never reads them.
                Err(kube::Error::Api(status)) if kind == Kind::Secret && status.is_forbidden() => {
                    live.hidden.insert(kind);
                }
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

    fn namespace(&self, kind: Kind) -> &str {
        self.names.filter(|_| kind.is_of_names()).unwrap_or(&self.cluster.namespace)
    }

    fn is_ours(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        names::installation_labels(self.instance).iter().all(|(key, value)| labels[key] == *value)
    }

    /// What applying an object would do.
    pub(super) async fn judge(&self, object: &Object, live: &Live) -> Result<Judged, String> {
        let before = self.before(object, live).await?;
        let params = PatchParams { dry_run: true, ..PatchParams::apply(names::MANAGER).force() };
        let request = Request::new(object.kind.path(self.namespace(object.kind)));
        let after = self.ask(request.patch(&object.name, &params, &Patch::Apply(&object.value))).await;
        let after = after.map_err(|e| self.failed(object, &e))?;
        let (kind, name) = (object.kind.word(), object.name.clone());
        let (landscape, service) = (object.landscape.to_string(), object.service.as_deref().map(str::to_owned));
        let (action, fields) = match before {
            Before::Unread => {
                let reason = "this account may not read it";
                return Ok(Judged::Unread(NotCompared { kind, name, landscape, service, reason }));
            }
            Before::Absent => (Action::Create, Vec::new()),
            Before::There(before) => (Action::Change, diff::fields(&before, &after)),
        };
        if action == Action::Change && fields.is_empty() {
            return Ok(Judged::Same);
        }
        let namespace = self.names.filter(|_| object.kind.is_of_names()).map(str::to_owned);
        Ok(Judged::Different(Change { action, kind, name, namespace, landscape, service, fields }))
    }

    /// What is there of an object. One without our mark is someone else's, whatever it is called.
    async fn before<'l>(&self, object: &Object, live: &'l Live) -> Result<Before<'l>, String> {
        let kind = object.kind;
        if let Some(known) = live.get(kind, &object.name) {
            return Ok(Before::There(Cow::Borrowed(known)));
        }
        let theirs = || {
            let word = kind.word();
            let remedy = if kind.is_of_names() {
                "delete it, or choose another `kubernetes.names.namespace`"
            } else {
                "rename it, or give the landscape another id"
            };
            format!("{word} {} is there already and not ours: {remedy}", object.name)
        };
        if kind.is_of_names() {
            return if live.is_theirs(kind, &object.name) { Err(theirs()) } else { Ok(Before::Absent) };
        }
        let request = Request::new(kind.path(&self.cluster.namespace));
        match self.ask(request.get(&object.name, &GetParams::default())).await {
            // Found by its name alone, where it may be read and not be listed.
            Ok(mut found) if live.hidden.contains(&kind) && self.is_ours(&found) => {
                kind.name(&mut found);
                Ok(Before::There(Cow::Owned(found)))
            }
            Ok(_) => Err(theirs()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Before::Absent),
            Err(kube::Error::Api(status)) if live.hidden.contains(&kind) && status.is_forbidden() => Ok(Before::Unread),
            Err(error) => Err(self.failed(object, &error)),
        }
    }

    pub(super) async fn attached(&self, key: &ServiceKey, attach: &Attach) -> Result<Attached, String> {
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
            let namespace = self.namespace(object.kind);
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
