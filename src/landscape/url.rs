//! Absolute URLs taken apart: as much of RFC 3986 as health endpoints and headless targets need, and
//! nothing lenient, since what is read here decides where connections go.

use std::net::IpAddr;

/// `scheme://[userinfo@]host[:port][/path][?query][#fragment]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url<'u> {
    /// In lower case.
    pub(super) scheme: String,
    pub(super) has_userinfo: bool,
    pub(super) host: Host,
    pub(super) port: Option<u16>,
    /// `""`, or begins with `/`.
    pub(super) path: &'u str,
    pub(super) query: Option<&'u str>,
    pub(super) fragment: Option<&'u str>,
}

/// A name in lower case without a final dot, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Whether it means the machine itself.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Address(address) => address.to_canonical().is_loopback(),
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl<'u> Url<'u> {
    /// Takes a URL apart. The error does not hold its text, which may be secret.
    pub(super) fn parse(text: &'u str) -> Result<Self, &'static str> {
        if let Some(c) = text.chars().find(|c| !is_url_char(*c)) {
            return Err(match c {
                ' ' | '\t' | '\n' | '\r' => "it holds white space",
                '\\' => "it holds a backslash",
                c if c.is_control() => "it holds a control character",
                c if c.is_ascii() => "it holds a character that has to be percent-encoded",
                _ => "it holds a letter that has to be percent-encoded",
            });
        }
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
        let scheme_fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !scheme_fits {
            return Err("it has no scheme");
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (has_userinfo, host_port) = match authority.rsplit_once('@') {
            Some((_, host_port)) => (true, host_port),
            None => (false, authority),
        };
        let (host, port) = split_port(host_port)?;
        let (tail, fragment) = split(tail, '#');
        let (path, query) = split(tail, '?');
        let host = parse_host(host)?;
        Ok(Self { scheme: scheme.to_ascii_lowercase(), has_userinfo, host, port, path, query, fragment })
    }
}

/// What a URL may be made of: RFC 3986, section 2, and `|` and `^`, which occur unescaped.
fn is_url_char(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '`' | '{' | '}')
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    match port {
        None | Some("") => Ok((host, None)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
            Ok(port) if port > 0 => Ok((host, Some(port))),
            _ => Err("its port is not from 1 to 65535"),
        },
        Some(_) => Err("its port is not a number"),
    }
}

fn parse_host(host: &str) -> Result<Host, &'static str> {
    if let Some(literal) = host.strip_prefix('[') {
        let literal = literal.strip_suffix(']').ok_or("its host lacks a `]`")?;
        return literal.parse().map(|a| Host::Address(IpAddr::V6(a))).map_err(|_| "its host is no IPv6 address");
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if name.is_empty() {
        return Err("it has no host");
    }
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("its host is no name and no address");
    }
    // What ends in a number is an address, or else a resolver might read `127.1` or `0x7f000001` as one.
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if numeric {
        return name.parse().map(|a| Host::Address(IpAddr::V4(a))).map_err(|_| "its host is no IPv4 address");
    }
    Ok(Host::Name(name))
}

/// Underscores occur in names inside clusters.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<String, &'static str> {
        Url::parse(text).map(|u| u.host.to_string())
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = Url::parse("HTTPS://u:p@Example.ORG.:8443/a/b?c=d#e").unwrap();
        assert_eq!(url.scheme, "https");
        assert!(url.has_userinfo);
        assert_eq!(url.host, Host::Name("example.org".into()));
        assert_eq!((url.port, url.path, url.query, url.fragment), (Some(8443), "/a/b", Some("c=d"), Some("e")));
        let bare = Url::parse("tcp://localhost:25").unwrap();
        assert_eq!((bare.port, bare.path, bare.query), (Some(25), "", None));
        assert_eq!(Url::parse("http://a?x").unwrap().query, Some("x"));
        assert_eq!(Url::parse("http://a:").unwrap().port, None);
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        assert_eq!(host("http://[::1]:80/").as_deref(), Ok("::1"));
        assert_eq!(host("http://127.0.0.1").as_deref(), Ok("127.0.0.1"));
        assert_eq!(host("http://my_svc.ns.svc.cluster.local").as_deref(), Ok("my_svc.ns.svc.cluster.local"));
        for bad in [
            "http://",
            "http:///x",
            "http://a..b",
            "http://-a",
            "http://127.1",
            "http://2130706433",
            "http://0x7f000001",
            "http://0x7f.0.0.0x1",
            "http://0177.0.0.1",
            "http://256.1.1.1",
            "http://[::1",
            "http://[nope]",
            "http://a:0",
            "http://a:65536",
            "http://a:b",
            "http://a b",
            "http://a\\@b",
            "http://ä.example",
            "localhost:3000",
            "/health",
            "://x",
            "",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_machine_itself_is_known_by_any_name() {
        let local = |text| Url::parse(text).unwrap().host.is_local();
        for text in
            ["http://localhost", "http://a.localhost.", "http://127.9.9.9", "http://[::1]", "http://[::ffff:127.0.0.1]"]
        {
            assert!(local(text), "{text}");
        }
        assert!(!local("http://localhost.example"));
    }
}
