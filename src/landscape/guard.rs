//! Which addresses a headless target may lead to.
//!
//! A target is someone else's text and its name is someone else's to point anywhere, so one judge serves
//! both times: when the file is read, for a target that is an address, and right before each connect, for
//! every address that a name stands for at that moment.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use ipnet::IpNet;

/// See the module's words.
#[derive(Clone, Debug, Default)]
pub struct TargetGuard {
    allowed: Arc<[IpNet]>,
    listeners: Arc<[SocketAddr]>,
    admin: Option<SocketAddr>,
    ranges: Arc<[IpNet]>,
}

/// Why an address is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The admin listener, which nothing opens.
    Admin,
    /// A listener for requests.
    Router,
    /// A network that the router makes for landscapes, which are kept apart.
    Landscapes,
    /// What kind of address it is.
    Kind(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "the router's admin listener",
            Self::Router => "the router itself",
            Self::Landscapes => "an address in the landscapes' own networks",
            Self::Kind(what) => what,
        })
    }
}

impl Refusal {
    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Admin => "lead it to an application",
            _ => "use a public address, or let the operator list it in `headless.allow` of router.yaml",
        }
    }
}

impl TargetGuard {
    /// `allowed` opens what is refused by default, but never the `admin` listener. `listeners` take
    /// requests, `ranges` are the networks that landscapes get.
    pub fn new(
        allowed: Arc<[IpNet]>,
        listeners: impl Into<Arc<[SocketAddr]>>,
        admin: Option<SocketAddr>,
        ranges: impl Into<Arc<[IpNet]>>,
    ) -> Self {
        Self { allowed, listeners: listeners.into(), admin, ranges: ranges.into() }
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Whether a target may be at this address.
    pub fn judge(&self, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip().to_canonical();
        let reached = |own: &SocketAddr| {
            own.port() == address.port() && faces(ip).any(|face| reaches(own.ip().to_canonical(), face))
        };
        if self.admin.iter().any(reached) {
            return Err(Refusal::Admin);
        }
        if self.allowed.iter().any(|net| net.contains(&ip) || net.contains(&address.ip())) {
            return Ok(());
        }
        if let Some(what) = kind(ip) {
            return Err(Refusal::Kind(what));
        }
        if self.listeners.iter().any(reached) {
            return Err(Refusal::Router);
        }
        if self.ranges.iter().any(|net| faces(ip).any(|face| net.contains(&face))) {
            return Err(Refusal::Landscapes);
        }
        Ok(())
    }
}

/// An address, and the one that a translator makes of it.
fn faces(ip: IpAddr) -> impl Iterator<Item = IpAddr> {
    let inner = match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded_v4(v6).map(IpAddr::V4),
    };
    std::iter::once(ip).chain(inner)
}

/// Whether connecting to `to` reaches a listener on `own`. Linux takes an unspecified destination for
/// loopback; an unspecified listener is on every address of this machine.
fn reaches(own: IpAddr, to: IpAddr) -> bool {
    own == to
        || (to.is_unspecified() && own.is_loopback())
        || (own.is_unspecified() && (to.is_loopback() || to.is_unspecified() || is_of_this_machine(to)))
}

/// Asked of the routing table now, for a machine's addresses change: what it would reach by itself has
/// the destination for its source. Nothing is sent. Where that cannot be asked, nothing may be reached.
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        // The port plays no part.
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.map_or(true, |source| source.ip().to_canonical() == ip)
}

fn kind(canonical: IpAddr) -> Option<&'static str> {
    match canonical {
        IpAddr::V4(v4) => kind_v4(v4),
        IpAddr::V6(v6) => kind_v6(v6),
    }
}

fn kind_v4(v4: Ipv4Addr) -> Option<&'static str> {
    // Clouds answer with a machine's credentials at these.
    const METADATA: [Ipv4Addr; 3] =
        [Ipv4Addr::new(169, 254, 169, 254), Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
    if METADATA.contains(&v4) {
        Some("a cloud's metadata address")
    } else if v4.is_loopback() {
        Some("a loopback address")
    } else if v4.is_link_local() {
        Some("a link-local address")
    } else if v4.octets()[0] == 0 {
        // RFC 1122, 3.2.1.3: 0/8 is "this network".
        Some("an unspecified address")
    } else if v4.is_multicast() || v4.is_broadcast() {
        Some("a multicast or broadcast address")
    } else {
        None
    }
}

