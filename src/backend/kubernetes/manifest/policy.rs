//! Landscapes apart: who may reach a landscape's pods.
//!
//! Only what comes in is ruled. What goes out to another landscape's pods is refused there; names (DNS) and
//! the world outside stay reachable, and whoever wants less adds a policy of egress beside ours.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};

use super::{Place, names};

/// The label that Kubernetes itself gives every namespace, its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Where the router's own traffic comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callers {
    /// The namespace of the router's pods; `None`: it runs outside of the cluster.
    pub namespace: Option<String>,
    /// Addresses that it has outside of the cluster's pods: of the machine, or the node, that it runs on.
    /// What a node sends to its own pods passes always, but to those of other nodes it does not.
    pub addresses: Vec<IpNet>,
}

impl Callers {
    /// Those that a policy was made for, as [`network_policy`] noted them.
    pub fn of(policy: &NetworkPolicy) -> Option<Self> {
        serde_json::from_str(policy.metadata.annotations.as_ref()?.get(names::CALLERS)?).ok()
    }
}

/// The policy of one landscape: its pods are reached from each other and by the router alone, and from
/// `kubernetes.allowFrom`.
pub fn network_policy(id: &str, callers: &Callers, place: Place<'_>) -> NetworkPolicy {
    let selected = |labels| Some(LabelSelector { match_labels: Some(labels), ..Default::default() });
    let pods = selected(names::landscape_labels(&place.settings.instance, id));
    let (label, router) = names::ROUTER;
    // In the namespace of the policy no other selector is needed, nor a label that old clusters do not give.
    let elsewhere = callers.namespace.as_deref().filter(|namespace| *namespace != place.namespace);
    let router = NetworkPolicyPeer {
        pod_selector: selected([(label.to_owned(), router.to_owned())].into()),
        namespace_selector: elsewhere
            .and_then(|namespace| selected([(NAMESPACE_NAME.to_owned(), namespace.to_owned())].into())),
        ..Default::default()
    };
    let same = NetworkPolicyPeer { pod_selector: pods.clone(), ..Default::default() };
    let mut networks: Vec<IpNet> =
        callers.addresses.iter().chain(&place.settings.allow_from).map(IpNet::trunc).collect();
    networks.sort();
    networks.dedup();
    let block = |net: IpNet| NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: net.to_string(), ..Default::default() }),
        ..Default::default()
    };
    let mut metadata = place.of_landscape(names::landscape(id), id);
    // Texts and addresses: it can be written.
    let noted = serde_json::to_string(callers).unwrap_or_default();
    metadata.annotations.get_or_insert_default().insert(names::CALLERS.into(), noted);
    NetworkPolicy {
        metadata,
        spec: Some(NetworkPolicySpec {
            pod_selector: pods,
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some([same, router].into_iter().chain(networks.into_iter().map(block)).collect()),
                ..Default::default()
            }]),
            policy_types: Some(vec!["Ingress".into()]),
            ..Default::default()
        }),
    }
}
