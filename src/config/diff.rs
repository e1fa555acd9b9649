//! What differs between two versions of the configuration, for the log.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::settings::{Policy, Settings};
use crate::landscape::{ServiceKey, ServiceSpec};

/// See the module's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Services that are new.
    pub added: Vec<ServiceKey>,
    /// Services that are no more.
    pub removed: Vec<ServiceKey>,
    /// Services whose replicas have to be replaced.
    pub rolled: Vec<ServiceKey>,
    /// Services whose routes, replica count or policy alone differ.
    pub adjusted: Vec<ServiceKey>,
    /// Listeners that are new.
    pub opened: Vec<SocketAddr>,
    /// Listeners that are no more.
    pub closed: Vec<SocketAddr>,
}

impl Changes {
    /// What leads from `old` to `new`.
    pub fn between(old: &Settings, new: &Settings) -> Self {
        let (before, after) = (services(old), services(new));
        let mut changes = Self::default();
        for (key, (spec, policy)) in &after {
            match before.get(key) {
                None => changes.added.push((*key).clone()),
                Some((was, _)) if was.run_digest() != spec.run_digest() => changes.rolled.push((*key).clone()),
                Some((was, by)) if was != spec || by != policy => changes.adjusted.push((*key).clone()),
                Some(_) => {}
            }
        }
        changes.removed = before.keys().filter(|k| !after.contains_key(*k)).map(|k| (*k).clone()).collect();
        let (was, is) = (&old.listen.http, &new.listen.http);
        changes.opened = is.iter().filter(|a| !was.contains(a)).copied().collect();
        changes.closed = was.iter().filter(|a| !is.contains(a)).copied().collect();
        changes
    }
}

fn services(settings: &Settings) -> BTreeMap<&ServiceKey, (&Arc<ServiceSpec>, Option<&Arc<Policy>>)> {
    let mut all = BTreeMap::new();
    for landscape in &settings.landscapes {
        let Ok(spec) = &landscape.spec else { continue };
        for service in spec.services.values() {
            let policy = landscape.policies.iter().find(|(key, _)| *key == service.key).map(|(_, p)| p);
            all.insert(&service.key, (service, policy));
        }
    }
    all
}

impl Changes {
    /// A line for each kind of change that there is.
    pub fn lines(&self) -> Vec<String> {
        let names = |keys: &[ServiceKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        let addresses = |all: &[SocketAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let kinds = [
            ("added", names(&self.added)),
            ("removed", names(&self.removed)),
            ("rolling", names(&self.rolled)),
            ("adjusted", names(&self.adjusted)),
            ("listening on", addresses(&self.opened)),
            ("no longer listening on", addresses(&self.closed)),
        ];
        kinds.into_iter().filter(|(_, items)| !items.is_empty()).map(|(what, items)| line(what, &items)).collect()
    }
}

/// A line for people, not a list of a thousand services.
fn line(what: &str, items: &[String]) -> String {
    let (shown, more) = (items.len().min(5), items.len().saturating_sub(5));
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{what} {}{more}", items[..shown].join(", "))
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        f.write_str(if lines.is_empty() { "no service or listener changed" } else { "" })?;
        f.write_str(&lines.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_line() {
        let key = |n: usize| ServiceKey::new("shop", format!("s{n}"));
        let changes = Changes {
            added: (0..7).map(key).collect(),
            rolled: vec![key(9)],
            opened: vec!["127.0.0.1:80".parse().unwrap()],
            ..Changes::default()
        };
        assert_eq!(
            changes.to_string(),
            "added shop/s0, shop/s1, shop/s2, shop/s3, shop/s4 and 2 more; rolling shop/s9; listening on 127.0.0.1:80"
        );
        assert_eq!(Changes::default().to_string(), "no service or listener changed");
    }
}
