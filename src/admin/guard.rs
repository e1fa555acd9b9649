//! Who may ask: refuses what a web page elsewhere could have sent, and asks for the token.
//!
//! A browser on the router's machine reaches the admin listener. A page from elsewhere could send
//! requests to it (told by `Origin` and `Sec-Fetch-Site`), or have its own name point at 127.0.0.1
//! and then read the answers too (told by `Host`). Neither gets anything, not even the metrics.

use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use http::{StatusCode, Uri};

use super::Token;
use super::problem::Problem;

/// What a route asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: health.
    Nothing,
    /// The token, unless the listener is on loopback: metrics and plain status.
    Local,
    /// The token: what changes things, logs, events.
    Token,
}

/// Guards one listener.
#[derive(Debug)]
pub(super) struct Guard {
    listener: SocketAddr,
    token: Token,
}

impl Guard {
    pub(super) fn new(listener: SocketAddr, token: Token) -> Self {
        Self { listener, token }
    }

    /// `local` is the address of this very connection on our side.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap, local: IpAddr) -> Result<(), Problem> {
        let bad = |detail: &str| Err(Problem::new(StatusCode::BAD_REQUEST, "bad-host", detail));
        if uri.authority().is_some() {
            return bad("The request's target is a whole URL, as only a proxy is asked; send the path alone.");
        }
        let Some(host) = single(headers, &HOST) else {
            return bad("The request needs exactly one Host field.");
        };
        if !self.knows(host, local) {
            let detail = format!(
                "This listener does not answer to the host {host:?}; use localhost, a loopback address or {}.",
                self.listener
            );
            return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", detail));
        }
        same_site(headers, host)
    }

    /// Whether the caller has what the route needs.
    pub(super) fn admit(&self, need: Need, headers: &HeaderMap) -> Result<(), Problem> {
        let needed = match need {
            Need::Nothing => false,
            Need::Local => !self.listener.ip().is_loopback(),
            Need::Token => true,
        };
        if !needed {
            return Ok(());
        }
        if self.is_trusted(headers) {
            return Ok(());
        }
        let detail = if bearer(headers).is_some() {
            "The token is not this router's. It is in the file that the router named at its start."
        } else {
            "This needs the router's token: `Authorization: Bearer <token>`. It is in the file that the router named \
             at its start; the commands of landscape-router find it by themselves."
        };
        Err(Problem::new(StatusCode::UNAUTHORIZED, "token-needed", detail))
    }

    /// Whether the caller has the token.
    pub(super) fn is_trusted(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|token| self.token.is(token.as_bytes()))
    }

    /// Loopback's names and addresses, the configured address, and the one that was really reached.
    /// An address cannot be pointed elsewhere by a page's name server, a name can.
    fn knows(&self, host: &str, local: IpAddr) -> bool {
        let Some(name) = without_port(host) else { return false };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let literal = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
            Some(v6) => v6.parse().map(IpAddr::V6),
            None => name.parse().map(IpAddr::V4),
        };
        literal.is_ok_and(|ip| {
            let ip = ip.to_canonical();
            ip.is_loopback() || ip == self.listener.ip() || ip == local.to_canonical()
        })
    }
}

/// Not from another site's page. `Sec-Fetch-Site: none` is a person's own doing: an address typed in.
fn same_site(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let refuse = |what: &str| {
        let detail = format!("Requests from web pages of other sites are refused ({what}).");
        Err(Problem::new(StatusCode::FORBIDDEN, "cross-site", detail))
    };
    let own = |origin: &str| origin.strip_prefix("http://").is_some_and(|o| o.eq_ignore_ascii_case(host));
    if headers.contains_key(ORIGIN) && !single(headers, &ORIGIN).is_some_and(own) {
        return refuse("Origin");
    }
    let site = HeaderName::from_static("sec-fetch-site");
    if headers.contains_key(&site) && !single(headers, &site).is_some_and(|s| matches!(s, "same-origin" | "none")) {
        return refuse("Sec-Fetch-Site");
    }
    Ok(())
}

