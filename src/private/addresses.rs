//! Which virtual address a service has: stable over reloads and restarts, unique in the router.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::ground::{self, Lack};
use crate::config::settings::PrivateSettings;
use crate::landscape::ServiceKey;

/// Where virtual addresses come from unless the configuration says otherwise: the first that is free.
const USUAL: [&str; 4] = ["10.212.0.0/16", "172.29.0.0/16", "192.168.192.0/20", "198.18.0.0/16"];

/// The virtual addresses of services, kept as a file in `state`.
#[derive(Debug)]
pub struct Book {
    range: Ipv4Net,
    file: PathBuf,
    of: HashMap<ServiceKey, Ipv4Addr>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    range: Ipv4Net,
    addresses: BTreeMap<String, Ipv4Addr>,
}

impl Book {
    /// The book of this state folder. A range other than last time makes all addresses anew; so does a
    /// file that cannot be read, which is told in the log.
    pub fn open(state: &Path, range: Ipv4Net) -> Self {
        let file = state.join("addresses.json");
        let kept = match read(&file) {
            Ok(kept) if kept.range == range => kept.addresses,
            Ok(_) => BTreeMap::new(),
            Err(e) => {
                if e.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{}: {e}; services get new virtual addresses", file.display());
                }
                BTreeMap::new()
            }
        };
        let of = kept.into_iter().filter_map(|(name, address)| Some((key(&name)?, address))).collect();
        Self { range, file, of }
    }

    /// Where its addresses are from.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// Gives each of these services its address, the same as before where it had one, and forgets the
    /// others. A service gets none only if the range is used up.
    pub fn assign<'k>(&mut self, services: impl IntoIterator<Item = &'k ServiceKey>) -> HashMap<ServiceKey, Ipv4Addr> {
        let wanted: Vec<&ServiceKey> = services.into_iter().collect();
        let mut next: HashMap<ServiceKey, Ipv4Addr> = HashMap::with_capacity(wanted.len());
        let mut taken = HashSet::new();
        for key in &wanted {
            if let Some(&address) = self.of.get(*key)
                && taken.insert(address)
            {
                next.insert((*key).clone(), address);
            }
        }
        for key in &wanted {
            if !next.contains_key(*key)
                && let Some(address) = free(self.range, key, &taken)
            {
                taken.insert(address);
                next.insert((*key).clone(), address);
            }
        }
        if next != self.of {
            self.of.clone_from(&next);
            if let Err(e) = self.keep() {
                tracing::warn!("{}: {e}; virtual addresses may change at the next start", self.file.display());
            }
        }
        next
    }

    fn keep(&self) -> io::Result<()> {
        let addresses = self.of.iter().map(|(k, a)| (k.to_string(), *a)).collect();
        let text = serde_json::to_vec_pretty(&Kept { range: self.range, addresses })?;
        let fresh = self.file.with_extension("fresh");
        std::fs::write(&fresh, text)?;
        std::fs::rename(fresh, &self.file)
    }
}

fn read(file: &Path) -> io::Result<Kept> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

fn key(text: &str) -> Option<ServiceKey> {
    let (landscape, service) = text.split_once('/')?;
    Some(ServiceKey::new(landscape, service))
}

/// A free host address: where the name's hash leads, else the next one. So a lost file gives most
/// services the address they had.
fn free(range: Ipv4Net, key: &ServiceKey, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    // Neither the network's own address nor its broadcast address.
    let count = (1u64 << (32 - range.prefix_len())).checked_sub(2).filter(|n| *n > 0)?;
    let first = u64::from(u32::from(range.network())) + 1;
    let start = hash(&key.to_string()) % count;
    (0..count)
        .map(|i| Ipv4Addr::from(u32::try_from(first + (start + i) % count).unwrap_or(u32::MAX)))
        .find(|address| !taken.contains(address))
}

/// FNV-1a, 64 bit (draft-eastlake-fnv): the same in every build.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// The first of the usual ranges that nothing on this machine uses, and nothing else of the configuration.
pub fn usual_range(instance: &str, settings: &PrivateSettings) -> Result<Ipv4Net, Lack> {
    let mut taken: Vec<Ipv4Net> =
        ground::taken(instance).map(|all| all.into_iter().map(|t| t.net).collect()).unwrap_or_default();
    taken.extend(settings.subnets.iter().chain(&settings.docker));
    let candidates: Vec<Ipv4Net> = USUAL.iter().filter_map(|net| net.parse().ok()).collect();
    ground::pick_range(&candidates, &taken).ok_or_else(|| {
        let what = "none of the usual ranges for virtual addresses is free here";
        Lack::new(what, "set `private.addresses` to one that is")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<ServiceKey> {
        names.iter().map(|n| key(n).unwrap()).collect()
    }

    #[test]
    fn addresses_stay_over_changes_and_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let range: Ipv4Net = "10.0.0.0/24".parse().unwrap();
        let mut book = Book::open(dir.path(), range);
        let before = book.assign(&keys(&["a/web", "a/api", "b/web"]));
        assert_eq!(before.values().collect::<HashSet<_>>().len(), 3);
        assert!(before.values().all(|a| range.contains(a)));
        let after = Book::open(dir.path(), range).assign(&keys(&["a/new", "b/web", "a/web"]));
        for same in keys(&["a/web", "b/web"]) {
            assert_eq!(before[&same], after[&same]);
        }
    }

    #[test]
    fn a_full_range_leaves_the_rest_without_and_another_range_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::open(dir.path(), "10.0.0.0/30".parse().unwrap());
        assert_eq!(book.assign(&keys(&["a/a", "a/b", "a/c"])).len(), 2);
        let mut other = Book::open(dir.path(), "10.9.0.0/24".parse().unwrap());
        assert!(other.assign(&keys(&["a/a"])).values().all(|a| a.octets()[1] == 9));
    }

    #[test]
    fn a_broken_file_is_no_reason_not_to_start() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("addresses.json"), "{").unwrap();
        assert_eq!(Book::open(dir.path(), "10.0.0.0/24".parse().unwrap()).assign(&keys(&["a/a"])).len(), 1);
    }
}
