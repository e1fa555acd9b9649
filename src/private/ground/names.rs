//! The names of what a router makes in the kernel: stable, so that the next one finds it again, and its
//! instance's own, so that two routers of a machine never touch each other's.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

/// What the names of all bridges of `instance` begin with: `lr` and five hexadecimal digits.
pub(super) fn bridge_prefix(instance: &str) -> String {
    format!("lr{:05x}", hash(&[instance]) >> 44)
}

/// The name of a landscape's bridge: 15 bytes, which is the most that an interface's name may have.
pub fn bridge_name(instance: &str, landscape: &str) -> String {
    format!("{}{:08x}", bridge_prefix(instance), hash(&[instance, landscape]) >> 32)
}

/// Whether a router, of whatever instance, may have made a bridge of this name.
pub(super) fn is_bridge_name(name: &str) -> bool {
    name.strip_prefix("lr").is_some_and(|rest| rest.len() == 13 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The name of an instance's table of filters. An identifier of nft's language is made of letters,
/// digits and underscores; an instance with anything else is told apart by its hash.
pub(super) fn table_name(instance: &str) -> String {
    let plain: String = instance.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if plain == instance {
        format!("landscape_router_{plain}")
    } else {
        format!("landscape_router_{plain}_{:08x}", hash(&[instance]) >> 32)
    }
}

/// The metric of an instance's local route. Routes that differ by it stand beside each other, so that
/// routers which share a range need not know of each other.
pub(super) fn route_metric(instance: &str) -> u32 {
    // Half of the numbers, to stay clear of 0, which means "none given".
    (hash(&[instance]) >> 33) as u32 | 1
}

/// A bridge's hardware address. Without one of its own a bridge takes that of one of its ports and
/// changes it as they come and go, and what replicas have learnt is wrong each time.
pub(super) fn bridge_hardware(name: &str) -> Vec<u8> {
    let hash = hash(&[name]).to_be_bytes();
    vec![0x02, hash[0], hash[1], hash[2], hash[3], hash[4]]
}

/// A replica's hardware address, by its address: whoever gets an address after another is reached at
/// once, whatever the machine has learnt about the one before.
pub(super) fn replica_hardware(address: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = address.octets();
    vec![0x06, 0x6c, a, b, c, d]
}

fn hash(parts: &[&str]) -> u64 {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let bytes = digest.finalize();
    bytes.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_name_is_stable_short_and_its_landscapes_own() {
        let name = bridge_name("b7effa5ffa8e", "4711");
        assert_eq!(name, bridge_name("b7effa5ffa8e", "4711"));
        assert_eq!(name.len(), 15);
        assert!(name.starts_with(&bridge_prefix("b7effa5ffa8e")));
        assert!(is_bridge_name(&name) && !is_bridge_name("lr-probe") && !is_bridge_name("docker0"));
        assert_ne!(name, bridge_name("b7effa5ffa8e", "4712"));
        assert_ne!(name, bridge_name("other", "4711"));
    }

    #[test]
    fn instances_that_read_alike_in_a_table_name_are_told_apart() {
        assert_eq!(table_name("ab12"), "landscape_router_ab12");
        assert_ne!(table_name("a-b"), table_name("a.b"));
        assert!(table_name("a-b\"; flush ruleset").bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    }
}
