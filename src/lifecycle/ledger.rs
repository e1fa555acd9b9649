//! Frozen replicas keep their memory; this keeps the sum of it under a bound.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::actor::Input;
use super::machine::Event;
use crate::landscape::ServiceKey;

/// See the module's words.
#[derive(Debug)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Debug)]
struct Book {
    /// Bytes.
    bound: u64,
    paused: HashMap<ServiceKey, Entry>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    bytes: u64,
    to: mpsc::UnboundedSender<Input>,
}

impl Ledger {
    /// `bound` is in bytes.
    pub fn new(bound: u64) -> Self {
        Self(Mutex::new(Book { bound, paused: HashMap::new() }))
    }

    /// Another bound, from now on.
    pub fn resize(&self, bound: u64) {
        let mut book = self.0.lock();
        book.bound = bound;
        book.enforce();
    }

    /// Notes since when a service is frozen and how much memory that holds, or that it is not.
    pub fn note(&self, key: &ServiceKey, paused: Option<(Instant, u64)>, to: &mpsc::UnboundedSender<Input>) {
        let mut book = self.0.lock();
        let known = match paused {
            Some((since, bytes)) => book.paused.insert(key.clone(), Entry { since, bytes, to: to.clone() }),
            None => book.paused.remove(key),
        };
        // Actors note with every event; what changed nothing needs no look at all the others.
        if known.map(|e| (e.since, e.bytes)) != paused {
            book.enforce();
        }
    }
}

impl Book {
    /// Over the bound, the longest frozen is ended; its own note of that brings the next one.
    fn enforce(&self) {
        let sum = self.paused.values().fold(0u64, |sum, e| sum.saturating_add(e.bytes));
        if sum > self.bound
            && let Some(oldest) = self.paused.values().min_by_key(|e| e.since)
        {
            // A failed send: it has ended, and its memory with it.
            drop(oldest.to.send(Input::Event(Event::StopPaused)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn over_the_bound_the_longest_frozen_is_ended_one_after_the_other() {
        let ledger = Ledger::new(200);
        let begin = Instant::now();
        let mut all: Vec<_> = (0..4u64)
            .map(|i| {
                let (to, from) = mpsc::unbounded_channel();
                (ServiceKey::new("4711", format!("s{i}")), begin - Duration::from_secs(i), to, from)
            })
            .collect();
        let told = |from: &mut mpsc::UnboundedReceiver<Input>| std::iter::from_fn(|| from.try_recv().ok()).count();
        for (key, since, to, _) in &all[..2] {
            ledger.note(key, Some((*since, 100)), to);
        }
        assert_eq!(all.iter_mut().map(|a| told(&mut a.3)).collect::<Vec<_>>(), [0, 0, 0, 0], "within the bound");
        for (key, since, to, _) in &all[2..] {
            ledger.note(key, Some((*since, 100)), to);
        }
        // The third is the oldest when it comes, the fourth when that does.
        assert_eq!(all.iter_mut().map(|a| told(&mut a.3)).collect::<Vec<_>>(), [0, 0, 1, 1]);
        ledger.note(&all[3].0, None, &all[3].2);
        assert_eq!(all.iter_mut().map(|a| told(&mut a.3)).collect::<Vec<_>>(), [0, 0, 1, 0]);
        ledger.note(&all[2].0, None, &all[2].2);
        ledger.note(&all[1].0, Some((all[1].1, 100)), &all[1].2);
        assert_eq!(all.iter_mut().map(|a| told(&mut a.3)).collect::<Vec<_>>(), [0, 0, 0, 0], "nothing changed");
        ledger.resize(150);
        assert_eq!(all.iter_mut().map(|a| told(&mut a.3)).collect::<Vec<_>>(), [0, 1, 0, 0]);
    }
}
