//! Who has which address, where all callers come by one network and are told apart by nothing else.
//!
//! An address is somebody's for a while, and somebody else's later; what tells of both comes a little late.
//! So whoever is known here is known until it is told that it ended, or its time to end is over by our own
//! clock. An address that two claim is nobody's. What was not heard of for [`STALE`] is not believed any
//! longer. In doubt nobody is there: a refused caller tries again, one that is taken for another is a hole
//! between landscapes.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};

use crate::landscape::ServiceKey;
use crate::proxy::Callers;

/// Known so long after the last word from whoever tells. Long enough for a restart of an API server, in which
/// nobody gets a new address; and short enough where we alone have lost it, and addresses go from one to
/// another behind our back.
pub const STALE: Duration = Duration::from_secs(300);

/// How long a caller that nobody knows may wait to become known: its address is told with the next report
/// of its node, which is up to two seconds after its program began, and later on a busy one.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Callers that wait so at a time. They hold connections, and may be anybody's.
const WAITING: usize = 256;

/// One that calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// What nobody else ever is called: a pod's uid.
    pub uid: Arc<str>,
    /// Whose replica it is.
    pub service: ServiceKey,
    /// Its addresses, which nobody else has while it lives.
    pub addresses: Vec<IpAddr>,
    /// It ends, and is gone after so long at the latest.
    pub ends_within: Option<Duration>,
}

/// Who is known, on simulated time. Each one by the source that tells of it, such as one watch of a cluster.
#[derive(Debug, Default)]
pub struct Register {
    residents: HashMap<Arc<str>, Known>,
    by_address: HashMap<IpAddr, Vec<Arc<str>>>,
    /// Sources that cannot be heard, and since when.
    lost: HashMap<Arc<str>, Instant>,
}

#[derive(Debug)]
struct Known {
    resident: Resident,
    source: Arc<str>,
    until: Option<Instant>,
}

/// The source that stands for all of them.
pub const EVERY_SOURCE: &str = "*";

impl Register {
    /// Somebody came, or has changed.
    pub fn see(&mut self, source: &Arc<str>, resident: Resident, now: Instant) {
        let ends = resident.ends_within.map(|within| now + within);
        // The first word of its end counts: a later one would only begin its time anew.
        let until = self.residents.get(&resident.uid).and_then(|known| known.until).into_iter().chain(ends).min();
        self.forget(&resident.uid);
        for address in &resident.addresses {
            self.by_address.entry(address.to_canonical()).or_default().push(resident.uid.clone());
        }
        self.residents.insert(resident.uid.clone(), Known { resident, source: source.clone(), until });
    }

