//! What a request's head has to be before anything is done with it, and what is found on the way.
//!
//! hyper has refused what it cannot frame. What is left could still be read in two ways by the router
//! and the application behind it, or is of a kind that only a forward proxy offers; each rule below
//! names the section that asks for it. One pass over the fields does it all.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Scheme;
use http::{Method, Request, Version};
use smallvec::SmallVec;

use super::ErrorCode;

/// The longest method name. RFC 9110, 9.1 sets no bound; the registry's longest has 17 letters.
const LONGEST_METHOD: usize = 32;
/// How the router names itself in `Via`.
pub(super) const VIA: &str = "landscape-router";
/// How often a request may come through a router of this name: an application that passes `Via` on
/// and calls another by its public name is no circle.
const MOST_PASSES: usize = 8;

/// What one pass over a request's head found.
#[derive(Debug)]
pub(super) struct Survey {
    /// The Host field's value, or the target's authority where there is none.
    pub host: HeaderValue,
    /// A `Connection` field is there.
    pub connection: bool,
    /// `TE` allows trailers.
    pub trailers: bool,
    /// The body is chunked.
    pub chunked: bool,
    /// An `Upgrade` field is there.
    pub upgrade: bool,
    /// Fields that never go on, by name.
    pub strip: SmallVec<[HeaderName; 4]>,
    /// Forwarding fields that go on from a trusted peer only.
    pub forwarding: SmallVec<[HeaderName; 4]>,
}

/// A request that is refused, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    pub code: ErrorCode,
    pub why: &'static str,
}

const fn no(code: ErrorCode, why: &'static str) -> Rejected {
    Rejected { code, why }
}

const fn bad(why: &'static str) -> Rejected {
    no(ErrorCode::BadRequest, why)
}

/// Looks a request's head over. `both_framings`: Transfer-Encoding and Content-Length were both there.
pub(super) fn survey<B>(request: &Request<B>, both_framings: bool) -> Result<Survey, Rejected> {
    target(request)?;
    if both_framings {
        // RFC 9112, 6.1: a server may reject it, and a gateway had better: it is how requests are smuggled.
        return Err(bad("Content-Length and Transfer-Encoding exclude each other"));
    }
    let (mut host, mut passes) = (None, 0);
    let mut found = Survey {
        host: HeaderValue::from_static(""),
        connection: false,
        trailers: false,
        chunked: false,
        upgrade: false,
        strip: SmallVec::new(),
        forwarding: SmallVec::new(),
    };
    for (name, value) in request.headers() {
        match *name {
            header::HOST => {
                // RFC 9112, 3.2: 400 to any request with more than one Host line.
                if host.replace(value).is_some() {
                    return Err(no(ErrorCode::BadHost, "more than one Host"));
                }
            }
            header::TRANSFER_ENCODING => {
                // RFC 9112, 6.1: chunked must be last and once; what else stands there would have to be
                // decoded here. A second line makes a list of it.
                if found.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(no(ErrorCode::NotImplemented, "a Transfer-Encoding other than chunked"));
                }
                found.chunked = true;
            }
            // RFC 9110, 7.6.3: this is what Via is for.
            header::VIA => {
                passes += memchr::memmem::find_iter(value.as_bytes(), VIA).count();
                if passes >= MOST_PASSES {
                    return Err(no(ErrorCode::LoopDetected, "too many of us in Via"));
                }
            }
            header::CONNECTION => found.connection = true,
            header::UPGRADE => found.upgrade = true,
            header::TE => found.trailers |= has_token(value, b"trailers"),
            header::FORWARDED => found.forwarding.push(name.clone()),
            header::PROXY_AUTHENTICATE | header::PROXY_AUTHORIZATION => found.strip.push(name.clone()),
            _ => unusual(name, &mut found)?,
        }
    }
    found.host = match (host, request.uri().authority(), request.uri().scheme()) {
        (Some(host), None, _) => {
            well_formed(host)?;
            host.clone()
        }
        // RFC 9112, 3.2.2: absolute-form; its authority is what counts, and RFC 9112, 3.2 has the client
        // send the same in Host. Where they disagree the application would see another host than we.
        (Some(host), Some(authority), Some(scheme)) => {
            well_formed(host)?;
            if !agree(authority.as_str().as_bytes(), host.as_bytes(), scheme) {
                return Err(no(ErrorCode::BadHost, "Host and the target disagree"));
            }
            host.clone()
        }
        // RFC 9112, 3.2: 400 to any HTTP/1.1 request without Host.
        (None, _, _) if request.version() != Version::HTTP_10 => {
            return Err(no(ErrorCode::BadHost, "no Host"));
        }
        (None, Some(authority), Some(_)) => HeaderValue::from_str(authority.as_str())
            .map_err(|_| no(ErrorCode::BadHost, "the target's authority is malformed"))?,
        _ => return Err(no(ErrorCode::BadHost, "no Host")),
    };
    Ok(found)
}

