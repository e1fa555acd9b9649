//! The fields of a message that goes on: what belongs to one hop is left behind, what the router
//! says for the client is made anew. Maps are edited in place.

use std::net::IpAddr;

use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use ipnet::IpNet;
use smallvec::SmallVec;

use super::checks::{Survey, any_token};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What of the client's connection goes into a forwarded request.
pub(super) struct From<'a> {
    /// The peer as text.
    pub peer: HeaderValue,
    /// The peer.
    pub address: IpAddr,
    /// Whose forwarding fields count.
    pub trusted: &'a [IpNet],
    /// The version that the client spoke.
    pub version: Version,
}

/// Makes a client's fields those of the request that goes on. The Host field is left as it is.
pub(super) fn forward_request(headers: &mut HeaderMap, survey: &Survey, from: &From<'_>) {
    if survey.connection {
        strip_named(headers);
        headers.remove(header::CONNECTION);
    }
    for name in &survey.strip {
        headers.remove(name);
    }
    if survey.upgrade {
        headers.remove(header::UPGRADE);
    }
    if headers.contains_key(header::TE) {
        headers.remove(header::TE);
        if survey.trailers {
            // RFC 9110, 10.1.4: TE belongs to one hop, and names itself in Connection.
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
    forwarding(headers, survey, from);
    // RFC 9110, 7.6.3: a gateway names itself in what it forwards inward.
    headers.append(
        header::VIA,
        HeaderValue::from_static(if from.version == Version::HTTP_10 {
            "1.0 landscape-router"
        } else {
            "1.1 landscape-router"
        }),
    );
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, survey.host.clone());
    }
}

/// `X-Forwarded-For`, `-Proto` and `-Host`: from a trusted proxy they are kept and its address is
/// added; from anyone else they are made anew, and whatever else claims the like is dropped.
fn forwarding(headers: &mut HeaderMap, survey: &Survey, from: &From<'_>) {
    let trusted = !from.trusted.is_empty() && from.trusted.iter().any(|net| net.contains(&from.address));
    let mut chain = None;
    if trusted {
        chain = join(headers, &X_FORWARDED_FOR, &from.peer);
        headers.remove(header::FORWARDED);
    } else {
        for name in &survey.forwarding {
            headers.remove(name);
        }
    }
    headers.insert(X_FORWARDED_FOR, chain.unwrap_or_else(|| from.peer.clone()));
    if !(trusted && headers.contains_key(X_FORWARDED_PROTO)) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !(trusted && headers.contains_key(X_FORWARDED_HOST)) {
        headers.insert(X_FORWARDED_HOST, survey.host.clone());
    }
}

/// All lines of a field and one more item, in one line; `None` if the field is not there.
fn join(headers: &HeaderMap, name: &HeaderName, last: &HeaderValue) -> Option<HeaderValue> {
    let mut all = Vec::new();
    for value in headers.get_all(name) {
        all.extend_from_slice(value.as_bytes());
        all.extend_from_slice(b", ");
    }
    if all.is_empty() {
        return None;
    }
    all.extend_from_slice(last.as_bytes());
    HeaderValue::from_bytes(&all).ok()
}

/// RFC 9110, 7.6.1: what `Connection` names ends here. What frames or routes the message does not,
/// whatever is named: RFC 9110 forbids to list it, and removing it would change the message.
fn strip_named(headers: &mut HeaderMap) {
    let mut named: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for value in headers.get_all(header::CONNECTION) {
        for item in value.as_bytes().split(|b| *b == b',') {
            let item = item.trim_ascii();
            if item.is_empty() || item.eq_ignore_ascii_case(b"close") || item.eq_ignore_ascii_case(b"keep-alive") {
                continue;
            }
            let Ok(name) = HeaderName::from_bytes(item) else { continue };
            if !matches!(
                name,
                header::HOST
                    | header::CONTENT_LENGTH
                    | header::TRANSFER_ENCODING
                    | header::CONTENT_TYPE
                    | header::CONTENT_ENCODING
                    | header::CONTENT_RANGE
                    | header::CACHE_CONTROL
                    | header::AUTHORIZATION
                    | header::COOKIE
                    | header::SET_COOKIE
                    | header::TE
                    | header::UPGRADE
                    | header::VIA
            ) {
                named.push(name);
            }
        }
    }
    for name in named {
        headers.remove(name);
    }
}

/// Why an upstream's answer may not be forwarded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid(pub &'static str);

/// What [`forward_answer`] learned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// `Keep-Alive: timeout=…`, in seconds.
    pub keep_alive: Option<u64>,
}

