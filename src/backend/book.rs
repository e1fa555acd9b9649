//! What is kept of output whose writer is gone.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::LogLine;

/// Lines kept over all of one service's ended replicas, or of one landscape's jobs.
const BOOK: usize = 500;

/// The last lines of what has ended.
#[derive(Default)]
pub(super) struct Book(Mutex<VecDeque<LogLine>>);

impl Book {
    /// Adds lines; the oldest leave.
    pub(super) fn add(&self, lines: impl IntoIterator<Item = LogLine>) {
        let mut book = self.0.lock();
        for line in lines {
            if book.len() == BOOK {
                book.pop_front();
            }
            book.push_back(line);
        }
    }

    /// All lines that are kept.
    pub(super) fn lines(&self) -> Vec<LogLine> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn the_book_keeps_the_newest() {
        let book = Book::default();
        let line = |n: usize| LogLine {
            at: SystemTime::UNIX_EPOCH,
            source: "0".into(),
            step: None,
            stderr: false,
            text: n.to_string(),
        };
        book.add((0..BOOK + 5).map(line));
        let lines = book.lines();
        assert_eq!((lines.len(), lines[0].text.as_str()), (BOOK, "5"));
    }
}