/// RFC 9112, 3.2: the forms of a target, and which methods they belong to.
fn target<B>(request: &Request<B>) -> Result<(), Rejected> {
    let (method, uri) = (request.method(), request.uri());
    // RFC 9110, 9.3.6: CONNECT is for tunnels; an origin may refuse it.
    if method == Method::CONNECT {
        return Err(no(ErrorCode::MethodNotAllowed, "CONNECT is not offered"));
    }
    if method.as_str().len() > LONGEST_METHOD {
        return Err(no(ErrorCode::NotImplemented, "the method's name is too long"));
    }
    match (uri.scheme_str(), uri.authority()) {
        (None, None) => {}
        (Some("http" | "https"), Some(authority)) => {
            // RFC 9110, 4.2.4: userinfo in http URIs is an error.
            if authority.as_str().contains('@') {
                return Err(bad("userinfo in the target"));
            }
        }
        // RFC 9112, 3.2.3: authority-form is for CONNECT alone.
        _ => return Err(bad("the target is neither a path nor an http URI")),
    }
    // RFC 9112, 3.2.4: asterisk-form is for OPTIONS of the server as a whole; a router of many has none.
    if uri.path() == "*" || !(uri.path().starts_with('/') || uri.path().is_empty()) {
        return Err(bad("the target does not begin with a slash"));
    }
    Ok(())
}

/// Names without a constant of their own.
fn unusual(name: &HeaderName, found: &mut Survey) -> Result<(), Rejected> {
    let text = name.as_str();
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'x')
            if bytes.starts_with(b"x-forwarded-")
                || bytes == b"x-real-ip"
                || bytes == b"x-original-host"
                || bytes == b"x-client-ip" =>
        {
            found.forwarding.push(name.clone());
        }
        // Ours, both ways.
        Some(b'x') if bytes.starts_with(b"x-landscape-") => found.strip.push(name.clone()),
        // RFC 9110, 7.6.1 and the fields of its Appendix that predecessors sent.
        Some(b'p') if bytes.starts_with(b"proxy-") => found.strip.push(name.clone()),
        Some(b'k') if bytes == b"keep-alive" => found.strip.push(name.clone()),
        // RFC 7540, 3.2.1: part of an upgrade to h2c, which is not offered.
        Some(b'h') if bytes == b"http2-settings" => found.strip.push(name.clone()),
        _ => {}
    }
    if bytes.contains(&b'_') {
        look_alike(name, found)?;
    }
    Ok(())
}

/// RFC 3875, 4.1.18 turns `-` into `_`, so an application may take `Transfer_Encoding` for the real
/// one. Where it would change framing or the host the request is refused; where it would only claim
/// something for the router, the field is dropped.
fn look_alike(name: &HeaderName, found: &mut Survey) -> Result<(), Rejected> {
    let mut dashed: SmallVec<[u8; 64]> = SmallVec::from_slice(name.as_str().as_bytes());
    for byte in &mut dashed {
        if *byte == b'_' {
            *byte = b'-';
        }
    }
    match &dashed[..] {
        b"transfer-encoding" | b"content-length" | b"http2-settings" => {
            Err(bad("a field's name looks like a framing field"))
        }
        other
            if other.starts_with(b"x-forwarded-")
                || other.starts_with(b"x-landscape-")
                || other.starts_with(b"proxy-")
                || matches!(other, b"x-real-ip" | b"x-original-host" | b"x-client-ip" | b"keep-alive") =>
        {
            found.strip.push(name.clone());
            Ok(())
        }
        _ => Ok(()),
    }
}

/// RFC 9110, 7.2 and RFC 3986, 3.2.2: `host [ ":" port ]`, without userinfo.
fn well_formed(host: &HeaderValue) -> Result<(), Rejected> {
    const MALFORMED: Rejected = no(ErrorCode::BadHost, "Host is malformed");
    let text = host.to_str().map_err(|_| MALFORMED)?;
    let (name, port) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], &text[colon + 1..]),
        _ => (text, ""),
    };
    let number = port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    // Names as DNS and its users have them; the sub-delims and escapes that RFC 3986 allows besides are
    // nobody's name, and programs differ in what they make of them.
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let literal = || {
        let inner = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
        inner.is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok())
    };
    if number && (plain || literal()) { Ok(()) } else { Err(MALFORMED) }
}

/// Whether a target's authority and a Host name the same. RFC 9110, 4.2.3: the scheme's own port may be
/// left out.
fn agree(authority: &[u8], host: &[u8], scheme: &Scheme) -> bool {
    let usual: &[u8] = if *scheme == Scheme::HTTPS { b":443" } else { b":80" };
    let bare = |name: &[u8]| name.len() - if name.ends_with(usual) { usual.len() } else { 0 };
    authority[..bare(authority)].eq_ignore_ascii_case(&host[..bare(host)])
}

