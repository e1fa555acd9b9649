//! What upstream resolvers said lately, for as long as they said it holds. Whole responses, with their
//! times to live lowered by their age. No clock of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::wire::{self, kind, rcode};

/// How many responses are kept, and how large one may be: 2 MiB in all.
const ENTRIES: usize = 512;
const MAX_RESPONSE: usize = 4096;

/// The longest that a response is believed, whatever it says, and the longest that "there is none" is: a
/// mistake that was mended upstream must not last here.
const MAX_LIFETIME: u32 = 300;
const MAX_NEGATIVE_LIFETIME: u32 = 30;

/// The question, with all that changes its answer: the flags, the name in lower case, type, class and EDNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The key of `query`, `None` if it has not exactly one question.
    pub fn of(query: &[u8]) -> Option<Self> {
        let question = wire::question(query)?.len();
        let mut key: Box<[u8]> = query[2..].into();
        // Lengths of labels are below 64 and so no letters; type and class are not touched.
        key[wire::HEADER - 2..wire::HEADER - 2 + question - 4].make_ascii_lowercase();
        Some(Self(key))
    }
}

#[derive(Debug)]
struct Entry {
    response: Box<[u8]>,
    /// Where the times to live are.
    ttls: Box<[usize]>,
    stored: Instant,
    lifetime: Duration,
}

impl Entry {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stored) < self.lifetime
    }
}

/// Responses by question.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
}

impl Cache {
    /// The response kept for `key`, older by its age.
    pub fn get(&self, key: &Key, now: Instant) -> Option<Vec<u8>> {
        let entry = self.entries.get(key).filter(|entry| entry.is_fresh(now))?;
        let age = u32::try_from(now.saturating_duration_since(entry.stored).as_secs()).ok()?;
        let mut response = entry.response.to_vec();
        for at in &entry.ttls {
            let ttl = wire::u32_at(&response, *at)?.saturating_sub(age);
            response.get_mut(*at..at + 4)?.copy_from_slice(&ttl.to_be_bytes());
        }
        Some(response)
    }

    /// Keeps `response`, if it says for how long it holds.
    pub fn put(&mut self, key: Key, response: &[u8], now: Instant) {
        let Some((lifetime, ttls)) = lifetime(response) else { return };
        if self.entries.len() >= ENTRIES {
            self.entries.retain(|_, entry| entry.is_fresh(now));
        }
        if self.entries.len() >= ENTRIES
            && let Some(any) = self.entries.keys().next().cloned()
        {
            self.entries.remove(&any);
        }
        self.entries.insert(key, Entry { response: response.into(), ttls, stored: now, lifetime });
    }
}

