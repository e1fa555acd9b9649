//! Follows a client's bytes from head to head, for what the HTTP engine does not tell.
//!
//! hyper frames a request that has both Transfer-Encoding and Content-Length by the former, drops
//! the latter and closes the connection after its answer, which RFC 9112, section 6.1 allows; but it
//! does not tell. A router refuses such a request, so the two names are looked for at the beginning of
//! lines in the raw bytes. Heads may be pipelined: to find the next one, bodies are stepped over as
//! they are framed. Nothing is judged here: what is malformed the engine refuses, and ends the
//! connection with it.
//!
//! It knows no version but 1.0 and 1.1 either. RFC 9110, section 2.5 has a higher minor version
//! processed as the highest that is known, so that digit becomes a 1 before the engine sees it.

mod chunked;
#[cfg(test)]
mod tests;

use chunked::Chunked;

/// See the module's words. Without memory of its own.
#[derive(Debug)]
pub(super) struct Scan {
    at: At,
    /// The current line of a head, as far as it came in earlier reads and can matter.
    line: [u8; LONGEST],
    len: u8,
    /// The request line of the current head has ended.
    begun: bool,
    /// How long the request line is, as far as it came.
    first: u32,
    /// A space is among its first bytes: behind a method, and not only more of it.
    spaced: bool,
    /// Its last bytes.
    tail: [u8; VERSION],
    /// The longest request line, and its `spaced`.
    longest: (u32, bool),
    /// The current head has a Transfer-Encoding.
    coding: bool,
    /// It has a Content-Length.
    length: bool,
    /// The number in that.
    body: Option<u64>,
    /// Heads that have ended.
    ended: u32,
    /// Heads that the engine has handed over.
    taken: u32,
    /// The first head with both framings.
    both: Option<u32>,
    /// The first head whose version is not known.
    version: Option<u32>,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum At {
    Head,
    /// A body of which so many bytes are to come.
    Sized(u64),
    Chunked(Chunked),
    /// Framing that the engine refuses.
    Lost,
}

const CODING: &[u8] = b"transfer-encoding:";
const LENGTH: &[u8] = b"content-length:";
/// Either of the names, with the longest number and its white space.
const LONGEST: usize = 40;
/// ` HTTP/1.1`. A target has no space, so that this can only be the version.
const VERSION: usize = 9;

impl Scan {
    pub(super) const fn new() -> Self {
        Self {
            at: At::Head,
            line: [0; LONGEST],
            len: 0,
            begun: false,
            first: 0,
            spaced: false,
            tail: [0; VERSION],
            longest: (0, false),
            coding: false,
            length: false,
            body: None,
            ended: 0,
            taken: 0,
            both: None,
            version: None,
        }
    }

    /// More bytes of the connection, on their way to the engine.
    pub(super) fn feed(&mut self, bytes: &mut [u8]) {
        let mut from = 0;
        while from < bytes.len() {
            let rest = &mut bytes[from..];
            from += match &mut self.at {
                At::Head => self.head(rest),
                At::Sized(left) => {
                    let n = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= n as u64;
                    if *left == 0 {
                        self.at = At::Head;
                    }
                    n
                }
                At::Chunked(chunked) => match chunked.step(rest) {
                    chunked::Step::More(n) => n,
                    chunked::Step::End(n) => {
                        self.at = At::Head;
                        n
                    }
                    chunked::Step::Lost => {
                        self.at = At::Lost;
                        return;
                    }
                },
                At::Lost => return,
            };
        }
    }

    /// A line of a head, or what there is of it; returns its length.
    fn head(&mut self, bytes: &mut [u8]) -> usize {
        let end = memchr::memchr(b'\n', bytes);
        let part = match end {
            Some(end) => &mut bytes[..end],
            None => bytes,
        };
        if !self.begun {
            self.request_line(part);
        }
        let n = part.len();
        if end.is_none() {
            self.keep(part);
            return n;
        }
        if self.len == 0 {
            self.end_line(part);
        } else {
            self.keep(part);
            let line = self.line;
            self.end_line(&line[..usize::from(self.len)]);
        }
        self.len = 0;
        n + 1
    }

