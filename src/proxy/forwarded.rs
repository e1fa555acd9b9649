//! Who the client is, behind proxies that are trusted.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use ipnet::IpNet;

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
