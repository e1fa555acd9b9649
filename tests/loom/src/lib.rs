//! Model checks: a request that takes a place, against whoever closes the replica's word.

#[path = "../../../src/lifecycle/word.rs"]
pub mod word;

#[cfg(test)]
mod tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::word::{LeaseWord, Released};

    /// What happened to a word, counted by the threads of a model.
    #[derive(Default)]
    struct Seen {
        in_use: AtomicUsize,
        told: AtomicUsize,
    }

    /// A request: takes a place if it can, uses the replica, gives the place back.
    fn request(word: &LeaseWord, seen: &Seen) {
        if word.acquire() {
            seen.in_use.fetch_add(1, Ordering::SeqCst);
            seen.in_use.fetch_sub(1, Ordering::SeqCst);
            if word.release() == Released::ClosedAndIdle {
                seen.told.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Every interleaving with at most three preemptions. All of them would take hours; a lost wake-up
    /// that an earlier version of the word had is found within milliseconds.
    fn model(body: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(body);
    }

    fn with_requests(count: usize, body: impl Fn(&LeaseWord, &Seen) + Sync + Send + 'static) {
        model(move || {
            let shared = Arc::new((LeaseWord::default(), Seen::default()));
            let requests = (0..count).map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || request(&shared.0, &shared.1))
            });
            let requests: Vec<_> = requests.collect();
            body(&shared.0, &shared.1);
            for request in requests {
                request.join().expect("no request panics");
            }
            assert_eq!(shared.0.in_flight(), 0, "every place is given back");
        });
    }

    #[test]
    fn closing_when_idle_never_meets_a_request() {
        with_requests(2, |word, seen| {
            if word.close_if_idle() {
                assert_eq!(seen.in_use.load(Ordering::SeqCst), 0, "closed with a request in flight");
                assert!(!word.acquire(), "a closed word gave a place");
            }
        });
    }

    #[test]
    fn a_forced_close_is_told_when_the_last_request_ends() {
        model(|| {
            let shared = Arc::new((LeaseWord::default(), Seen::default()));
            let requests = [(); 2].map(|()| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || request(&shared.0, &shared.1))
            });
            let left = shared.0.close_now();
            for request in requests {
                request.join().expect("no request panics");
            }
            let told = shared.1.told.load(Ordering::SeqCst);
            assert_eq!(told, usize::from(left > 0), "{left} in flight at the close, told {told} times");
        });
    }

    #[test]
    fn a_place_is_lost_to_no_one_while_the_word_is_open() {
        with_requests(2, |word, _| {
            assert!(word.acquire(), "an open word refused a place");
            assert!(!word.close_if_idle(), "closed under a request");
            word.release();
        });
    }
}
