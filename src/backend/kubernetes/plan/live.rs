//! What is in the cluster: everything that carries our mark.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The kinds of objects that a landscape has, and those of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    NetworkPolicy,
    Secret,
    Deployment,
    Service,
    EndpointSlice,
}

impl Kind {
    /// Of landscapes.
    pub(super) const WORK: [Self; 4] = [Self::ConfigMap, Self::NetworkPolicy, Self::Secret, Self::Deployment];
    /// Of names, in a namespace of their own.
    pub(super) const NAMES: [Self; 2] = [Self::Service, Self::EndpointSlice];

    pub(super) fn is_of_names(self) -> bool {
        Self::NAMES.contains(&self)
    }

    /// As manifests call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Secret => "Secret",
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::Secret | Self::Service => "v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::Deployment => "apps/v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
        }
    }

    /// Says in an object what it is.
    pub(super) fn name(self, object: &mut Value) {
        object["kind"] = self.word().into();
        object["apiVersion"] = self.api_version().into();
    }

    /// The collection in a namespace.
    pub(super) fn path(self, namespace: &str) -> String {
        let namespace = Some(namespace);
        match self {
            Self::ConfigMap => ConfigMap::url_path(&(), namespace),
            Self::NetworkPolicy => NetworkPolicy::url_path(&(), namespace),
            Self::Secret => Secret::url_path(&(), namespace),
            Self::Deployment => Deployment::url_path(&(), namespace),
            Self::Service => Service::url_path(&(), namespace),
            Self::EndpointSlice => EndpointSlice::url_path(&(), namespace),
        }
    }
}

/// Objects of ours by kind and name.
#[derive(Debug, Default)]
pub(super) struct Live {
    ours: BTreeMap<(Kind, String), Value>,
    /// Names that somebody else's objects have, of kinds of which all are listed.
    theirs: BTreeSet<(Kind, String)>,
    /// Kinds that may not be listed.
    pub(super) hidden: BTreeSet<Kind>,
}

impl Live {
    /// Adds a list as the API answers it. Its items lack their own kind.
    pub(super) fn add(&mut self, kind: Kind, list: &mut Value) {
        for mut item in list["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            let Some(name) = item["metadata"]["name"].as_str().map(str::to_owned) else { continue };
            kind.name(&mut item);
            self.ours.insert((kind, name), item);
        }
    }

    /// Tells apart what is not ours.
    pub(super) fn part(&mut self, kind: Kind, is_ours: impl Fn(&Value) -> bool) {
        let theirs = self.ours.extract_if(.., |key, item| key.0 == kind && !is_ours(item));
        self.theirs.extend(theirs.map(|(key, _)| key));
    }

    pub(super) fn is_theirs(&self, kind: Kind, name: &str) -> bool {
        self.theirs.contains(&(kind, name.to_owned()))
    }

    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.ours.get(&(kind, name.to_owned()))
    }

    /// An object, where it is what its kind says.
    pub(super) fn read<T: DeserializeOwned>(&self, kind: Kind, name: &str) -> Option<T> {
        T::deserialize(self.get(kind, name)?).ok()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Kind, &str, &Value)> {
        self.ours.iter().map(|((kind, name), value)| (*kind, name.as_str(), value))
    }
}
