//! Who the client is, behind proxies that are trusted.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::headers::X_FORWARDED_FOR;

/// All of `X-Forwarded-For`: a proxy may add a line of its own instead of lengthening the one that came,
/// and then the last one is what it says.
pub(super) fn chain(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines = headers.get_all(&X_FORWARDED_FOR).iter();
    let first = lines.next()?;
    let mut all = Vec::new();
    for line in lines {
        all.extend_from_slice(b", ");
        all.extend_from_slice(line.as_bytes());
    }
    if all.is_empty() {
        return Some(first.clone());
    }
    HeaderValue::from_bytes(&[first.as_bytes(), &all].concat()).ok()
}

/// The address of the client: the peer's, or where the peer is a trusted proxy the last one in its
/// `X-Forwarded-For` that is not trusted itself.
pub(super) fn client(
    peer: IpAddr,
    forwarded_for: Option<&HeaderValue>,
    trusted: impl FnOnce() -> Arc<[IpNet]>,
) -> IpAddr {
    let peer = peer.to_canonical();
    let Some(chain) = forwarded_for.and_then(|v| v.to_str().ok()) else { return peer };
    let trusted = trusted();
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    let mut client = peer;
    for item in chain.rsplit(',') {
        if !is_trusted(client) {
            break;
        }
        match item.trim().parse::<IpAddr>() {
            Ok(ip) => client = ip.to_canonical(),
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let nets = || -> Arc<[IpNet]> { vec!["10.0.0.0/8".parse().unwrap()].into() };
        let ask = |peer: &str, chain: &'static str| {
            client(peer.parse().unwrap(), Some(&HeaderValue::from_static(chain)), nets).to_string()
        };
        assert_eq!(ask("1.1.1.1", "2.2.2.2"), "1.1.1.1");
        assert_eq!(ask("10.0.0.1", "2.2.2.2"), "2.2.2.2");
        assert_eq!(ask("10.0.0.1", "9.9.9.9, 2.2.2.2, 10.0.0.2"), "2.2.2.2");
        assert_eq!(ask("10.0.0.1", "spoof"), "10.0.0.1");
        assert_eq!(client("::ffff:1.2.3.4".parse().unwrap(), None, nets).to_string(), "1.2.3.4");
    }
}
