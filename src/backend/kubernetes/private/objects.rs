//! What a name is in a cluster: a Service without a selector, which is common to all routers, and an
//! EndpointSlice of each of them that leads to it. No IO.
//!
//! Which port of a router stands for which port of the name, its slice says. An annotation of the Service
//! says it as well, as it was first: a router without memory and without a slice takes these, if they are
//! free, and whoever finds them there leaves them as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::backend::kubernetes::names::{self, MANAGER, label_value};

/// Annotation of a Service: its ports and a router's for them, `3000=21000 8080=21001`.
const PORTS: &str = "landscape-router/ports";
/// Label of an EndpointSlice: whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of an EndpointSlice: the router that it leads to.
pub const ROUTER: &str = "landscape-router/router";
/// Label of an EndpointSlice: who writes it; the cluster's own controllers leave it alone.
const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Ports of a name, and the router's ports for them.
pub type Ports = BTreeMap<u16, u16>;

/// Where names are kept and lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The namespace, which is their domain.
    pub namespace: String,
    /// The installation.
    pub instance: String,
    /// The router: what no other one is called.
    pub router: String,
    /// The router's.
    pub address: IpAddr,
}

impl Site {
    fn labels(&self) -> BTreeMap<String, String> {
        names::installation_labels(&self.instance)
    }

