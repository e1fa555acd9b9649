//! The objects of names, as the router would make them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use serde_json::json;

use super::live::{Kind, Live};
use super::wanted::Object;
use crate::backend::kubernetes::private::{Ports, Site, adopt_ports, slices, wanted};
use crate::config::settings::Settings;
use crate::private::target_ports::{Exhausted, TargetPorts};
use crate::proxy::Called;

/// Where a plan is made nobody may know a router's address. This one is nobody's: names would lead elsewhere.
const NOBODYS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// What a router is called of which nothing is there yet.
const ANY: &str = "router";

/// Adds what names there are to be. `pod`: the address of the router's pod, where the plan is made in it.
pub(super) fn named(
    settings: &Settings,
    live: &Live,
    pod: Option<IpAddr>,
    objects: &mut Vec<Object>,
) -> Result<(), Exhausted> {
    let Some(names) = &settings.kubernetes.names else { return Ok(()) };
    let of = |kind| live.all().filter(move |(k, ..)| *k == kind).map(|(_, _, value)| value);
    let services: Vec<Service> = of(Kind::Service).filter_map(|s| Service::deserialize(s).ok()).collect();
    let slices: Vec<EndpointSlice> =
        of(Kind::EndpointSlice).filter_map(|s| EndpointSlice::deserialize(s).ok()).collect();
    let site = |router: &str, address| Site {
        namespace: names.namespace.clone(),
        instance: settings.kubernetes.instance.clone(),
        router: router.to_owned(),
        address,
    };
    let ours: Vec<&EndpointSlice> = slices.iter().filter(|s| site(ANY, NOBODYS).is_ours(&s.metadata)).collect();
    let mut routers: BTreeSet<&str> = ours.iter().filter_map(|slice| slices::router_of(slice)).collect();
    if routers.is_empty() {
        routers.insert(ANY);
    }
    // Which address a name leads to is no matter of the configuration, unless that says so.
    let configured = names.address.filter(|_| routers.len() == 1);
    let wanted = wanted(settings);
    let mut given = TargetPorts::new(names.ports);
    adopt_ports(&mut given, &site(ANY, NOBODYS), &wanted, &services);
    let object = |kind, name: String, value| Object { kind, name, landscape: Arc::from(""), service: None, value };
    for (name, ports) in &wanted {
        let mut pairs = Ports::new();
        for port in ports {
            pairs.insert(*port, given.assign(&Called { name: name.clone(), port: *port })?);
        }
        let mut leading = Vec::new();
        for router in &routers {
            let of_router = || ours.iter().filter(|slice| slices::router_of(slice) == Some(*router));
            let there = of_router().find(|slice| slices::name_of(slice) == Some(&**name));
            let elsewhere = || of_router().find_map(|slice| slices::address_of(slice));
            let address = configured.or_else(|| there.and_then(|slice| slices::address_of(slice)));
            let address = address.or_else(elsewhere).or(pod).unwrap_or(NOBODYS);
            // Nor is it which of its ports a router has for one of the name's.
            let known = there.map(|slice| slices::targets_of(slice)).unwrap_or_default();
            let pairs: Ports =
                pairs.iter().map(|(port, to)| (*port, known.get(port).copied().unwrap_or(*to))).collect();
            leading.push((site(router, address), there.and_then(|s| s.metadata.name.clone()), pairs));
        }
        let Some((first, ..)) = leading.first() else { continue };
        let mut service = first.service(name, ports, &pairs);
        objects.push(object(Kind::Service, name.to_string(), json!(service)));
        let made = services.iter().find(|s| s.metadata.name.as_deref() == Some(name));
        service.metadata.uid = made.and_then(|s| s.metadata.uid.clone());
        for (site, there, pairs) in leading {
            let mut slice = site.slice(&service, &pairs);
            let name = there.unwrap_or_else(|| site.slice_name(name));
            slice.metadata.name = Some(name.clone());
            objects.push(object(Kind::EndpointSlice, name, json!(slice)));
        }
    }
    Ok(())
}
