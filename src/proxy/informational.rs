//! Answers before the answer (RFC 9110, 15.2): `103 Early Hints` and its like go on to the client.
//!
//! hyper reads over them as a client and has no way to send them as a server, so they are taken out of the
//! upstream's bytes before it sees them, and written to the client's socket beside it. `100 Continue` does
//! not go on: the router says that by itself when a body is wanted. What does not come whole in one read
//! is left to hyper.

use std::io::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::headers;

/// How every one of them begins.
const BEGINS: &[u8] = b"HTTP/1.1 1";
/// The most fields of one.
const MOST_FIELDS: usize = 64;

/// One that was found at the beginning of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// So many bytes of the answer were its.
    pub length: usize,
    /// What the client gets of it.
    pub forward: Option<Vec<u8>>,
}

/// The informational answer that `bytes` begin with.
pub(super) fn find(bytes: &[u8]) -> Option<Found> {
    if !bytes.starts_with(BEGINS) {
        return None;
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = parsed.parse(bytes) else { return None };
    let status = StatusCode::from_u16(parsed.code?).ok()?;
    match status {
        StatusCode::SWITCHING_PROTOCOLS => None,
        StatusCode::CONTINUE => Some(Found { length, forward: None }),
        _ => Some(Found { length, forward: forward(status, parsed.headers) }),
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
    use super::{Found, find};

    #[test]
    fn whole_ones_are_found_and_cleaned() {
        let early = "HTTP/1.1 103 X\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Landscape-Error: x\r\n\
                     Content-Length: 5\r\nLink: </b>\r\n\r\n";
        let found = find(format!("{early}HTTP/1.1 200 OK\r\n\r\n").as_bytes()).unwrap();
        let text = String::from_utf8(found.forward.unwrap()).unwrap();
        assert_eq!(
            (found.length, text.as_str()),
            (early.len(), "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nlink: </b>\r\n\r\n")
        );
        let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(find(go_on.as_bytes()), Some(Found { length: go_on.len(), forward: None }));
        for other in
            [&early[..early.len() - 1], "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 X\r\n\r\n", "HTTP/1.1 1\r\n\r\n", ""]
        {
            assert_eq!(find(other.as_bytes()), None, "{other:?}");
        }
    }
}
