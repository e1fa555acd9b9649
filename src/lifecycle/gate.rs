//! The order in which held requests get their replicas: first come, first served, and not so many
//! at a time that a replica which has just opened its eyes is flooded.
//!
//! This is the bookkeeping alone: what waits (`W`) and what it is given are the caller's. The caller
//! keeps a [`Gate`] under one lock, and these two rules under it make a lost wake-up impossible:
//!
//! * who finds nothing ready looks at the ready set once more *under the lock* before it joins;
//! * who publishes a ready set stores it first and then calls [`Gate::pop`] *under the lock*.
//!
//! Whichever of the two takes the lock first, the other sees its work: either the publisher finds the
//! waiter in the queue, or the waiter finds the published set.

use smallvec::SmallVec;

use super::queue::{Queue, Ticket};

/// Requests of one replica that were released by the gate and are not answered yet.
#[derive(Clone, Copy, Debug)]
struct Paced {
    uid: u64,
    window: u32,
    count: usize,
}

/// See the module's words.
#[derive(Debug)]
pub struct Gate<W> {
    queue: Queue<(W, usize)>,
    bytes: usize,
    paced: SmallVec<[Paced; 4]>,
    window: u32,
}

impl<W> Default for Gate<W> {
    fn default() -> Self {
        Self { queue: Queue::default(), bytes: 0, paced: SmallVec::new(), window: 1 }
    }
}

impl<W> Gate<W> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that are buffered for those that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the last place.
    pub fn join(&mut self, waiter: W, bytes: usize) -> Ticket {
        self.bytes += bytes;
        self.queue.push((waiter, bytes))
    }

    /// Leaves, if it still waits.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        let (waiter, bytes) = self.queue.remove(ticket)?;
        self.bytes -= bytes;
        Some(waiter)
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<W> {
        let (waiter, bytes) = self.queue.pop()?;
        self.bytes -= bytes;
        Some(waiter)
    }

    /// Whether `release` allows one more request to this replica.
    pub fn has_room(&self, uid: u64, release: usize) -> bool {
        self.paced.iter().find(|p| p.uid == uid && p.window == self.window).is_none_or(|p| p.count < release)
    }

    /// One more was released to this replica; what is returned has to come back to [`Gate::answered`].
    pub fn released(&mut self, uid: u64) -> u32 {
        let window = self.window;
        match self.paced.iter_mut().find(|p| p.uid == uid) {
            Some(p) if p.window == window => p.count += 1,
            Some(p) => *p = Paced { uid, window, count: 1 },
            None => {
                self.paced.retain(|p| p.window == window && p.count > 0);
                self.paced.push(Paced { uid, window, count: 1 });
            }
        }
        window
    }

    /// One that was released in `window` got its answer's head, or ended without.
    pub fn answered(&mut self, uid: u64, window: u32) {
        if let Some(p) = self.paced.iter_mut().find(|p| p.uid == uid && p.window == window) {
            p.count = p.count.saturating_sub(1);
        }
    }

    /// Forgets who has not been answered: a replica whose answers take long (long polls) gets another
    /// batch rather than none for ever.
    pub fn renew(&mut self) {
        self.window = self.window.wrapping_add(1).max(1);
        self.paced.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_gets_so_many_at_a_time_and_the_next_when_one_is_answered() {
        let mut gate = Gate::<()>::default();
        let window = gate.released(7);
        gate.released(7);
        assert!(!gate.has_room(7, 2));
        assert!(gate.has_room(8, 2));
        gate.answered(7, window);
        assert!(gate.has_room(7, 2));
    }

    #[test]
    fn a_new_window_has_room_again_and_late_answers_of_the_old_one_do_not_count() {
        let mut gate = Gate::<()>::default();
        let old = gate.released(7);
        gate.renew();
        assert!(gate.has_room(7, 1));
        gate.released(7);
        gate.answered(7, old);
        assert!(!gate.has_room(7, 1));
    }

    #[test]
    fn bytes_are_counted_in_and_out() {
        let mut gate = Gate::default();
        let a = gate.join('a', 10);
        gate.join('b', 5);
        assert_eq!((gate.len(), gate.bytes()), (2, 15));
        assert_eq!(gate.leave(a), Some('a'));
        assert_eq!(gate.leave(a), None);
        assert_eq!(gate.pop(), Some('b'));
        assert_eq!((gate.len(), gate.bytes()), (0, 0));
    }
}
