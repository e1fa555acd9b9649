//! What a connection to a private port speaks, told from its first bytes.
//!
//! Only what begins like a request line is HTTP: a method, a space, and a target in one of the forms of
//! RFC 9112, 3.2 that a proxy is sent (`/…`, `http://…`, `*`). What else speaks first as a client is hardly
//! mistaken for it: RESP begins with `*` or a word and a line break, PostgreSQL and MQTT with a length or a
//! type, TLS with 22, HTTP/2 with a preface whose target is `*` and whose version is not 1. Where a word in
//! capitals and a path can come first, `protocols` says what the port speaks.

/// A verdict on the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// HTTP/1.
    Http,
    /// Anything else.
    Raw,
    /// Too few to tell.
    More,
}

/// The longest method that is taken for one.
const METHOD: usize = 24;
/// No more bytes than these are needed.
pub(super) const ENOUGH: usize = METHOD + 1 + 8;

/// The preface of HTTP/2 (RFC 9113, 3.4), as far as it looks like a request line.
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// Looks at what has come so far.
pub(super) fn guess(bytes: &[u8]) -> Guess {
    if PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]) {
        return if bytes.len() < PREFACE.len() { Guess::More } else { Guess::Raw };
    }
    let method = bytes.iter().take_while(|b| b.is_ascii_uppercase()).count();
    if method > METHOD {
        return Guess::Raw;
    }
    match (method, &bytes[method..]) {
        (_, []) => Guess::More,
        (0 | 1, _) => Guess::Raw,
        (_, [b' ']) => Guess::More,
        (_, [b' ', b'/' | b'*', ..]) => Guess::Http,
        (_, [b' ', target @ ..]) => absolute(target),
        _ => Guess::Raw,
    }
}

fn absolute(target: &[u8]) -> Guess {
    const SCHEME: &[u8] = b"http://";
    let known = target.len().min(SCHEME.len());
    match target[..known].eq_ignore_ascii_case(&SCHEME[..known]) {
        false => Guess::Raw,
        true if known < SCHEME.len() => Guess::More,
        true => Guess::Http,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines_are_http_and_other_protocols_are_not() {
        for http in ["GET / HTTP/1.1\r\n", "POST /x", "OPTIONS * ", "M-SEARCH", "PROPFIND /a", "GET http://web:3000/ H"]
        {
            let expected = if http == "M-SEARCH" { Guess::Raw } else { Guess::Http };
            assert_eq!(guess(http.as_bytes()), expected, "{http}");
        }
        let others: [&[u8]; 16] = [
            b"*1\r\n$4\r\nPING\r\n",
            b"PING\r\n",
            b"GET key\r\n",
            b"SET /x",
            b"get key\r\n",
            &[0, 0, 0, 8, 4, 210, 22, 47],
            &[22, 3, 1, 2, 0],
            b"SSH-2.0-OpenSSH",
            b"EHLO x\r\n",
            b"HELP\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"AMQP\x00\x00\x09\x01",
            b"CONNECT {\"verbose\":false}",
            b"CONNECT host:443 HTTP/1.1",
            b"\x10\x0e\x00\x04MQTT",
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZ / ",
        ];
        for raw in others {
            let expected = if raw.starts_with(b"SET /") { Guess::Http } else { Guess::Raw };
            assert_eq!(guess(raw), expected, "{:?}", String::from_utf8_lossy(raw));
        }
    }

    #[test]
    fn every_beginning_is_undecided_or_decided_alike() {
        for whole in ["GET /index HTTP/1.1", "GET http://web/ HTTP/1.1", "PRI * HTTP/2.0", "PING\r\n", "PUT x"] {
            let last = guess(whole.as_bytes());
            for n in 0..whole.len() {
                let early = guess(&whole.as_bytes()[..n]);
                assert!(early == Guess::More || early == last, "{whole}, {n}: {early:?}");
            }
        }
    }

    #[test]
    fn enough_bytes_are_always_enough() {
        assert_ne!(guess(&[b'A'; ENOUGH]), Guess::More);
        let mut longest = vec![b'A'; METHOD];
        longest.extend(b" http://");
        assert_ne!(guess(&longest), Guess::More);
    }
}
