//! Which names a landscape has, and what each one means. No IO: [`dns`](super::dns) asks here first and
//! sends on only what is [`Found::Foreign`].
//!
//! A service `api` of landscape `4711` is called `ws-server-4711-api.workspaces`, the same without
//! `.workspaces`, and `api`. Everything else below `workspaces`, and every single label that begins
//! `ws-server-`, is answered "no such name" and never sent on: it may be a name of another landscape, which
//! must not resolve here, nor be told to a resolver outside.
//!
//! Ids and services both may contain hyphens, so a name is never taken apart into the two. It is compared
//! with this landscape's whole prefix, and the rest is looked up among its services.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;

/// The domain that holds the long spelling of every private name.
pub const DOMAIN: &str = "workspaces";

/// What every private name but an alias begins with.
const PREFIX: &str = "ws-server-";

/// The longest label of a name (RFC 1035, section 2.3.4).
const MAX_LABEL: usize = 63;

/// A service may be called so; programs that mean themselves must still reach themselves.
const LOCALHOST: &str = "localhost";

/// The names of a service in its landscape, the shortest first. A spelling that is no name is left out.
pub fn names_of(landscape: &str, service: &str) -> Vec<String> {
    let service = service.to_ascii_lowercase();
    let label = label_of(landscape, &service);
    let mut names = Vec::new();
    if service != LOCALHOST && !service.starts_with(PREFIX) {
        names.push(service);
    }
    if let Some(label) = label {
        names.extend([label.clone(), format!("{label}.{DOMAIN}")]);
    }
    names
}

/// The name of a service that says its landscape, without a domain: `ws-server-4711-api`. `None` where it is
/// too long for a label. Services of two landscapes may have the same one: `b-c` of `a`, and `c` of `a-b`.
pub fn label_of(landscape: &str, service: &str) -> Option<String> {
    let label = format!("{PREFIX}{}-{}", landscape.to_ascii_lowercase(), service.to_ascii_lowercase());
    (label.len() <= MAX_LABEL).then_some(label)
}

/// What a name means in a landscape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A service's virtual address.
    Address(Ipv4Addr),
    /// The name that a reverse name points to.
    Name(String),
    /// A name of ours that has names below it and nothing itself.
    Empty,
    /// Ours to answer, and there is no such name.
    Missing,
    /// Not ours: whoever answers for the rest of the world may be asked.
    Foreign,
}

/// The names of one landscape. Built anew whenever its services change, then swapped whole.
#[derive(Clone, Debug)]
pub struct Zone {
    /// `ws-server-<id>-`
    prefix: String,
    services: HashMap<Arc<str>, Ipv4Addr>,
    addresses: HashMap<Ipv4Addr, Arc<str>>,
    range: Ipv4Net,
}

impl Zone {
    /// The names of `landscape`'s `services`. `range` is where all virtual addresses of this router are:
    /// reverse names in it are ours to answer.
    ///
    /// Of services that differ in case alone (the catalogue's may have capitals), which names cannot tell
    /// apart, the first one is named.
    pub fn new(landscape: &str, services: impl IntoIterator<Item = (Arc<str>, Ipv4Addr)>, range: Ipv4Net) -> Self {
        let mut zone = Self::empty(landscape, range);
        for (service, address) in services {
            let service = lower_case(service);
            zone.services.entry(service.clone()).or_insert(address);
            zone.addresses.entry(address).or_insert(service);
        }
        zone
    }

    /// A landscape without services.
    pub fn empty(landscape: &str, range: Ipv4Net) -> Self {
        Self {
            prefix: format!("{PREFIX}{}-", landscape.to_ascii_lowercase()),
            services: HashMap::new(),
            addresses: HashMap::new(),
            range: range.trunc(),
        }
    }

    /// What `name` means, in lower case and without the dot at its end.
    pub fn answer(&self, name: &str) -> Found {
        match name.rsplit_once('.') {
            None if name == DOMAIN => Found::Empty,
            None => self.single_label(name),
            Some((label, DOMAIN)) => self.service_of(label).map_or(Found::Missing, Found::Address),
            Some(_) => name.strip_suffix(".in-addr.arpa").map_or(Found::Foreign, |reverse| self.reverse(reverse)),
        }
    }