    fn family(&self) -> &'static str {
        if self.address.is_ipv4() { "IPv4" } else { "IPv6" }
    }

    /// Whether an object is this installation's.
    pub fn is_ours(&self, metadata: &ObjectMeta) -> bool {
        names::is_ours(&self.instance, metadata.labels.as_ref())
    }

    /// Whether an EndpointSlice is this router's.
    pub fn is_own(&self, slice: &EndpointSlice) -> bool {
        self.is_ours(&slice.metadata) && router_of(slice) == Some(&label_value(&self.router))
    }

    /// The Service of a name: the same, whichever router writes it. `remembered` of its ports are told to those
    /// that have none yet.
    pub fn service(&self, name: &str, ports: &BTreeSet<u16>, remembered: &Ports) -> Service {
        let each = |port: &u16| ServicePort {
            name: Some(port_name(*port)),
            port: i32::from(*port),
            // Each slice says its own.
            target_port: Some(IntOrString::Int(i32::from(*port))),
            protocol: Some("TCP".into()),
            ..Default::default()
        };
        Service {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some(self.labels()),
                annotations: Some([(PORTS.to_owned(), written(remembered))].into()),
                ..Default::default()
            },
            spec: Some(ServiceSpec {
                type_: Some("ClusterIP".into()),
                ip_families: Some(vec![self.family().to_owned()]),
                ip_family_policy: Some("SingleStack".into()),
                ports: Some(ports.iter().map(each).collect()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// This router's EndpointSlice of a Service as the cluster has it. A slice's family never changes: each has its own.
    pub fn slice(&self, service: &Service, ports: &Ports) -> EndpointSlice {
        let name = service.metadata.name.clone().unwrap_or_default();
        let mut labels = self.labels();
        labels.insert(SERVICE_NAME.into(), name.clone());
        labels.insert(SLICE_MANAGED_BY.into(), MANAGER.into());
        labels.insert(ROUTER.into(), label_value(&self.router));
        let owner = service.metadata.uid.clone().map(|uid| OwnerReference {
            api_version: "v1".into(),
            kind: "Service".into(),
            name: name.clone(),
            uid,
            ..Default::default()
        });
        let each = |(port, target): (&u16, &u16)| EndpointPort {
            name: Some(port_name(*port)),
            port: Some(i32::from(*target)),
            protocol: Some("TCP".into()),
            ..Default::default()
        };
        EndpointSlice {
            address_type: self.family().into(),
            endpoints: vec![Endpoint {
                addresses: vec![self.address.to_string()],
                conditions: Some(EndpointConditions { ready: Some(true), ..Default::default() }),
                ..Default::default()
            }],
            metadata: ObjectMeta {
                name: Some(self.slice_name(&name)),
                namespace: Some(self.namespace.clone()),
                labels: Some(labels),
                owner_references: owner.map(|owner| vec![owner]),
                ..Default::default()
            },
            ports: Some(ports.iter().map(each).collect()),
        }
    }

    /// What this router's EndpointSlice of a name is called.
    pub fn slice_name(&self, name: &str) -> String {
        names::slice(name, &self.family().to_ascii_lowercase(), &self.router)
    }
}

/// The name that an EndpointSlice is of.
pub fn name_of(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.as_ref()?.get(SERVICE_NAME).map(String::as_str)
}

/// The router that an EndpointSlice leads to, as its label has it; `None` for one of a version that knew of one
/// router alone.
pub fn router_of(slice: &EndpointSlice) -> Option<&str> {
    slice.metadata.labels.as_ref()?.get(ROUTER).map(String::as_str)
}

/// Where an EndpointSlice leads to.
pub fn address_of(slice: &EndpointSlice) -> Option<IpAddr> {
    slice.endpoints.first()?.addresses.first()?.parse().ok()
}

/// The ports of an EndpointSlice, and its router's for them.
pub fn targets_of(slice: &EndpointSlice) -> Ports {
    let pair = |port: &EndpointPort| {
        let called = port.name.as_deref()?.strip_prefix('p')?.parse().ok()?;
        Some((called, port.port?.try_into().ok()?))
    };
    slice.ports.iter().flatten().filter_map(pair).collect()
}

/// Which ports stand for a Service's, as it was first written; none where that cannot be read.
pub fn ports_of(service: &Service) -> Ports {
    let annotations = service.metadata.annotations.as_ref();
    let text = annotations.and_then(|a| a.get(PORTS)).map_or("", String::as_str);
    let pair = |pair: &str| pair.split_once('=').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    text.split(' ').filter_map(pair).collect()
}

/// Whether a Service is as it is wanted, what the cluster adds left aside.
pub fn is_service(seen: &Service, wanted: &Service) -> bool {
    let ports = |service: &Service| {
        let ports = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
        ports.into_iter().map(|p| (p.name, p.port, p.target_port, p.protocol)).collect::<Vec<_>>()
    };
    let kind = |service: &Service| service.spec.as_ref().and_then(|spec| spec.type_.clone());
    has(seen.metadata.labels.as_ref(), wanted.metadata.labels.as_ref())
        && has(seen.metadata.annotations.as_ref(), wanted.metadata.annotations.as_ref())
        && kind(seen) == kind(wanted)
        && ports(seen) == ports(wanted)
}

/// Whether an EndpointSlice is as it is wanted, what the cluster adds left aside.
pub fn is_slice(seen: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let ports = |slice: &EndpointSlice| {
        let mut ports: Vec<_> =
            slice.ports.iter().flatten().map(|p| (p.name.clone(), p.port, p.protocol.clone())).collect();
        ports.sort();
        ports
    };
    let ready = |slice: &EndpointSlice| {
        let ready = |e: &Endpoint| (e.addresses.clone(), e.conditions.as_ref().and_then(|c| c.ready));
        slice.endpoints.iter().map(ready).collect::<Vec<_>>()
    };
    let owners = |slice: &EndpointSlice| {
        slice.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect::<Vec<_>>()
    };
    has(seen.metadata.labels.as_ref(), wanted.metadata.labels.as_ref())
        && seen.address_type == wanted.address_type
        && owners(seen) == owners(wanted)
        && ready(seen) == ready(wanted)
        && ports(seen) == ports(wanted)
}

fn has(seen: Option<&BTreeMap<String, String>>, wanted: Option<&BTreeMap<String, String>>) -> bool {
    wanted.is_none_or(|wanted| names::carries(seen, wanted))
}

fn written(ports: &Ports) -> String {
    ports.iter().map(|(port, target)| format!("{port}={target}")).collect::<Vec<_>>().join(" ")
}

fn port_name(port: u16) -> String {
    format!("p{port}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn site() -> Site {
        Site {
            namespace: "workspaces".into(),
            instance: "prod".into(),
            router: "router-a".into(),
            address: "10.0.0.7".parse().unwrap(),
        }
    }

    /// A Service whose ports are all remembered.
    fn service(site: &Site, name: &str, ports: &Ports) -> Service {
        site.service(name, &ports.keys().copied().collect(), ports)
    }

    #[test]
    fn a_name_is_a_service_and_a_slice_of_it_leads_to_the_router() {
        let ports: Ports = [(3000, 21000), (8080, 21001)].into();
        let mut service = service(&site(), "ws-server-4711-web", &ports);
        assert_eq!(
            json!(service),
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": "ws-server-4711-web",
                    "namespace": "workspaces",
                    "labels": {
                        "app.kubernetes.io/managed-by": "landscape-router",
                        "landscape-router/instance": "prod",
                    },
                    "annotations": { "landscape-router/ports": "3000=21000 8080=21001" },
                },
                "spec": {
                    "type": "ClusterIP",
                    "ipFamilies": ["IPv4"],
                    "ipFamilyPolicy": "SingleStack",
                    "ports": [
                        { "name": "p3000", "port": 3000, "targetPort": 3000, "protocol": "TCP" },
                        { "name": "p8080", "port": 8080, "targetPort": 8080, "protocol": "TCP" },
                    ],
                },
            })
        );
        service.metadata.uid = Some("0-1".into());
        assert_eq!(
            json!(site().slice(&service, &ports)),
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "addressType": "IPv4",
                "metadata": {
                    "name": "ws-server-4711-web-ipv4-router-a",
                    "namespace": "workspaces",
                    "labels": {
                        "app.kubernetes.io/managed-by": "landscape-router",
                        "landscape-router/instance": "prod",
                        "kubernetes.io/service-name": "ws-server-4711-web",
                        "endpointslice.kubernetes.io/managed-by": "landscape-router",
                        "landscape-router/router": "router-a",
                    },
                    "ownerReferences": [
                        { "apiVersion": "v1", "kind": "Service", "name": "ws-server-4711-web", "uid": "0-1" },
                    ],
                },
                "endpoints": [{ "addresses": ["10.0.0.7"], "conditions": { "ready": true } }],
                "ports": [
                    { "name": "p3000", "port": 21000, "protocol": "TCP" },
                    { "name": "p8080", "port": 21001, "protocol": "TCP" },
                ],
            })
        );
    }

    #[test]
    fn the_ports_that_were_written_are_read_again() {
        let ports: Ports = [(3000, 21000), (8080, 21001)].into();
        assert_eq!(ports_of(&service(&site(), "ws-server-4711-web", &ports)), ports);
        assert_eq!(ports_of(&Service::default()), Ports::new());
        let mut odd = service(&site(), "ws-server-4711-web", &ports);
        odd.metadata.annotations = Some([(PORTS.to_owned(), "3000=21000 x 5= =7 70000=1 6=7".to_owned())].into());
        assert_eq!(ports_of(&odd), [(3000, 21000), (6, 7)].into());
        let slice = site().slice(&odd, &ports);
        assert_eq!((targets_of(&slice), name_of(&slice)), (ports, Some("ws-server-4711-web")));
        assert_eq!(address_of(&slice), Some(site().address));
        assert_eq!(targets_of(&EndpointSlice::default()), Ports::new());
    }

    #[test]
    fn each_router_has_a_slice_of_the_same_service() {
        let ports: Ports = [(3000, 21000)].into();
        let other = Site { router: "router-b".into(), address: "10.0.0.8".parse().unwrap(), ..site() };
        let common = service(&site(), "ws-server-4711-web", &ports);
        assert_eq!(common, service(&other, "ws-server-4711-web", &ports));
        let (one, two) = (site().slice(&common, &ports), other.slice(&common, &[(3000, 21005)].into()));
        assert_ne!(one.metadata.name, two.metadata.name);
        assert_eq!((router_of(&one), router_of(&two)), (Some("router-a"), Some("router-b")));
        assert!(site().is_own(&one) && !site().is_own(&two) && site().is_ours(&two.metadata));
        // Of a machine whose name is too long for a label.
        let long = Site { router: "m".repeat(90), ..site() };
        let slice = long.slice(&common, &ports);
        assert!(long.is_own(&slice) && router_of(&slice).unwrap().len() <= 63, "{slice:?}");
        assert!(long.slice_name(&"n".repeat(63)).len() <= 253);
    }

    #[test]
    fn what_the_cluster_adds_is_no_difference_and_what_others_change_is() {
        let ports: Ports = [(3000, 21000)].into();
        let wanted = service(&site(), "ws-server-4711-web", &ports);
        let mut seen = wanted.clone();
        seen.metadata.annotations.get_or_insert_default().insert("other".into(), "note".into());
        let spec = seen.spec.get_or_insert_default();
        (spec.cluster_ip, spec.session_affinity) = (Some("10.96.0.9".into()), Some("None".into()));
        assert!(is_service(&seen, &wanted));
        assert!(!is_service(&wanted, &service(&site(), "ws-server-4711-web", &[(3001, 21000)].into())));
        let moved = Site { address: "10.0.0.8".parse().unwrap(), ..site() };
        assert!(is_slice(&site().slice(&seen, &ports), &site().slice(&seen, &ports)));
        assert!(!is_slice(&site().slice(&seen, &ports), &moved.slice(&seen, &ports)));
        seen.metadata.uid = Some("made anew".into());
        assert!(!is_slice(&site().slice(&wanted, &ports), &site().slice(&seen, &ports)));
    }

    #[test]
    fn what_another_installation_or_a_person_made_is_not_ours() {
        let service = service(&site(), "ws-server-4711-web", &Ports::new());
        assert!(site().is_ours(&service.metadata));
        assert!(!Site { instance: "test".into(), ..site() }.is_ours(&service.metadata));
        assert!(!site().is_ours(&ObjectMeta::default()));
    }

    #[test]
    fn a_router_of_the_newer_family_leads_by_it() {
        let site = Site { address: "fd00::7".parse().unwrap(), ..site() };
        let service = service(&site, "a", &[(1, 2)].into());
        assert_eq!(service.spec.as_ref().unwrap().ip_families, Some(vec!["IPv6".to_owned()]));
        let slice = site.slice(&service, &[(1, 2)].into());
        assert_eq!((slice.metadata.name.as_deref(), &*slice.address_type), (Some("a-ipv6-router-a"), "IPv6"));
    }
}
