//! The numbers that the data path writes and a scrape reads: relaxed atomics, no lock, no allocation.
//!
//! Nothing orders one number against another; a scrape that runs beside a request may see the one
//! and not yet the other, and sees both the next time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The last time that something happened, in whole seconds.
#[derive(Debug, Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// It happened now, so long after the Unix epoch.
    pub fn set(&self, now: Duration) {
        // Reading first keeps the cache line shared while it happens often.
        if self.0.load(Ordering::Relaxed) != now.as_secs() {
            self.0.store(now.as_secs(), Ordering::Relaxed);
        }
    }

    /// When, after the Unix epoch; `None`: never.
    pub fn get(&self) -> Option<Duration> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            seconds => Some(Duration::from_secs(seconds)),
        }
    }
}

/// Durations by bucket. Each bucket counts its own; a scrape adds them up.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [Duration; N],
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    /// 64 bits of nanoseconds last for 584 years of waiting.
    sum_nanos: AtomicU64,
}

/// What a [`Histogram`] holds at one moment, as Prometheus asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Upper bound in seconds, and how many were at most as long. Without the bound of infinity.
    pub cumulative: Vec<(f64, u64)>,
    /// All of them.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

impl<const N: usize> Histogram<N> {
    /// Of buckets up to and including each of `bounds`, which ascend.
    pub fn new(bounds: &'static [Duration; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum_nanos: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn observe(&self, duration: Duration) {
        let bucket = self.bounds.iter().position(|b| duration <= *b).and_then(|i| self.buckets.get(i));
        bucket.unwrap_or(&self.beyond).fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn snapshot(&self) -> Snapshot {
        let mut count = 0;
        let cumulative = self
            .bounds
            .iter()
            .zip(&self.buckets)
            .map(|(bound, bucket)| {
                count += bucket.load(Ordering::Relaxed);
                (bound.as_secs_f64(), count)
            })
            .collect();
        count += self.beyond.load(Ordering::Relaxed);
        Snapshot { cumulative, count, sum: self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BOUNDS: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_to_infinity() {
        let h = Histogram::new(&BOUNDS);
        for ms in [1, 10, 11, 1000, 1001] {
            h.observe(Duration::from_millis(ms));
        }
        let s = h.snapshot();
        assert_eq!(s.cumulative, [(0.01, 2), (1.0, 4)]);
        assert_eq!(s.count, 5);
        assert!((s.sum - 2.023).abs() < 1e-9);
    }
}