    /// It ended.
    pub fn forget(&mut self, uid: &str) {
        let Some(known) = self.residents.remove(uid) else { return };
        for address in &known.resident.addresses {
            let address = address.to_canonical();
            if let Some(claims) = self.by_address.get_mut(&address) {
                claims.retain(|claim| &**claim != uid);
                if claims.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
    }

    /// Those that a source tells of are these, and no others.
    pub fn replace(&mut self, source: &Arc<str>, all: Vec<Resident>, now: Instant) {
        let named: HashSet<&str> = all.iter().map(|resident| &*resident.uid).collect();
        let of_source = self.residents.iter().filter(|(_, known)| known.source == *source);
        let gone: Vec<Arc<str>> =
            of_source.filter(|(uid, _)| !named.contains(&***uid)).map(|(uid, _)| uid.clone()).collect();
        gone.iter().for_each(|uid| self.forget(uid));
        for resident in all {
            self.see(source, resident, now);
        }
    }

    /// Whether a source can be heard; from the moment it cannot, what it told of grows old.
    pub fn heard(&mut self, source: &str, heard: bool, now: Instant) {
        if heard {
            self.lost.remove(source);
        } else if !self.lost.contains_key(source) {
            self.lost.insert(source.into(), now);
        }
    }

    /// Whose the address is.
    pub fn at(&self, address: IpAddr, now: Instant) -> Option<&ServiceKey> {
        let claims = self.by_address.get(&address.to_canonical())?;
        let known = claims.iter().filter_map(|uid| self.residents.get(uid));
        let mut living = known.filter(|known| known.until.is_none_or(|until| now < until));
        match (living.next(), living.next()) {
            (Some(only), None) if !self.is_stale(&only.source, now) => Some(&only.resident.service),
            _ => None,
        }
    }

    fn is_stale(&self, source: &str, now: Instant) -> bool {
        let lost = [self.lost.get(source), self.lost.get(EVERY_SOURCE)];
        lost.into_iter().flatten().any(|since| now.saturating_duration_since(*since) >= STALE)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.residents.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.residents.is_empty()
    }
}

/// A [`Register`] that is told by one side and asked by the other.
#[derive(Debug)]
pub struct Residents {
    register: RwLock<Register>,
    changed: watch::Sender<()>,
    turns: Semaphore,
}

impl Default for Residents {
    fn default() -> Self {
        Self { register: RwLock::default(), changed: watch::Sender::new(()), turns: Semaphore::new(WAITING) }
    }
}

impl Residents {
    /// Tells it something.
    pub fn tell(&self, change: impl FnOnce(&mut Register, Instant)) {
        change(&mut self.register.write(), Instant::now());
        self.changed.send_replace(());
    }

    fn now_at(&self, address: IpAddr) -> Option<ServiceKey> {
        self.register.read().at(address, Instant::now()).cloned()
    }
}

#[async_trait]
impl Callers for Residents {
    async fn at(&self, address: IpAddr) -> Option<ServiceKey> {
        if let Some(known) = self.now_at(address) {
            return Some(known);
        }
        let _turn = self.turns.try_acquire().ok()?;
        let mut changes = self.changed.subscribe();
        let becomes_known = async {
            loop {
                if let Some(known) = self.now_at(address) {
                    return Some(known);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(PATIENCE, becomes_known).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn resident(uid: &str, landscape: &str, address: &str) -> Resident {
        let service = ServiceKey::new(landscape, "web");
        Resident { uid: uid.into(), service, addresses: vec![ip(address)], ends_within: None }
    }

    fn source() -> Arc<str> {
        "pods".into()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_address_is_its_residents_until_that_one_ends() {
        let (mut all, now) = (Register::default(), Instant::now());
        all.see(&source(), resident("1", "shop", "10.0.0.2"), now);
        assert_eq!(all.at(ip("10.0.0.2"), now), Some(&ServiceKey::new("shop", "web")));
        assert_eq!(all.at(ip("::ffff:10.0.0.2"), now), Some(&ServiceKey::new("shop", "web")));
        assert_eq!(all.at(ip("10.0.0.3"), now), None);
        all.see(&source(), resident("1", "shop", "10.0.0.3"), now);
        assert_eq!(all.at(ip("10.0.0.2"), now), None, "it has moved");
        all.forget("1");
        assert_eq!(all.at(ip("10.0.0.3"), now), None);
        assert!(all.is_empty() && all.by_address.is_empty());
    }

    #[test]
    fn an_address_that_two_claim_is_nobodys() {
        let (mut all, now) = (Register::default(), Instant::now());
        all.see(&source(), resident("1", "shop", "10.0.0.2"), now);
        all.see(&source(), resident("2", "other", "10.0.0.2"), now);
        assert_eq!(all.at(ip("10.0.0.2"), now), None);
        all.forget("1");
        assert_eq!(all.at(ip("10.0.0.2"), now), Some(&ServiceKey::new("other", "web")));
    }

    #[test]
    fn whoever_ends_is_known_until_its_time_is_over() {
        let (mut all, now) = (Register::default(), Instant::now());
        let ending = |within| Resident { ends_within: Some(seconds(within)), ..resident("1", "shop", "10.0.0.2") };
        all.see(&source(), resident("1", "shop", "10.0.0.2"), now);
        all.see(&source(), ending(30), now);
        // Told again, and even without it: the first word stays.
        all.see(&source(), ending(30), now + seconds(20));
        all.see(&source(), resident("1", "shop", "10.0.0.2"), now + seconds(21));
        assert!(all.at(ip("10.0.0.2"), now + seconds(29)).is_some());
        assert_eq!(all.at(ip("10.0.0.2"), now + seconds(30)), None);
        // What became of it was never told; its address has another one already.
        all.see(&source(), resident("2", "other", "10.0.0.2"), now + seconds(31));
        assert_eq!(all.at(ip("10.0.0.2"), now + seconds(31)), Some(&ServiceKey::new("other", "web")));
        all.see(&source(), ending(5), now + seconds(32));
        assert_eq!(all.at(ip("10.0.0.2"), now + seconds(32)), Some(&ServiceKey::new("other", "web")), "it had ended");
    }

    #[test]
    fn what_was_not_heard_of_for_long_is_not_believed() {
        let (mut all, now) = (Register::default(), Instant::now());
        all.see(&source(), resident("1", "shop", "10.0.0.2"), now);
        all.see(&"others".into(), resident("2", "shop", "10.0.0.3"), now);
        all.heard("pods", false, now);
        all.heard("pods", false, now + seconds(200));
        assert!(all.at(ip("10.0.0.2"), now + STALE - seconds(1)).is_some());
        assert_eq!(all.at(ip("10.0.0.2"), now + STALE), None);
        assert!(all.at(ip("10.0.0.3"), now + STALE).is_some());
        all.heard("pods", true, now + STALE);
        assert!(all.at(ip("10.0.0.2"), now + STALE).is_some());
        all.heard(EVERY_SOURCE, false, now);
        assert_eq!((all.at(ip("10.0.0.2"), now + STALE), all.at(ip("10.0.0.3"), now + STALE)), (None, None));
    }

    #[test]
    fn a_list_replaces_what_its_source_has_told() {
        let (mut all, now) = (Register::default(), Instant::now());
        all.see(&source(), resident("1", "shop", "10.0.0.1"), now);
        all.see(&source(), resident("2", "shop", "10.0.0.2"), now);
        all.see(&"others".into(), resident("3", "other", "10.0.0.3"), now);
        let list = vec![resident("2", "shop", "10.0.0.2"), resident("4", "more", "10.0.0.1")];
        all.replace(&source(), list, now);
        let known = |address| all.at(ip(address), now).map(|key| key.landscape.to_string());
        assert_eq!(known("10.0.0.1").as_deref(), Some("more"));
        assert_eq!(known("10.0.0.2").as_deref(), Some("shop"));
        assert_eq!(known("10.0.0.3").as_deref(), Some("other"));
        assert_eq!(all.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_becomes_known_in_time_is_let_in() {
        let all = Arc::new(Residents::default());
        let asking = tokio::spawn({
            let all = all.clone();
            async move { all.at(ip("10.0.0.2")).await }
        });
        tokio::time::sleep(PATIENCE / 2).await;
        all.tell(|register, now| register.see(&source(), resident("2", "shop", "10.0.0.9"), now));
        all.tell(|register, now| register.see(&source(), resident("1", "shop", "10.0.0.2"), now));
        assert_eq!(asking.await.unwrap(), Some(ServiceKey::new("shop", "web")));
        let began = tokio::time::Instant::now();
        assert_eq!(all.at(ip("10.0.0.3")).await, None);
        assert_eq!(began.elapsed().as_secs(), PATIENCE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_wait() {
        let all = Arc::new(Residents::default());
        let mut waiting: Vec<_> = (0..WAITING).map(|_| Box::pin(all.at(ip("10.0.0.2")))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let began = tokio::time::Instant::now();
        assert_eq!(all.at(ip("10.0.0.2")).await, None);
        assert_eq!(began.elapsed(), Duration::ZERO, "refused at once");
        drop(waiting.pop());
        all.tell(|register, now| register.see(&source(), resident("1", "shop", "10.0.0.2"), now));
        assert!(all.at(ip("10.0.0.2")).await.is_some());
    }
}
