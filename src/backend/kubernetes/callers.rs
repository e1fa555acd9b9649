//! Where the router's own traffic comes from, for the policy that lets it pass.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::manifest::Callers;
use crate::netlink::Netlink;

/// What Kubernetes puts into every pod that has a service account.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// This router's. In a pod it is known by its label, whatever its address; outside by every address that
/// this machine has, since the way to a pod decides which of them is used.
pub fn here() -> Callers {
    let namespace = std::fs::read_to_string(OWN_NAMESPACE).ok().map(|text| text.trim().to_owned());
    if let Some(namespace) = namespace.filter(|name| !name.is_empty()) {
        return Callers { namespace: Some(namespace), addresses: Vec::new() };
    }
    let addresses = addresses().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine's addresses are unknown: `kubernetes.allowFrom` has to name the router's");
        Vec::new()
    });
    Callers {
        namespace: None,
        addresses: addresses.into_iter().filter(|a| is_seen_from_afar(*a)).map(IpNet::from).collect(),
    }
}

fn addresses() -> io::Result<Vec<IpAddr>> {
    let all = Netlink::open(NETLINK_ROUTE)?.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    Ok(all.into_iter().filter_map(address_of).collect())
}

fn address_of(message: RouteNetlinkMessage) -> Option<IpAddr> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    // On a link of two ends ADDRESS is the other one.
    let of = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    of(true).or_else(|| of(false))
}

fn is_seen_from_afar(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast() && !is_link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_an_address() {
        let all = addresses().unwrap();
        assert!(all.iter().any(IpAddr::is_loopback), "{all:?}");
    }

    #[test]
    fn what_only_this_machine_knows_is_left_out() {
        for (address, seen) in [
            ("10.1.2.3", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.1.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_seen_from_afar(address.parse().unwrap()), seen, "{address}");
        }
    }
}
