//! The objects of names, as the router would make them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use serde_json::json;

use super::live::{Kind, Live};
use super::wanted::Object;
use crate::backend::kubernetes::private::{Ports, Site, adopt_ports, wanted};
use crate::config::settings::Settings;
use crate::private::target_ports::{Exhausted, TargetPorts};
use crate::proxy::Called;

/// Where a plan is made nobody may know a router's address. This one is nobody's: names would lead elsewhere.
const NOBODYS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

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
    let address = |slice: Option<&EndpointSlice>| slice?.endpoints.first()?.addresses.first()?.parse().ok();
    let usual = names.address.or_else(|| address(slices.first())).or(pod).unwrap_or(NOBODYS);
    let site =
        |address| Site { namespace: names.namespace.clone(), instance: settings.kubernetes.instance.clone(), address };
    let wanted = wanted(settings);
    let mut given = TargetPorts::new(names.ports);
    adopt_ports(&mut given, &site(usual), &wanted, &services);
    let object = |kind, name: String, value| Object { kind, name, landscape: Arc::from(""), service: None, value };
    for (name, ports) in &wanted {
        let mut pairs = Ports::new();
        for port in ports {
            pairs.insert(*port, given.assign(&Called { name: name.clone(), port: *port })?);
        }
        // Which router a name leads to is no matter of the configuration, unless that says so.
        let slice = site(usual).slice_name(name);
        let there = slices.iter().find(|s| s.metadata.name.as_deref() == Some(&slice));
        let site = site(names.address.or_else(|| address(there)).unwrap_or(usual));
        let mut service = site.service(name, &pairs);
        objects.push(object(Kind::Service, name.to_string(), json!(service)));
        let made = services.iter().find(|s| s.metadata.name.as_deref() == Some(name));
        service.metadata.uid = made.and_then(|s| s.metadata.uid.clone());
        objects.push(object(Kind::EndpointSlice, slice, json!(site.slice(&service, &pairs))));
    }
    Ok(())
}