/// Makes an upstream's fields those of the answer to the client. `length` is the body's length as
/// the engine framed it.
pub(super) fn forward_answer<B>(
    answer: &mut Response<B>,
    method: &Method,
    length: Option<u64>,
) -> Result<Answer, Invalid> {
    let status = answer.status();
    let headers = answer.headers_mut();
    let mut seen = Answer::default();
    let mut strip: SmallVec<[HeaderName; 4]> = SmallVec::new();
    let (mut codings, mut lengths, mut connection) = (0u32, 0u32, false);
    for (name, value) in &*headers {
        match *name {
            header::TRANSFER_ENCODING => {
                codings += 1;
                // RFC 9112, 6.1: a coding that is not undone here would be lost with its name.
                if codings > 1 || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(Invalid("a Transfer-Encoding other than chunked"));
                }
            }
            header::CONTENT_LENGTH => lengths += 1 + u32::from(!value.as_bytes().iter().all(u8::is_ascii_digit)),
            header::CONNECTION => connection = true,
            header::UPGRADE | header::PROXY_AUTHENTICATE | header::PROXY_AUTHORIZATION | header::TE => {
                strip.push(name.clone());
            }
            _ => {
                let text = name.as_str();
                if text == "keep-alive" {
                    seen.keep_alive = timeout_of(value);
                }
                if text == "keep-alive" || text.starts_with("x-landscape-") || text.starts_with("proxy-") {
                    strip.push(name.clone());
                }
            }
        }
    }
    if connection {
        strip_named(headers);
        headers.remove(header::CONNECTION);
    }
    for name in strip {
        headers.remove(name);
    }
    let bodiless = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    if codings > 0 {
        headers.remove(header::TRANSFER_ENCODING);
        // RFC 9112, 6.3: the coding overrides the length, which may not go on.
        if lengths > 0 {
            headers.remove(header::CONTENT_LENGTH);
        }
    } else if status == StatusCode::NO_CONTENT {
        // RFC 9110, 8.6: it has none, not even for HEAD.
        headers.remove(header::CONTENT_LENGTH);
    } else if lengths > 1 {
        // RFC 9110, 8.6: equal repeated lengths become one.
        match (bodiless, length) {
            (false, Some(length)) => {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            _ => {
                headers.remove(header::CONTENT_LENGTH);
            }
        }
    }
    Ok(seen)
}

/// `timeout=5` of `timeout=5, max=100`.
fn timeout_of(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.split(',').find_map(|part| {
        let (name, number) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| number.trim().parse().ok())?
    })
}

/// RFC 9110, 6.5.1: fields that frame, route or authenticate have no place in trailers, and ours go
/// nowhere.
pub(super) fn forward_trailers(trailers: &mut HeaderMap) {
    let refused: SmallVec<[HeaderName; 4]> = trailers
        .keys()
        .filter(|name| {
            matches!(
                **name,
                header::TRANSFER_ENCODING
                    | header::CONTENT_LENGTH
                    | header::HOST
                    | header::CONNECTION
                    | header::UPGRADE
                    | header::TE
                    | header::TRAILER
                    | header::AUTHORIZATION
                    | header::COOKIE
                    | header::SET_COOKIE
                    | header::FORWARDED
                    | header::VIA
            ) || ["x-landscape-", "x-forwarded-", "proxy-"].iter().any(|p| name.as_str().starts_with(p))
        })
        .cloned()
        .collect();
    for name in refused {
        trailers.remove(name);
    }
}

/// RFC 6455, 4.1: whether this is a WebSocket handshake that may go on. Any other upgrade is
/// ignored, as RFC 9110, 7.8 allows, and the request goes on without it.
pub(super) fn is_websocket<B>(request: &http::Request<B>) -> bool {
    let headers = request.headers();
    *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && headers.get_all(header::UPGRADE).iter().count() == 1
        && headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && any_token(headers, &header::CONNECTION, b"upgrade")
        && headers.get_all(header::SEC_WEBSOCKET_KEY).iter().count() == 1
        && headers.get(header::SEC_WEBSOCKET_KEY).is_some_and(|v| is_key(v.as_bytes()))
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|v| v.as_bytes() == b"13")
        && !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get(header::CONTENT_LENGTH).is_none_or(|v| v.as_bytes() == b"0")
}

/// 16 bytes in base64.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// Puts back what asks for a WebSocket.
pub(super) fn ask_websocket(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Whether an upstream's 101 is the one that was asked for.
pub(super) fn grants_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && any_token(headers, &header::CONNECTION, b"upgrade")
        && headers.contains_key(header::SEC_WEBSOCKET_ACCEPT)
}

/// Adds `Connection: close` to an answer, after which the engine ends the connection.
pub(super) fn close_after(headers: &mut HeaderMap) {
    match headers.entry(header::CONNECTION) {
        Entry::Occupied(mut there) => {
            there.insert(HeaderValue::from_static("close"));
        }
        Entry::Vacant(free) => {
            free.insert(HeaderValue::from_static("close"));
        }
    }
}
