//! Which addresses are free on this machine.

use std::io;

use ipnet::{IpNet, Ipv4Net};

use super::links::names_of;
use super::names::is_bridge_name;
use super::survey::Lack;
use super::wire::Wire;

/// Addresses that this machine uses already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The network.
    pub net: Ipv4Net,
    /// By what, for people.
    pub by: String,
    /// By a bridge of another router: of a range that both cut from, a piece.
    pub piece: bool,
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
            let by = format!("the address {address} of the interface {name}");
            all.push(Taken { net: address.trunc(), by, piece: is_bridge_name(name) });
        }
    }
    for (net, interface, made_local) in wire.routes()? {
        let name = name(interface);
        if !made_local && !name.starts_with(ours) {
            let by = format!("the route to {net} by {name}");
            all.push(Taken { net, by, piece: is_bridge_name(name) });
        }
    }
    Ok(all)
}

/// Whether all ranges are free and apart from each other. `whole` ones have to be free throughout, of those to
/// `cut` from other routers may have pieces.
pub(super) fn check(whole: &[Ipv4Net], cut: &[Ipv4Net], taken: &[Taken]) -> Result<(), Lack> {
    let wanted: Vec<(Ipv4Net, bool)> =
        whole.iter().map(|net| (*net, true)).chain(cut.iter().map(|net| (*net, false))).collect();
    for (place, (net, whole)) in wanted.iter().enumerate() {
        if let Some((other, _)) = wanted.iter().skip(place + 1).find(|(other, _)| overlap(*net, *other)) {
            return Err(Lack::new(
                format!("the private ranges {net} and {other} overlap"),
                "choose ranges that have no address in common",
            ));
        }
        if let Some(other) = taken.iter().find(|other| (*whole || !other.piece) && overlap(*net, other.net)) {
            return Err(Lack::new(
                format!("the private range {net} overlaps {}", other.by),
                "choose a range that this machine does not use",
            ));
        }
    }
    Ok(())
}

/// Whether these networks have an address in common.
pub fn overlap(one: impl Into<IpNet>, other: impl Into<IpNet>) -> bool {
    let (one, other) = (one.into(), other.into());
    one.contains(&other) || other.contains(&one)
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
        let by = "the route to 10.0.0.0/8 by tun0".to_owned();
        let mut taken = [Taken { net: net("10.0.0.0/8"), by, piece: false }];
        let lack = check(&[], &[net("10.212.0.0/16")], &taken).unwrap_err();
        assert!(lack.to_string().contains("10.212.0.0/16 overlaps the route to 10.0.0.0/8 by tun0"), "{lack}");
        assert!(check(&[net("172.29.0.0/16")], &[], &taken).is_ok());
        taken[0].piece = true;
        assert!(check(&[], &[net("10.212.0.0/16")], &taken).is_ok(), "pieces of what is left can be had");
        assert!(check(&[net("10.212.0.0/16")], &[], &taken).is_err());
    }

    #[test]
    fn private_ranges_that_overlap_each_other_are_refused() {
        let lack = check(&[net("10.212.0.0/16")], &[net("10.212.4.0/24")], &[]).unwrap_err();
        assert!(lack.to_string().contains("overlap"), "{lack}");
    }
}
