//! Where a chunked body ends (RFC 9112, 7.1), of those that the HTTP engine accepts.

/// What of a body comes next.
#[derive(Debug)]
pub(super) enum Chunked {
    /// A digit of a chunk's size, which is this so far.
    Size(u64),
    /// The rest of the line behind the size.
    Extension(u64),
    /// So many bytes of a chunk and of its line's end.
    Data(u64),
    /// A trailer's line, or the empty one that ends the body; whether something is on it.
    Trailer(bool),
}

/// What came of a step.
pub(super) enum Step {
    /// So many bytes are the body's.
    More(usize),
    /// With so many bytes it ends.
    End(usize),
    /// A number without bounds.
    Lost,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self::Size(0)
    }

    /// Takes some of `bytes`, which are not empty.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let line = || memchr::memchr(b'\n', bytes);
        match *self {
            Self::Size(size) => {
                let digit = bytes.first().and_then(|b| char::from(*b).to_digit(16));
                let Some(digit) = digit else {
                    *self = Self::Extension(size);
                    return Step::More(0);
                };
                let Some(size) = size.checked_mul(16) else { return Step::Lost };
                *self = Self::Size(size | u64::from(digit));
                Step::More(1)
            }
            Self::Extension(size) => {
                let Some(end) = line() else { return Step::More(bytes.len()) };
                *self = if size == 0 { Self::Trailer(false) } else { Self::Data(size.saturating_add(2)) };
                Step::More(end + 1)
            }
            Self::Data(left) => {
                let n = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - n as u64;
                *self = if left == 0 { Self::new() } else { Self::Data(left) };
                Step::More(n)
            }
            Self::Trailer(filled) => {
                let end = line();
                let filled = filled || bytes[..end.unwrap_or(bytes.len())].iter().any(|b| *b != b'\r');
                *self = Self::Trailer(filled && end.is_none());
                match end {
                    None => Step::More(bytes.len()),
                    Some(end) if filled => Step::More(end + 1),
                    Some(end) => Step::End(end + 1),
                }
            }
        }
    }
}
