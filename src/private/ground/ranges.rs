//! Which addresses are free on this machine.

use std::io;

use ipnet::Ipv4Net;

use super::links::names_of;
use super::survey::Lack;
use super::wire::Wire;

/// Addresses that this machine uses already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The network.
    pub net: Ipv4Net,
    /// By what, for people.
    pub by: String,
}

/// The first of `candidates` that overlaps none of `taken`.
pub fn pick_range(candidates: &[Ipv4Net], taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    candidates.iter().find(|candidate| !taken.iter().any(|net| overlap(**candidate, *net))).copied()
}

/// What this machine uses, the interfaces whose names begin with `ours` and what routers made local aside.
pub(super) fn taken(wire: &mut Wire, ours: &str) -> io::Result<Vec<Taken>> {
    let links = wire.links()?;
    let names = names_of(&links);
    let name = |index: Option<u32>| index.and_then(|index| names.get(&index)).copied().unwrap_or("no interface");
    let mut all = Vec::new();
    for (index, address) in wire.addresses()? {
        let name = name(Some(index));
        if !name.starts_with(ours) {
            all.push(Taken { net: address, by: format!("the address {address} of the interface {name}") });
        }
    }
    for (net, interface, made_local) in wire.routes()? {
        let name = name(interface);
        if !made_local && !name.starts_with(ours) {
            all.push(Taken { net, by: format!("the route to {net} by {name}") });
        }
    }
    Ok(all)
}

/// Whether all of `wanted` are free and apart from each other.
pub(super) fn check(wanted: &[Ipv4Net], taken: &[Taken]) -> Result<(), Lack> {
    for (place, net) in wanted.iter().enumerate() {
        if let Some(other) = wanted.iter().skip(place + 1).find(|other| overlap(*net, **other)) {
            return Err(Lack::new(
                format!("the private ranges {net} and {other} overlap"),
                "choose ranges that have no address in common",
            ));
        }
        if let Some(other) = taken.iter().find(|other| overlap(*net, other.net)) {
            return Err(Lack::new(
                format!("the private range {net} overlaps {}", other.by),
                "choose a range that this machine does not use",
            ));
        }
    }
    Ok(())
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_range_that_nobody_uses_is_picked() {
        let candidates = [net("10.212.0.0/16"), net("10.213.0.0/16"), net("172.29.0.0/16")];
        assert_eq!(pick_range(&candidates, &[net("10.212.7.1/32")]), Some(candidates[1]));
        assert_eq!(pick_range(&candidates, &[net("10.0.0.0/8")]), Some(candidates[2]));
        assert_eq!(pick_range(&candidates, &[net("0.0.0.0/1"), net("128.0.0.0/1")]), None);
        assert_eq!(pick_range(&candidates, &[]), Some(candidates[0]));
    }

    #[test]
    fn a_collision_names_what_it_collides_with() {
        let taken = [Taken { net: net("10.0.0.0/8"), by: "the route to 10.0.0.0/8 by tun0".to_owned() }];
        let lack = check(&[net("10.212.0.0/16")], &taken).unwrap_err();
        assert!(lack.to_string().contains("10.212.0.0/16 overlaps the route to 10.0.0.0/8 by tun0"), "{lack}");
        assert!(check(&[net("172.29.0.0/16")], &taken).is_ok());
    }

    #[test]
    fn private_ranges_that_overlap_each_other_are_refused() {
        let lack = check(&[net("10.212.0.0/16"), net("10.212.4.0/24")], &[]).unwrap_err();
        assert!(lack.to_string().contains("overlap"), "{lack}");
    }
}