/// Whether a comma-separated list has this token.
pub(super) fn has_token(value: &HeaderValue, token: &[u8]) -> bool {
    value
        .as_bytes()
        .split(|b| *b == b',')
        .any(|item| item.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().eq_ignore_ascii_case(token))
}

/// Whether any of a field's lines has this token.
pub(super) fn any_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| has_token(value, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Result<Survey, Rejected> {
        survey(&build(Request::builder().uri("/")).body(()).unwrap(), false)
    }

    fn code(result: Result<Survey, Rejected>) -> ErrorCode {
        result.expect_err("a refusal").code
    }

    #[test]
    fn a_plain_request_passes() {
        let found = look(|r| r.header("host", "a.localhost:8080").header("accept", "*/*")).unwrap();
        assert_eq!(found.host, "a.localhost:8080");
        assert!(found.strip.is_empty() && found.forwarding.is_empty() && !found.chunked);
    }

    #[test]
    fn hosts_are_checked() {
        for good in ["a", "A.example", "a_b.example:80", "[::1]", "[::1]:80", "127.0.0.1:1", "a.:80", "a:"] {
            assert!(look(|r| r.header("host", good)).is_ok(), "{good}");
        }
        for wrong in ["", " ", "a b", "a/b", "u@a", "a:b", "a:99999", "[::1", "a,b", ":80", "a\\b", "[::1]x"] {
            assert_eq!(code(look(|r| r.header("host", wrong))), ErrorCode::BadHost, "{wrong}");
        }
        assert_eq!(code(look(|r| r.header("host", "a").header("host", "a"))), ErrorCode::BadHost);
        assert_eq!(code(look(|r| r)), ErrorCode::BadHost);
        assert_eq!(code(look(|r| r.version(Version::HTTP_10))), ErrorCode::BadHost);
    }

    #[test]
    fn targets_are_checked() {
        let with = |method: &str, uri: &str| look(|r| r.method(method).uri(uri).header("host", "a.b"));
        assert!(with("GET", "/x?y").is_ok());
        assert!(with("GET", "http://a.b/x").is_ok());
        assert!(with("GET", "http://A.B").is_ok());
        assert!(with("GET", "http://a.b:80/x").is_ok());
        assert!(with("GET", "https://a.b:443/x").is_ok());
        assert_eq!(code(with("GET", "https://a.b:80/x")), ErrorCode::BadHost);
        assert_eq!(code(with("GET", "http://a.b:8080/x")), ErrorCode::BadHost);
        assert_eq!(code(with("GET", "http://other/x")), ErrorCode::BadHost);
        assert_eq!(code(with("GET", "ftp://a.b/x")), ErrorCode::BadRequest);
        assert_eq!(code(with("GET", "http://u@a.b/x")), ErrorCode::BadRequest);
        assert_eq!(code(with("GET", "a.b:80")), ErrorCode::BadRequest);
        assert_eq!(code(with("GET", "*")), ErrorCode::BadRequest);
        assert_eq!(code(with("OPTIONS", "*")), ErrorCode::BadRequest);
        assert_eq!(code(with("CONNECT", "a.b:443")), ErrorCode::MethodNotAllowed);
        assert_eq!(code(with(&"M".repeat(33), "/")), ErrorCode::NotImplemented);
    }

    #[test]
    fn codings_other_than_chunked_are_refused() {
        let te = |values: &[&str]| {
            look(|r| values.iter().fold(r.header("host", "a"), |r, v| r.header("transfer-encoding", *v)))
        };
        assert!(te(&["chunked"]).unwrap().chunked);
        assert!(te(&["Chunked"]).unwrap().chunked);
        for wrong in [&["gzip"][..], &["identity, chunked"], &["chunked, chunked"], &["chunked", "chunked"], &["x"]] {
            assert_eq!(code(te(wrong)), ErrorCode::NotImplemented, "{wrong:?}");
        }
        assert_eq!(
            survey(&Request::builder().header("host", "a").body(()).unwrap(), true).unwrap_err().code,
            ErrorCode::BadRequest
        );
    }

    #[test]
    fn circles_are_found() {
        let via =
            |n: usize| look(|r| (0..n).fold(r.header("host", "a"), |r, _| r.header("via", "1.1 landscape-router")));
        assert!(via(7).is_ok());
        assert_eq!(code(via(8)), ErrorCode::LoopDetected);
    }

    #[test]
    fn look_alikes_are_refused_or_dropped() {
        for wrong in ["transfer_encoding", "content_length", "Content_length"] {
            assert_eq!(code(look(|r| r.header("host", "a").header(wrong, "1"))), ErrorCode::BadRequest, "{wrong}");
        }
        let found = look(|r| {
            r.header("host", "a")
                .header("x_forwarded_for", "1")
                .header("x-landscape-a", "1")
                .header("proxy-anything", "1")
                .header("keep-alive", "1")
                .header("my_field", "1")
        })
        .unwrap();
        assert_eq!(found.strip.len(), 4);
    }
}
