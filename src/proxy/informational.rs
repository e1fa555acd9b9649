//! Answers before the answer (RFC 9110, 15.2): `103 Early Hints` and its like go on to the client.
//!
//! hyper reads over them as a client and has no way to send them as a server, so they are taken out of the
//! upstream's bytes before it sees them, and written to the client's socket beside it. `100 Continue` does
//! not go on: the router says that by itself when a body is wanted.

use std::io::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::headers;

/// How every one of them begins, of whatever minor version.
const BEGINS: &[u8; 10] = b"HTTP/1.? 1";
/// The most fields of one.
const MOST_FIELDS: usize = 64;

/// What an answer begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// Something else, or what the HTTP engine is to refuse.
    Other,
    /// What may become an informational answer.
    Part,
    /// An informational answer.
    Whole {
        /// So many bytes are its.
        length: usize,
        /// What the client gets of it.
        forward: Option<Vec<u8>>,
    },
}

/// Looks at the bytes of an answer as far as they came.
pub(super) fn look(bytes: &[u8]) -> Beginning {
    // RFC 9112, 2.2: empty lines before are skipped.
    let empty = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let begins = bytes[empty..].iter().zip(BEGINS).all(|(b, wanted)| b == wanted || *wanted == b'?');
    if !begins {
        return Beginning::Other;
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if parsed.code != Some(101) => return Beginning::Part,
        _ => return Beginning::Other,
    };
    match parsed.code.map(StatusCode::from_u16) {
        None | Some(Err(_) | Ok(StatusCode::SWITCHING_PROTOCOLS)) => Beginning::Other,
        Some(Ok(StatusCode::CONTINUE)) => Beginning::Whole { length, forward: None },
        Some(Ok(status)) => Beginning::Whole { length, forward: forward(status, parsed.headers) },
    }
}

fn forward(status: StatusCode, fields: &[httparse::Header<'_>]) -> Option<Vec<u8>> {
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        map.append(HeaderName::from_bytes(field.name.as_bytes()).ok()?, HeaderValue::from_bytes(field.value).ok()?);
    }
    *answer.headers_mut() = map;
    headers::forward_answer(&mut answer, &Method::GET, None).ok()?;
    // RFC 9110, 8.6: it has no body, and may not say that it had.
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    let mut bytes = Vec::new();
    // Writing to memory cannot fail.
    let _ = write!(bytes, "HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("Informational"));
    for (name, value) in answer.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Beginning, look};

    #[test]
    fn whole_ones_are_found_and_cleaned() {
        let early = "\r\nHTTP/1.1 103 X\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Landscape-Error: x\r\n\
                     Content-Length: 5\r\nLink: </b>\r\n\r\n";
        let Beginning::Whole { length, forward: Some(forward) } = look(format!("{early}HTTP/1.1 200 OK").as_bytes())
        else {
            panic!("not found");
        };
        assert_eq!(length, early.len());
        assert_eq!(String::from_utf8(forward).unwrap(), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n");
        let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(look(go_on.as_bytes()), Beginning::Whole { length: go_on.len(), forward: None });
        for at in 0..early.len() {
            assert_eq!(look(&early.as_bytes()[..at]), Beginning::Part, "{at}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_engine() {
        for other in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 2",
            "HTTP/1.1 101 X\r\n",
            "HTTP/1.1 101 X\r\n\r\n",
            "HTTP/1.1 1x\r\n\r\n",
            "HTTP/1.1 103 X\r\na b: c\r\n\r\n",
            "nonsense",
        ] {
            assert_eq!(look(other.as_bytes()), Beginning::Other, "{other:?}");
        }
    }
}
