//! Headless targets: where a path may lead outside the landscape.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::guard::{Refusal, TargetGuard};
use super::spec::TargetUrl;
use super::url::{Host, Url};

/// Why a target is refused, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadTarget {
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

impl BadTarget {
    fn new(message: impl Into<String>, remedy: &'static str) -> Self {
        Self { message: message.into(), remedy }
    }
}

/// Reads an expanded target. The mistake does not hold its text, which may be secret.
pub(super) fn parse(text: &str, secret: bool) -> Result<TargetUrl, BadTarget> {
    let shape = "write it as https://host:port/path";
    let url = Url::parse(text).map_err(|why| BadTarget::new(format!("the target is no URL: {why}"), shape))?;
    let tls = match &*url.scheme {
        "http" => false,
        "https" => true,
        _ => return Err(BadTarget::new("the target's scheme is neither http nor https", shape)),
    };
    if url.has_userinfo {
        let remedy = "leave out what stands before the `@`; the application can send an Authorization header";
        return Err(BadTarget::new("the target holds a user or password", remedy));
    }
    if url.query.is_some() || url.fragment.is_some() {
        let remedy = "leave out what stands from `?` or `#` on; the request's own query is kept";
        return Err(BadTarget::new("the target has a query or fragment", remedy));
    }
    if url.path.split('/').any(is_dots) {
        return Err(BadTarget::new("the target's path holds `.` or `..` segments", "write the path without them"));
    }
    Ok(TargetUrl {
        tls,
        host: url.host.to_string().into(),
        port: url.port.unwrap_or(if tls { 443 } else { 80 }),
        base_path: url.path.trim_end_matches('/').into(),
        secret,
    })
}

/// `.` and `..`, percent-encoded or not.
pub(super) fn is_dots(segment: &str) -> bool {
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    plain == "." || plain == ".."
}

/// Whether a request's path could climb out of the path that a target begins with: some servers take
/// an encoded slash or a backslash for a separator, and leave out what follows a `;`.
pub fn climbs(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2f", "/").replace("%5c", "/").replace("%3b", ";");
    path.split(['/', '\\']).any(|segment| is_dots(segment.split(';').next().unwrap_or_default()))
}

/// Judges a target whose host is an address, or a name that always means this machine. Other names are
/// judged when they are connected to.
pub(super) fn check(target: &TargetUrl, guard: &TargetGuard) -> Result<(), BadTarget> {
    let host = target.host.parse().map_or_else(|_| Host::Name(target.host.to_string()), Host::Address);
    let judge = |ip| guard.judge(SocketAddr::new(ip, target.port));
    let judged = match &host {
        Host::Address(address) => judge(*address),
        Host::Name(_) if host.is_local() => {
            match (judge(Ipv4Addr::LOCALHOST.into()), judge(Ipv6Addr::LOCALHOST.into())) {
                (_, Err(Refusal::Admin)) => Err(Refusal::Admin),
                // One of them is enough for a connection.
                (Err(why), Err(_)) | (Err(why @ Refusal::Admin), Ok(())) => Err(why),
                _ => Ok(()),
            }
        }
        Host::Name(_) => Ok(()),
    };
    judged.map_err(|why| BadTarget::new(format!("the target is {why}"), why.remedy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, allow: &[&str]) -> Result<TargetUrl, BadTarget> {
        let allow: Vec<_> = allow.iter().map(|n| n.parse().unwrap()).collect();
        let listeners: Vec<SocketAddr> = vec!["10.0.0.1:8080".parse().unwrap()];
        let guard = TargetGuard::new(allow.into(), listeners, "127.0.0.1:9090".parse().ok(), []);
        let target = parse(text, false)?;
        check(&target, &guard).map(|()| target)
    }

    #[test]
    fn a_target_is_taken_apart_once() {
        let t = judged("HTTPS://API.Example.org/base/", &[]).unwrap();
        assert_eq!((t.tls, &*t.host, t.port, &*t.base_path), (true, "api.example.org", 443, "/base"));
        let t = judged("http://svc.ns.svc.cluster.local:8080", &[]).unwrap();
        assert_eq!((t.tls, t.port, &*t.base_path), (false, 8080, ""));
        assert_eq!(judged("http://[2606:4700::1]:80/", &[]).unwrap().to_string(), "http://[2606:4700::1]:80");
    }

    #[test]
    fn what_is_no_plain_http_url_is_refused() {
        for (text, word) in [
            ("ftp://a", "neither http nor https"),
            ("http://u:p@a/", "user or password"),
            ("http://u@a/", "user or password"),
            ("http://a/?x=1", "query"),
            ("http://a/#f", "fragment"),
            ("http://a/../b", "segments"),
            ("http://a/%2e%2E/b", "segments"),
            ("a.example", "no scheme"),
            ("http://127.1/", "IPv4"),
        ] {
            let error = judged(text, &[]).unwrap_err();
            assert!(error.message.contains(word), "{text}: {}", error.message);
        }
    }

    #[test]
    fn an_address_that_leads_inwards_is_refused_unless_allowed() {
        for text in [
            "http://127.0.0.1:3000",
            "http://localhost:3000",
            "http://x.localhost",
            "http://[::1]",
            "http://[::ffff:127.0.0.1]",
            "http://[::127.0.0.1]",
            "http://[64:ff9b::7f00:1]",
            "http://[2002:7f00:1::]",
            "http://0.0.0.0",
            "http://[::]",
            "http://169.254.1.1",
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]",
            "http://[fd00:ec2::254]",
            "http://224.0.0.1",
        ] {
            assert!(judged(text, &[]).is_err(), "{text}");
        }
        assert!(judged("http://127.0.0.1:3000", &["127.0.0.0/8"]).is_ok());
        assert!(judged("http://localhost:3000", &["127.0.0.1/32"]).is_ok());
        assert!(judged("http://10.0.0.7", &[]).is_ok());
        let metadata = judged("http://169.254.169.254", &[]).unwrap_err();
        assert!(metadata.message.contains("metadata") && metadata.remedy.contains("headless.allow"));
    }

    #[test]
    fn the_router_is_no_target() {
        let loopback = &["127.0.0.0/8"][..];
        assert!(judged("http://127.0.0.1:9090", loopback).unwrap_err().message.contains("admin"));
        assert!(judged("http://localhost:9090", loopback).unwrap_err().message.contains("admin"));
        assert!(judged("http://127.0.0.1:3000", loopback).is_ok());
        assert!(judged("http://10.0.0.1:8080", &[]).unwrap_err().message.contains("router itself"));
        assert!(judged("http://10.0.0.1:8080", &["10.0.0.1/32"]).is_ok());
        assert!(judged("http://10.0.0.2:8080", &[]).is_ok());
    }

    #[test]
    fn dot_segments_are_found_however_they_are_written() {
        for path in
            ["/..", "/a/../b", "/./a", "/%2e%2E/b", "/.%2e", "/a/..%2fb", "/a%2F..", "/a/..;x/b", "/..%5Cb", "/..\\b"]
        {
            assert!(climbs(path), "{path}");
        }
        for path in ["/", "/a/b", "/a..b", "/...", "/.well-known/x", "/%252e%252e/b", "/a;..", ""] {
            assert!(!climbs(path), "{path}");
        }
    }

    #[test]
    fn a_secret_target_is_not_shown() {
        let target = parse("https://token.example/s3cret", true).unwrap();
        assert_eq!(format!("{target} {target:?}"), "https://<secret> https://<secret>");
    }
}
