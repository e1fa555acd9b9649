//! Finds the two framings side by side in a request's head.
//!
//! hyper frames a request that has both Transfer-Encoding and Content-Length by the former, drops
//! the latter and closes the connection after its answer, which RFC 9112, section 6.1 allows; but it
//! does not tell. A router refuses such a request, so it looks for the two names at the beginning of
//! lines in the raw bytes. What lies behind the head's end is not looked at: a pipelined second head
//! in the same read is left to hyper's rule.

/// See the module's words. 32 bytes, without memory of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadScan {
    /// The beginning of the current line, as far as a name of interest is long.
    line: [u8; LONGEST],
    len: u8,
    begun: bool,
    /// How long the request line is, as far as it came.
    first: u32,
    /// A space is among its first bytes: behind a method, and not only more of it.
    spaced: bool,
    over: bool,
    more: bool,
    coding: bool,
    length: bool,
}

const CODING: &[u8] = b"transfer-encoding:";
const LENGTH: &[u8] = b"content-length:";
const LONGEST: usize = CODING.len();

impl HeadScan {
    pub(super) const fn new() -> Self {
        Self {
            line: [0; LONGEST],
            len: 0,
            begun: false,
            first: 0,
            spaced: false,
            over: false,
            more: false,
            coding: false,
            length: false,
        }
    }

    /// More bytes of the head, and perhaps of what follows it.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !self.over {
            match memchr::memchr(b'\n', rest) {
                Some(end) => {
                    self.part(&rest[..end]);
                    self.end_line();
                    rest = &rest[end + 1..];
                }
                None => {
                    self.part(rest);
                    return;
                }
            }
        }
        self.more |= !rest.is_empty();
    }

    fn part(&mut self, bytes: &[u8]) {
        let have = usize::from(self.len);
        let take = bytes.len().min(LONGEST - have);
        self.line[have..have + take].copy_from_slice(&bytes[..take]);
        // At most LONGEST, which is 18.
        self.len = (have + take) as u8;
        if !self.begun {
            self.first = self.first.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            self.spaced |= self.line[have..have + take].contains(&b' ');
        }
    }

    fn end_line(&mut self) {
        let line = &self.line[..usize::from(self.len)];
        match line.first() {
            Some(b't' | b'T') => self.coding |= starts(line, CODING),
            Some(b'c' | b'C') => self.length |= starts(line, LENGTH),
            // Empty lines before the request line are skipped (RFC 9112, 2.2); after it they end the head.
            None => self.over = self.begun,
            Some(b'\r') if line.len() == 1 => self.over = self.begun,
            _ => {}
        }
        self.begun |= line.first().is_some_and(|b| *b != b'\r');
        if !self.begun {
            self.first = 0;
        }
        self.len = 0;
    }

    /// Whether both were seen.
    pub(super) fn both(&self) -> bool {
        self.coding && self.length
    }

    /// Whether bytes behind the head came: a body, or the next head.
    pub(super) fn more(&self) -> bool {
        self.more
    }

    /// Whether the request line alone is longer than `limit`, and if so, whether its method ends.
    pub(super) fn long_line(&self, limit: usize) -> Option<bool> {
        (self.first as usize >= limit).then_some(self.spaced)
    }

    /// Whether anything was seen.
    pub(super) fn begun(&self) -> bool {
        self.begun || self.len > 0
    }
}

fn starts(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|l| l.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::HeadScan;

    fn both(parts: &[&str]) -> bool {
        let mut scan = HeadScan::new();
        for part in parts {
            scan.feed(part.as_bytes());
        }
        scan.both()
    }

    #[test]
    fn both_framings_are_seen_however_the_bytes_are_split() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTRANSFER-encoding: chunked\r\n\r\n";
        assert!(both(&[head]));
        for at in 0..head.len() {
            assert!(both(&[&head[..at], &head[at..]]), "{at}");
        }
        assert!(both(&["POST / HTTP/1.1\nTransfer-Encoding:x\nContent-Length:1\n\n"]));
    }

    #[test]
    fn a_long_request_line_is_told_from_long_fields() {
        let seen = |parts: &[&str]| {
            let mut scan = HeadScan::new();
            parts.iter().for_each(|part| scan.feed(part.as_bytes()));
            scan.long_line(50)
        };
        let target = "x".repeat(50);
        assert_eq!(seen(&["\r\nGET ", "/", &target]), Some(true));
        assert_eq!(seen(&[&format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n")]), Some(true));
        assert_eq!(seen(&[&target, &target]), Some(false));
        assert_eq!(seen(&["GET / HTTP/1.1\r\nHost: ", &target]), None);
    }

    #[test]
    fn bodies_and_other_names_do_not_count() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(!both(&[head, "Content-Length: 4\r\n"]));
        assert!(!both(&[&format!("\r\n{head}content-length: 4\r\n")]));
        assert!(!both(&["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 4\r\n\r\n"]));
        assert!(!both(&["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Lengthy: 4\r\n\r\n"]));
    }
}
