//! What is in the cluster: everything that carries our mark.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The kinds of objects that a landscape has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    NetworkPolicy,
    Secret,
    Deployment,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::ConfigMap, Self::NetworkPolicy, Self::Secret, Self::Deployment];

    /// As manifests call it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::Secret => "Secret",
            Self::Deployment => "Deployment",
        }
    }

    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::Secret => "v1",
            Self::NetworkPolicy => "networking.k8s.io/v1",
            Self::Deployment => "apps/v1",
        }
    }

    /// The collection in a namespace.
    pub(super) fn path(self, namespace: &str) -> String {
        let namespace = Some(namespace);
        match self {
            Self::ConfigMap => ConfigMap::url_path(&(), namespace),
            Self::NetworkPolicy => NetworkPolicy::url_path(&(), namespace),
            Self::Secret => Secret::url_path(&(), namespace),
            Self::Deployment => Deployment::url_path(&(), namespace),
        }
    }
}

/// Objects by kind and name.
#[derive(Debug, Default)]
pub(super) struct Live(BTreeMap<(Kind, String), Value>);

impl Live {
    /// Adds a list as the API answers it. Its items lack their own kind.
    pub(super) fn add(&mut self, kind: Kind, list: &mut Value) {
        for mut item in list["items"].as_array_mut().map(std::mem::take).unwrap_or_default() {
            let Some(name) = item["metadata"]["name"].as_str().map(str::to_owned) else { continue };
            item["kind"] = kind.word().into();
            item["apiVersion"] = kind.api_version().into();
            self.0.insert((kind, name), item);
        }
    }

    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.0.get(&(kind, name.to_owned()))
    }

    /// An object, where it is what its kind says.
    pub(super) fn read<T: DeserializeOwned>(&self, kind: Kind, name: &str) -> Option<T> {
        T::deserialize(self.get(kind, name)?).ok()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Kind, &str, &Value)> {
        self.0.iter().map(|((kind, name), value)| (*kind, name.as_str(), value))
    }
}