    fn keep(&mut self, part: &[u8]) {
        let have = usize::from(self.len);
        let take = part.len().min(LONGEST - have);
        self.line[have..have + take].copy_from_slice(&part[..take]);
        // At most LONGEST, which is 40.
        self.len = (have + take) as u8;
    }

    fn request_line(&mut self, part: &mut [u8]) {
        let have = usize::from(self.len);
        self.first = self.first.saturating_add(u32::try_from(part.len()).unwrap_or(u32::MAX));
        self.spaced |= part[..part.len().min(LONGEST - have)].contains(&b' ');
        if self.first > self.longest.0 {
            self.longest = (self.first, self.spaced);
        }
        let n = part.len() - usize::from(part.ends_with(b"\r"));
        if n == 0 {
            return;
        }
        if n < VERSION {
            self.tail.rotate_left(n);
            self.tail[VERSION - n..].copy_from_slice(&part[..n]);
        } else {
            self.tail.copy_from_slice(&part[n - VERSION..n]);
        }
        if self.tail.starts_with(b" HTTP/1.") && matches!(self.tail[VERSION - 1], b'2'..=b'9') {
            self.tail[VERSION - 1] = b'1';
            part[n - 1] = b'1';
        }
        // The engine does not wait for the line's end with its judgement.
        if self.version.is_none_or(|head| head == self.ended) {
            let [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor] = self.tail else { return };
            let unknown = major.is_ascii_digit() && minor.is_ascii_digit() && major != b'1';
            self.version = unknown.then_some(self.ended);
        }
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !self.begun {
            // Empty lines before the request line are skipped (RFC 9112, 2.2); after it they end the head.
            self.begun = !line.is_empty();
            if !self.begun {
                self.first = 0;
            }
            return;
        }
        match line.first() {
            None => self.end_head(),
            Some(b't' | b'T') => self.coding |= starts(line, CODING),
            Some(b'c' | b'C') if starts(line, LENGTH) => {
                self.length = true;
                self.body = number(&line[LENGTH.len()..]);
            }
            _ => {}
        }
    }

    fn end_head(&mut self) {
        if self.coding && self.length && self.both.is_none() {
            self.both = Some(self.ended);
        }
        self.at = match (self.coding, self.length, self.body) {
            (true, ..) => At::Chunked(Chunked::new()),
            (_, false, _) | (_, _, Some(0)) => At::Head,
            (_, _, Some(n)) => At::Sized(n),
            (_, _, None) => At::Lost,
        };
        self.ended = self.ended.wrapping_add(1);
        (self.begun, self.first, self.spaced, self.tail) = (false, 0, false, [0; VERSION]);
        (self.coding, self.length, self.body) = (false, false, None);
    }

    /// The engine hands the next head over. Whether it has both framings.
    pub(super) fn take(&mut self) -> bool {
        let head = self.taken;
        self.taken = head.wrapping_add(1);
        self.both == Some(head)
    }

    /// Whether bytes of a head came that was not yet taken.
    pub(super) fn ahead(&self) -> bool {
        match self.at {
            At::Head => self.ended != self.taken || self.begun || self.len > 0,
            At::Sized(_) | At::Chunked(_) => self.ended != self.taken,
            At::Lost => false,
        }
    }

    /// Whether a request has begun, head or body, and its last byte has not come.
    pub(super) fn amid(&self) -> bool {
        match self.at {
            At::Head => self.begun || self.len > 0,
            At::Sized(_) | At::Chunked(_) => true,
            At::Lost => false,
        }
    }

    /// Whether the version of the next head is one that is not known.
    pub(super) fn unknown_version(&self) -> bool {
        self.version == Some(self.taken)
    }

    /// Whether a request line alone is longer than `limit`, and if so, whether its method ends.
    pub(super) fn long_line(&self, limit: usize) -> Option<bool> {
        (self.longest.0 as usize >= limit).then_some(self.longest.1)
    }
}

fn starts(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|l| l.eq_ignore_ascii_case(name))
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    // The engine takes no sign.
    let text = digits.first().filter(|b| b.is_ascii_digit()).and_then(|_| std::str::from_utf8(digits).ok())?;
    text.parse().ok()
}