/// How long `response` may be kept, and where its times to live are. `None`: not at all.
///
/// Only what is whole and certain: an answer, or "there is none" with the SOA that says for how long
/// (RFC 2308, section 5).
fn lifetime(response: &[u8]) -> Option<(Duration, Box<[usize]>)> {
    let code = wire::response_code(response);
    if response.len() > MAX_RESPONSE
        || wire::is_truncated(response)
        || !matches!(code, rcode::NO_ERROR | rcode::NO_SUCH_NAME)
    {
        return None;
    }
    let negative = code == rcode::NO_SUCH_NAME || wire::answers(response) == 0;
    let mut seconds = if negative { MAX_NEGATIVE_LIFETIME } else { MAX_LIFETIME };
    let mut ttls = Vec::new();
    let mut authority = None;
    for record in wire::records(response)? {
        match record.kind {
            // What stands in its place of a time to live are flags.
            kind::OPT => continue,
            kind::TSIG | kind::SIG => return None,
            kind::SOA => authority = wire::u32_at(record.data, record.data.len().checked_sub(4)?),
            _ => {}
        }
        // RFC 2181, section 8: with the highest bit set it is taken for zero.
        seconds = seconds.min(if record.ttl > i32::MAX as u32 { 0 } else { record.ttl });
        ttls.push(record.ttl_at);
    }
    if negative {
        seconds = seconds.min(authority?);
    }
    (seconds > 0).then(|| (Duration::from_secs(seconds.into()), ttls.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &[u8]) -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
        query.extend_from_slice(name);
        query.extend_from_slice(b"\x00\x00\x01\x00\x01");
        query
    }

    fn key(name: &[u8]) -> Key {
        Key::of(&query(name)).unwrap()
    }

    fn answer(ttl: u32) -> Vec<u8> {
        let mut response = query(b"www");
        response[2] |= 0x80;
        response[7] = 1;
        response.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01");
        response.extend_from_slice(&ttl.to_be_bytes());
        response.extend_from_slice(b"\x00\x04\x01\x02\x03\x04");
        response
    }

    fn none(code: u8, ttl: u32, minimum: u32) -> Vec<u8> {
        let mut response = query(b"www");
        response[2] |= 0x80;
        response[3] = code;
        response[9] = 1;
        response.extend_from_slice(b"\x00\x00\x06\x00\x01");
        response.extend_from_slice(&ttl.to_be_bytes());
        response.extend_from_slice(&[0, 22, 0, 0]);
        for number in [1, 1, 1, 1, minimum] {
            response.extend_from_slice(&number.to_be_bytes());
        }
        response
    }

    fn lives(response: &[u8]) -> Option<u64> {
        lifetime(response).map(|(lifetime, _)| lifetime.as_secs())
    }

    #[test]
    fn an_answer_ages_and_ends_with_its_time_to_live() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.put(key(b"www"), &answer(10), start);
        assert_eq!(cache.get(&key(b"www"), start), Some(answer(10)));
        assert_eq!(cache.get(&key(b"www"), start + Duration::from_millis(3900)), Some(answer(7)));
        assert_eq!(cache.get(&key(b"www"), start + Duration::from_secs(10)), None);
    }

    #[test]
    fn questions_are_alike_in_any_case_and_id_and_differ_by_flags() {
        let mut other = query(b"wWw");
        other[0] = 1;
        assert_eq!(Key::of(&other), Some(key(b"www")));
        other[2] = 0;
        assert_ne!(Key::of(&other), Some(key(b"www")));
        assert_ne!(key(b"www"), key(b"wwx"));
    }

    #[test]
    fn lifetimes_are_what_the_response_says_within_bounds() {
        assert_eq!(lives(&answer(20)), Some(20));
        assert_eq!(lives(&answer(86_400)), Some(300));
        assert_eq!(lives(&answer(0)), None);
        assert_eq!(lives(&answer(u32::MAX)), None);
        assert_eq!(lives(&none(rcode::NO_SUCH_NAME, 20, 10)), Some(10));
        assert_eq!(lives(&none(rcode::NO_ERROR, 5, 10)), Some(5));
        assert_eq!(lives(&none(rcode::NO_ERROR, 900, 900)), Some(30));
        assert_eq!(lives(&none(rcode::SERVER_FAILURE, 20, 10)), None);
    }

    #[test]
    fn what_is_cut_short_or_says_no_lifetime_is_not_kept() {
        let mut truncated = answer(20);
        truncated[2] |= 2;
        assert_eq!(lives(&truncated), None);
        let mut bare = query(b"www");
        bare[3] = rcode::NO_SUCH_NAME;
        assert_eq!(lives(&bare), None);
        assert_eq!(lives(&answer(20)[..30]), None);
    }

    #[test]
    fn it_never_holds_more_than_its_bound() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for n in 0..2 * ENTRIES {
            cache.put(key(n.to_string().as_bytes()), &answer(20), now);
            assert!(cache.entries.len() <= ENTRIES);
        }
        let last = (2 * ENTRIES - 1).to_string();
        assert!(cache.get(&key(last.as_bytes()), now).is_some());
    }
}