/// The token that comes with a request, right or wrong.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = single(headers, &AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value of a field that occurs exactly once and is text.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    if all.next().is_some() { None } else { first.to_str().ok() }
}

fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(':') {
        Some(colon) if !host.get(colon..)?.contains(']') => (host.get(..colon)?, host.get(colon + 1..)?),
        _ => (host, "80"),
    };
    (!name.is_empty() && port.parse::<u16>().is_ok()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn guard(listener: &str) -> Guard {
        Guard::new(listener.parse().unwrap(), Token::random().unwrap())
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn check(g: &Guard, fields: &[(&'static str, &str)]) -> Result<(), &'static str> {
        g.check(&Uri::from_static("/metrics"), &headers(fields), "10.1.2.3".parse().unwrap()).map_err(|p| p.code)
    }

    #[test]
    fn only_known_hosts_are_answered() {
        let g = guard("192.0.2.1:9090");
        for host in [
            "localhost",
            "LOCALHOST:9090",
            "127.0.0.1:9090",
            "127.9.9.9",
            "[::1]:9090",
            "[::1]",
            "192.0.2.1:9090",
            "10.1.2.3:80",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(check(&g, &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9090",
            "127.0.0.1.evil.example",
            "192.0.2.2",
            "",
            ":9090",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "a.localhost",
            "::1:9090",
            "127.1:9090",
        ] {
            assert_eq!(check(&g, &[("host", host)]), Err("unknown-host"), "{host}");
        }
        assert_eq!(check(&g, &[]), Err("bad-host"));
        assert_eq!(check(&g, &[("host", "localhost"), ("host", "localhost")]), Err("bad-host"));
        let whole = Uri::from_static("http://localhost/metrics");
        assert!(g.check(&whole, &headers(&[("host", "localhost")]), "127.0.0.1".parse().unwrap()).is_err());
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let g = guard("127.0.0.1:9090");
        let with = |name, value| check(&g, &[("host", "localhost:9090"), (name, value)]);
        assert_eq!(with("origin", "http://localhost:9090"), Ok(()));
        for origin in
            ["http://evil.example", "null", "http://localhost", "http://localhost:8080", "https://localhost:9090", ""]
        {
            assert_eq!(with("origin", origin), Err("cross-site"), "{origin}");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(with("sec-fetch-site", site), Ok(()), "{site}");
        }
        for site in ["cross-site", "same-site", "", "x"] {
            assert_eq!(with("sec-fetch-site", site), Err("cross-site"), "{site}");
        }
    }

    #[test]
    fn the_token_is_asked_for_where_it_is_needed() {
        let (loopback, public) = (guard("127.0.0.1:9090"), guard("0.0.0.0:9090"));
        let none = HeaderMap::new();
        for (need, on_loopback, beyond) in
            [(Need::Nothing, true, true), (Need::Local, true, false), (Need::Token, false, false)]
        {
            assert_eq!(loopback.admit(need, &none).is_ok(), on_loopback, "{need:?}");
            assert_eq!(public.admit(need, &none).is_ok(), beyond, "{need:?}");
        }
        let right = format!("bearer {}", public.token.reveal());
        assert!(public.admit(Need::Token, &headers(&[("authorization", &right)])).is_ok());
        assert!(public.admit(Need::Local, &headers(&[("authorization", &right)])).is_ok());
        let basic = format!("Basic {}", public.token.reveal());
        for wrong in ["Bearer", "Bearer ", "Bearer x", &basic, public.token.reveal()] {
            let e = public.admit(Need::Token, &headers(&[("authorization", wrong)])).unwrap_err();
            assert_eq!((e.status, e.code), (StatusCode::UNAUTHORIZED, "token-needed"), "{wrong}");
        }
    }
}
