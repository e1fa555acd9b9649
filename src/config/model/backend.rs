//! What the backends need.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Off;
use crate::config::defaults as d;
use crate::config::scalar::{Cidr, PortRange, Positive};

/// The process backend.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// Ports of the host for replicas whose declared ones are taken.
    #[schemars(extend("default" = d::PORTS.to_string()))]
    pub ports: Option<PortRange>,
    /// Allows `runAsUser: 0`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub allow_root: bool,
    /// What replicas' network is. In a namespace of its own a replica has every port it declares, and no
    /// other landscape reaches it; that takes the right to make them, and `private` not switched off.
    /// `auto` takes rights that the router has: root's. `user` does without, by a user namespace, whose
    /// price is that replicas reach nothing outside of this machine, that programs in it see every other
    /// user of the machine as one and the same, and that containers are left out of `private`.
    #[schemars(extend("default" = "auto"))]
    pub namespaces: Option<Namespaces>,
    /// Lets replicas have declared ports below 1024 as they are, where the system allows it to the user
    /// they run as. Without it these are led to ports of `ports`, too.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub low_ports: bool,
}

/// Whether replicas get a network namespace each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Namespaces {
    /// Where the router has the rights.
    Auto,
    /// Also where it has none, in a user namespace.
    User,
    /// Never: they share the machine's network.
    Off,
}

/// The Docker backend.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Docker {
    /// `unix:///path` or `http://host:port`. Default: `DOCKER_HOST`, else the usual socket.
    #[schemars(length(min = 1))]
    pub host: Option<String>,
    /// The image that runs Reactives, `prepare` and `test`. Without one they do not run on Docker.
    #[schemars(length(min = 1))]
    pub base: Option<String>,
    /// Images of named bases.
    #[serde(default)]
    pub bases: IndexMap<String, String>,
    /// Where each landscape's network is cut from.
    #[schemars(length(min = 1), extend("default" = [d::SUBNETS]))]
    pub subnets: Option<Vec<Cidr>>,
    /// When an image is pulled.
    #[schemars(extend("default" = "ifNotPresent"))]
    pub pull: Option<Pull>,
    /// What happens to containers when the router ends.
    #[schemars(extend("default" = "leave"))]
    pub on_exit: Option<OnExit>,
    /// Allows `runAsUser: 0`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub allow_root: bool,
}

/// The Kubernetes backend. Every service becomes a Deployment of its own, unless it is attached to a
/// workload that is there.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubernetes {
    /// A kubeconfig file. Default: the pod's own service account where the router runs in a cluster, else
    /// `KUBECONFIG`, else `~/.kube/config`. Like `context`, `namespace` and `instance` it cannot change while the
    /// router looks after services on Kubernetes.
    #[schemars(length(min = 1))]
    pub kubeconfig: Option<String>,
    /// A context of the kubeconfig. Default: its current one.
    #[schemars(length(min = 1))]
    pub context: Option<String>,
    /// Where workloads are. Default: the context's namespace, in a cluster the router's own.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// What objects of this installation are marked with. Routers that have the same one in the same namespace
    /// are one installation; another installation there needs another.
    #[schemars(length(min = 1, max = 63), extend("default" = d::INSTANCE))]
    pub instance: Option<String>,
    /// Who reaches the pods besides those of their landscape and the router's own: the addresses of routers
    /// outside of the cluster where pods see others than the router's machine has, those of monitoring.
    #[serde(default)]
    pub allow_from: Vec<Cidr>,
    /// The image that runs Reactives, `prepare` and `test`. Without one they do not run on Kubernetes.
    #[schemars(length(min = 1))]
    pub base: Option<String>,
    /// Images of named bases.
    #[serde(default)]
    pub bases: IndexMap<String, String>,
    /// The PersistentVolumeClaim that holds a landscape's shared file system; `{id}` stands for the
    /// landscape's id. Without `{id}` each landscape has a folder in it that is called by its id. Without a
    /// claim, services that use the file system do not run on Kubernetes.
    #[schemars(length(min = 1))]
    pub claim: Option<String>,
    /// Names of Secrets that images are pulled with, beside those of `registries`.
    #[serde(default)]
    pub image_pull_secrets: Vec<String>,
    /// When an image is pulled.
    #[schemars(extend("default" = "ifNotPresent"))]
    pub pull: Option<Pull>,
    /// What happens to replicas when the router ends.
    #[schemars(extend("default" = "leave"))]
    pub on_exit: Option<OnExit>,
    /// Allows `runAsUser: 0`.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub allow_root: bool,
    /// Lets the services of a landscape find each other by name: `ws-server-<id>-<service>.workspaces`
    /// leads to the router, which wakes what is called and lets nobody else in. Default: `off`, for it takes
    /// a namespace of its own, and rights in it.
    pub names: Option<KubernetesNames>,
}

/// Names of services in a cluster, or `off`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum KubernetesNames {
    /// `off`.
    Word(Off),
    /// Where they are and what they lead to.
    Settings(KubernetesNamesSettings),
}

/// Where the names of services are in a cluster, and what they lead to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "kubernetes.names")]
pub struct KubernetesNamesSettings {
    /// The namespace of the Services that are the names, and so their domain. It has to be there.
    #[schemars(length(min = 1, max = 63), extend("default" = d::NAMES_NAMESPACE))]
    pub namespace: Option<String>,
    /// Where the router listens: one of these ports for each port of each name, the same one for as long as
    /// the Service is there.
    #[schemars(extend("default" = d::NAMES_PORTS.to_string()))]
    pub ports: Option<PortRange>,
    /// The router's address, as pods reach it without a translation between. Default: `POD_IP` of the
    /// environment, which a router in the cluster has by the downward API.
    #[schemars(length(min = 1))]
    pub address: Option<String>,
    /// What all names of the cluster end in: with it, pods find `ws-server-<id>-<service>` without the
    /// namespace, too.
    #[schemars(length(min = 1), extend("default" = d::CLUSTER_DOMAIN))]
    pub cluster_domain: Option<String>,
    /// A raw TCP connection on which no byte moved for so long is ended.
    #[schemars(extend("default" = d::PRIVATE_IDLE.to_string()))]
    pub idle: Option<Positive>,
}

/// The workload in a cluster that stands for a service: one of `deployment` and `statefulSet`. The router
/// changes its number of replicas, and nothing else of it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attach {
    /// The name of a Deployment.
    #[schemars(length(min = 1))]
    pub deployment: Option<String>,
    /// The name of a StatefulSet.
    #[schemars(length(min = 1))]
    pub stateful_set: Option<String>,
    /// Where it is. Default: `kubernetes.namespace`.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Pull {
    /// Only where the engine does not have it.
    IfNotPresent,
    /// Before every start.
    Always,
    /// Never.
    Never,
}

/// What happens to containers when the router ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum OnExit {
    /// They run on; the next router finds them.
    Leave,
    /// They are stopped.
    Stop,
}
