//! How much may be held over all services.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bounds and counts of held requests, shared by every gate of the router.
#[derive(Debug)]
pub struct GateBudget {
    max_requests: AtomicUsize,
    max_bytes: AtomicUsize,
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl GateBudget {
    /// Bounds in requests and in bytes of head and body.
    pub fn new(max_requests: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            max_requests: AtomicUsize::new(max_requests),
            max_bytes: AtomicUsize::new(max_bytes),
            requests: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        })
    }

    /// New bounds; what is held already stays.
    pub fn resize(&self, max_requests: usize, max_bytes: usize) {
        self.max_requests.store(max_requests, Relaxed);
        self.max_bytes.store(max_bytes, Relaxed);
    }

    /// Requests held now.
    pub fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// A place for one request, until it is dropped.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let place = Place { budget: self.clone(), bytes };
        // Counted first and looked at afterwards: two that arrive together may both be refused at the
        // bound, but never both pass it. Dropping the place undoes the count.
        let requests = self.requests.fetch_add(1, Relaxed) + 1;
        let bytes = self.bytes.fetch_add(bytes, Relaxed).saturating_add(bytes);
        (requests <= self.max_requests.load(Relaxed) && bytes <= self.max_bytes.load(Relaxed)).then_some(place)
    }
}

/// See [`GateBudget::take`].
#[derive(Debug)]
pub struct Place {
    budget: Arc<GateBudget>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budget.requests.fetch_sub(1, Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_a_place_gives_everything_back() {
        let budget = GateBudget::new(2, 100);
        let a = budget.take(60).unwrap();
        assert!(budget.take(60).is_none());
        let b = budget.take(40).unwrap();
        assert!(budget.take(0).is_none());
        drop((a, b));
        assert_eq!((budget.requests(), budget.bytes()), (0, 0));
    }
}