    /// The range whose reverse names are ours.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    fn single_label(&self, label: &str) -> Found {
        if label.starts_with(PREFIX) {
            // No alias here, even for a service that is called so: it would read as another landscape's.
            return self.service_of(label).map_or(Found::Missing, Found::Address);
        }
        match self.services.get(label) {
            Some(_) if label == LOCALHOST => Found::Foreign,
            Some(address) => Found::Address(*address),
            None => Found::Foreign,
        }
    }

    /// The address of the service that `label` names in full.
    fn service_of(&self, label: &str) -> Option<Ipv4Addr> {
        self.services.get(label.strip_prefix(&self.prefix)?).copied()
    }

    /// `reverse` is what stands before `.in-addr.arpa`: the octets in reverse.
    fn reverse(&self, reverse: &str) -> Found {
        let Some((network, labels)) = network_of(reverse) else { return Found::Foreign };
        if !self.range.contains(&network) {
            return Found::Foreign;
        }
        match labels {
            4 => self.addresses.get(&network.addr()).map_or(Found::Missing, |service| Found::Name(self.long(service))),
            5.. => Found::Missing,
            _ => Found::Empty,
        }
    }

    /// A service's name as reverse answers give it: the long spelling, or where that is no name any more
    /// because it has a label too many letters long, the alias.
    fn long(&self, service: &str) -> String {
        if self.prefix.len() + service.len() <= MAX_LABEL {
            format!("{}{service}.{DOMAIN}", self.prefix)
        } else {
            service.to_owned()
        }
    }
}

fn lower_case(name: Arc<str>) -> Arc<str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name }
}

/// The network that `reverse` stands for, and how many labels it has. Labels before the fourth from the
/// end do not count, names that stand for no network have none.
fn network_of(reverse: &str) -> Option<(Ipv4Net, usize)> {
    let mut octets = [0u8; 4];
    let mut labels = 0;
    for label in reverse.rsplit('.') {
        if let Some(octet) = octets.get_mut(labels) {
            *octet = decimal(label)?;
        }
        labels += 1;
    }
    let prefix = u8::try_from(8 * labels.min(4)).ok()?;
    Some((Ipv4Net::new(octets.into(), prefix).ok()?, labels))
}