fn kind_v6(v6: Ipv6Addr) -> Option<&'static str> {
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    if v6 == METADATA {
        Some("a cloud's metadata address")
    } else if v6.is_loopback() {
        Some("a loopback address")
    } else if v6.is_unicast_link_local() {
        Some("a link-local address")
    } else if v6.is_unspecified() {
        Some("an unspecified address")
    } else if v6.is_multicast() {
        Some("a multicast or broadcast address")
    } else {
        embedded_v4(v6).and_then(kind_v4)
    }
}

/// The IPv4 address that a translator reaches by this one: `::a.b.c.d` (RFC 4291, 2.5.5.1), 6to4 (RFC
/// 3056) and NAT64's well-known prefix (RFC 6052).
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |a: u16, b: u16| Ipv4Addr::from((u32::from(a) << 16) | u32::from(b));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => Some(low(a, b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(all: &[&str]) -> Arc<[IpNet]> {
        all.iter().map(|n| n.parse().unwrap()).collect()
    }

    fn guard(allowed: &[&str], own: &[&str], admin: &str) -> TargetGuard {
        let own: Vec<SocketAddr> = own.iter().map(|a| a.parse().unwrap()).collect();
        TargetGuard::new(networks(allowed), own, admin.parse().ok(), networks(&["10.213.0.0/16"]))
    }

    fn judge(guard: &TargetGuard, address: &str) -> Result<(), Refusal> {
        guard.judge(address.parse().unwrap())
    }

    #[test]
    fn special_addresses_are_refused_in_every_spelling() {
        let guard = guard(&[], &[], "");
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "[2002:a9fe:a9fe::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
        ] {
            assert!(matches!(judge(&guard, &format!("{ip}:80")), Err(Refusal::Kind(_))), "{ip}");
        }
        for ip in ["93.184.216.34", "10.0.0.1", "[2606:2800::1]", "[64:ff9b::5db8:d822]"] {
            assert_eq!(judge(&guard, &format!("{ip}:80")), Ok(()), "{ip}");
        }
    }

    #[test]
    fn the_networks_of_landscapes_are_refused_unless_allowed() {
        assert_eq!(judge(&guard(&[], &[], ""), "10.213.4.2:3000"), Err(Refusal::Landscapes));
        assert_eq!(judge(&guard(&["10.213.4.0/24"], &[], ""), "10.213.4.2:3000"), Ok(()));
    }

    #[test]
    fn our_own_listeners_are_refused_unless_allowed() {
        let own = ["10.0.0.5:8080", "127.0.0.1:8081"];
        assert_eq!(judge(&guard(&[], &own, ""), "10.0.0.5:8080"), Err(Refusal::Router));
        assert_eq!(judge(&guard(&[], &own, ""), "10.0.0.5:8081"), Ok(()));
        assert_eq!(judge(&guard(&["10.0.0.0/8"], &own, ""), "10.0.0.5:8080"), Ok(()));
        assert_eq!(judge(&guard(&["127.0.0.0/8"], &own, ""), "127.0.0.1:8081"), Ok(()));
    }

    #[test]
    fn nothing_opens_the_admin_listener() {
        let everything = ["0.0.0.0/0", "::/0"];
        for (admin, reached) in [
            ("127.0.0.1:9090", "127.0.0.1:9090"),
            ("127.0.0.1:9090", "[::ffff:127.0.0.1]:9090"),
            ("127.0.0.1:9090", "[64:ff9b::7f00:1]:9090"),
            ("127.0.0.1:9090", "[2002:7f00:1::]:9090"),
            ("127.0.0.1:9090", "0.0.0.0:9090"),
            ("[::1]:9090", "[::]:9090"),
            ("0.0.0.0:9090", "127.3.2.1:9090"),
            ("[::]:9090", "127.0.0.1:9090"),
            ("10.0.0.5:9090", "10.0.0.5:9090"),
        ] {
            assert_eq!(judge(&guard(&everything, &[], admin), reached), Err(Refusal::Admin), "{admin} {reached}");
        }
        assert_eq!(judge(&guard(&everything, &[], "127.0.0.1:9090"), "127.0.0.1:9091"), Ok(()));
    }

    #[test]
    fn loopback_is_of_this_machine_and_documentation_is_not() {
        assert!(is_of_this_machine("127.0.0.1".parse().unwrap()));
        // TEST-NET-1: nobody has it. Without any route nothing could be reached either.
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        if socket.connect("192.0.2.1:9").is_ok() {
            assert!(!is_of_this_machine("192.0.2.1".parse().unwrap()));
        }
    }
}
