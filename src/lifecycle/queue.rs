//! First in, first out, and out of the middle in constant time: the order of held requests.

/// A place in a [`Queue`]. Places are used again, so the sequence number tells an old ticket from a
/// new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    slot: u32,
    sequence: u64,
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<T> {
    item: Option<T>,
    sequence: u64,
    before: u32,
    after: u32,
}

/// A doubly linked list in one vector.
#[derive(Debug)]
pub struct Queue<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    first: u32,
    last: u32,
    sequence: u64,
    len: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), first: NONE, last: NONE, sequence: 0, len: 0 }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the last place.
    pub fn push(&mut self, item: T) -> Ticket {
        self.sequence += 1;
        let slot = Slot { item: Some(item), sequence: self.sequence, before: self.last, after: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        match self.last {
            NONE => self.first = at,
            last => self.slots[last as usize].after = at,
        }
        self.last = at;
        self.len += 1;
        Ticket { slot: at, sequence: self.sequence }
    }

    /// Takes the first one out.
    pub fn pop(&mut self) -> Option<T> {
        (self.first != NONE).then(|| self.unlink(self.first)).flatten()
    }

    /// Takes that one out, if it still waits.
    pub fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let slot = self.slots.get(ticket.slot as usize)?;
        if slot.sequence != ticket.sequence || slot.item.is_none() {
            return None;
        }
        self.unlink(ticket.slot)
    }

    fn unlink(&mut self, at: u32) -> Option<T> {
        let slot = &mut self.slots[at as usize];
        let item = slot.item.take();
        let (before, after) = (slot.before, slot.after);
        match before {
            NONE => self.first = after,
            before => self.slots[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.slots[after as usize].before = before,
        }
        self.free.push(at);
        self.len -= 1;
        if self.len == 0 {
            // What a burst needed is given back when it is over.
            *self = Self { sequence: self.sequence, ..Self::default() };
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_as_a_plain_list(ops in proptest::collection::vec((0u8..4, any::<usize>()), 0..300)) {
            let mut queue = Queue::default();
            let mut model: Vec<(Ticket, usize)> = Vec::new();
            let mut gone = Vec::new();
            for (op, n) in ops {
                match op {
                    0 | 1 => model.push((queue.push(n), n)),
                    2 => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        gone.extend(expected.map(|(t, _)| t));
                        prop_assert_eq!(queue.pop(), expected.map(|(_, n)| n));
                    }
                    _ if !model.is_empty() => {
                        let (ticket, value) = model.remove(n % model.len());
                        prop_assert_eq!(queue.remove(ticket), Some(value));
                        gone.push(ticket);
                    }
                    _ => {}
                }
                prop_assert_eq!(queue.len(), model.len());
                for ticket in &gone {
                    prop_assert_eq!(queue.remove(*ticket), None);
                }
            }
        }
    }
}