/// An octet as reverse names spell it: `7`, not `07` or `+7`.
fn decimal(label: &str) -> Option<u8> {
    let octet: u8 = label.parse().ok()?;
    (octet.to_string() == label).then_some(octet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(id: &str, services: &[(&str, [u8; 4])]) -> Zone {
        let services = services.iter().map(|(name, address)| (Arc::from(*name), Ipv4Addr::from(*address)));
        Zone::new(id, services, "10.201.0.0/16".parse().unwrap())
    }

    fn shop() -> Zone {
        zone("4711", &[("web", [10, 201, 0, 1]), ("api", [10, 201, 0, 2])])
    }

    #[test]
    fn the_names_that_are_told_are_those_that_are_answered() {
        let long = "s".repeat(60);
        let services = ["web", "localhost", "ws-server-x", "Cap", &long];
        let addresses: Vec<_> = (1..).map(|n| [10, 201, 0, n]).zip(services).map(|(a, s)| (s, a)).collect();
        let zone = zone("4711", &addresses);
        for (service, address) in addresses {
            for name in names_of("4711", service) {
                assert_eq!(zone.answer(&name), Found::Address(address.into()), "{name}");
            }
        }
        assert_eq!(names_of("4711", "web"), ["web", "ws-server-4711-web", "ws-server-4711-web.workspaces"]);
        assert_eq!(names_of("4711", "localhost"), ["ws-server-4711-localhost", "ws-server-4711-localhost.workspaces"]);
        assert_eq!(names_of("4711", &long), [long]);
    }

    #[test]
    fn a_service_has_three_names() {
        for name in ["ws-server-4711-api.workspaces", "ws-server-4711-api", "api"] {
            assert_eq!(shop().answer(name), Found::Address([10, 201, 0, 2].into()), "{name}");
        }
    }

    #[test]
    fn names_of_others_are_missing_and_not_foreign() {
        for name in [
            "ws-server-4712-api.workspaces",
            "ws-server-4712-api",
            "ws-server-4711-db.workspaces",
            "ws-server-4711-db",
            "ws-server-4711-",
            "ws-server-",
            "ws-server-4711",
            "api.workspaces",
            "web.ws-server-4711-api.workspaces",
            "ws-server-4711-api\\.workspaces.workspaces",
        ] {
            assert_eq!(shop().answer(name), Found::Missing, "{name}");
        }
        assert_eq!(shop().answer("workspaces"), Found::Empty);
    }

    #[test]
    fn everything_else_is_foreign() {
        for name in ["", "db", "example.com", "api.example.com", "workspaces.example.com", "ws-server", "myworkspaces"]
        {
            assert_eq!(shop().answer(name), Found::Foreign, "{name}");
        }
    }

    #[test]
    fn hyphens_in_ids_and_services_are_not_confused() {
        let (a, ab) = (zone("a", &[("b-c", [10, 201, 0, 1])]), zone("a-b", &[("c", [10, 201, 0, 2])]));
        // Both landscapes spell it alike; each one means its own.
        assert_eq!(a.answer("ws-server-a-b-c.workspaces"), Found::Address([10, 201, 0, 1].into()));
        assert_eq!(ab.answer("ws-server-a-b-c.workspaces"), Found::Address([10, 201, 0, 2].into()));
        let (a, ab) = (zone("a", &[("c", [10, 201, 0, 1])]), zone("a-b", &[("c", [10, 201, 0, 2])]));
        assert_eq!(a.answer("ws-server-a-b-c"), Found::Missing);
        assert_eq!(ab.answer("ws-server-a-c"), Found::Missing);
    }

    #[test]
    fn an_alias_shadows_neither_localhost_nor_another_landscapes_name() {
        let zone = zone("4711", &[("localhost", [10, 201, 0, 1]), ("ws-server-4712-api", [10, 201, 0, 2])]);
        assert_eq!(zone.answer("localhost"), Found::Foreign);
        assert_eq!(zone.answer("ws-server-4711-localhost"), Found::Address([10, 201, 0, 1].into()));
        assert_eq!(zone.answer("ws-server-4712-api"), Found::Missing);
        assert_eq!(zone.answer("ws-server-4711-ws-server-4712-api"), Found::Address([10, 201, 0, 2].into()));
    }

    #[test]
    fn a_service_with_capitals_is_found_in_lower_case() {
        let zone = zone("4711", &[("DB", [10, 201, 0, 1]), ("db", [10, 201, 0, 2])]);
        assert_eq!(zone.answer("db"), Found::Address([10, 201, 0, 1].into()));
        assert_eq!(zone.answer("2.0.201.10.in-addr.arpa"), Found::Name("ws-server-4711-db.workspaces".into()));
    }

    #[test]
    fn reverse_names_in_the_range_are_ours() {
        let api = Found::Name("ws-server-4711-api.workspaces".into());
        for (name, found) in [
            ("2.0.201.10.in-addr.arpa", api),
            ("3.0.201.10.in-addr.arpa", Found::Missing),
            ("x.2.0.201.10.in-addr.arpa", Found::Missing),
            ("0.201.10.in-addr.arpa", Found::Empty),
            ("201.10.in-addr.arpa", Found::Empty),
            ("10.in-addr.arpa", Found::Foreign),
            ("2.0.202.10.in-addr.arpa", Found::Foreign),
            ("2.0.201.010.in-addr.arpa", Found::Foreign),
            ("2.0.x.10.in-addr.arpa", Found::Foreign),
            ("in-addr.arpa", Found::Foreign),
            ("2.0.201.10.ip6.arpa", Found::Foreign),
        ] {
            assert_eq!(shop().answer(name), found, "{name}");
        }
    }

    #[test]
    fn a_service_whose_long_name_is_no_name_is_called_by_its_alias() {
        let zone = zone(&"i".repeat(42), &[("a-service-with-a-long-name", [10, 201, 0, 1])]);
        assert_eq!(zone.answer("1.0.201.10.in-addr.arpa"), Found::Name("a-service-with-a-long-name".into()));
    }

    #[test]
    fn an_empty_landscape_has_no_names() {
        let zone = Zone::empty("4711", "10.201.0.0/16".parse().unwrap());
        assert_eq!(zone.answer("ws-server-4711-api"), Found::Missing);
        assert_eq!(zone.answer("api"), Found::Foreign);
        assert_eq!(zone.range(), "10.201.0.0/16".parse().unwrap());
    }

    proptest! {
        /// Whatever is asked, an address comes back for this landscape's three spellings alone, and what may
        /// be another landscape's name is never sent on.
        #[test]
        fn no_other_name_yields_an_address(
            id in "[a-c]([-a-c]{0,3}[a-c])?",
            services in proptest::collection::hash_set("[a-c]|[a-c][-a-c]{0,3}[a-c]", 0..5),
            name in r"(ws-server-)?[-a-c]{0,9}(\.workspaces)?|[-a-c.]{0,9}|\PC{0,9}(\.workspaces)?",
        ) {
            let zone = Zone::new(
                &id,
                services.iter().zip(1..).map(|(name, n)| (Arc::from(name.as_str()), [10, 201, 0, n].into())),
                "10.201.0.0/16".parse().unwrap(),
            );
            let mut own = Vec::new();
            for service in &services {
                own.push(service.clone());
                own.push(format!("ws-server-{id}-{service}"));
                own.push(format!("ws-server-{id}-{service}.workspaces"));
            }
            let found = zone.answer(&name);
            prop_assert_eq!(matches!(found, Found::Address(_)), own.contains(&name));
            if name.ends_with(".workspaces") || name.starts_with("ws-server-") && !name.contains('.') {
                prop_assert_ne!(found, Found::Foreign);
            }
        }
    }
}
