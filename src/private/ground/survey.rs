//! What this process may do to the network here, found out without changing it.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use super::attach::gateway_of;
use super::filter::{self, Kind, Redirect, Segment, Transport};
use super::wire::Wire;
use super::{namespace, nft};

/// Something that is missing for the private network, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{what}: {remedy}")]
pub struct Lack {
    what: String,
    remedy: String,
}

impl Lack {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }

    /// What is missing.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// How to get it.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

/// How to get the rights.
pub(super) const RIGHTS: &str =
    "run the router as root, or with the capabilities CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE";

/// The rights and tools of this process, each there or lacking.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Network namespaces, bridges and cables between them.
    pub namespaces: Option<Lack>,
    /// Packet filters. Without them nothing is isolated, so that no namespace is of use.
    pub filters: Option<Lack>,
    /// The way from a namespace to beyond this machine.
    pub egress: Option<Lack>,
}

impl Survey {
    /// Namespaces lack this.
    pub(super) fn without(lack: Lack) -> Self {
        Self { namespaces: Some(lack), ..Self::default() }
    }

    /// Whether each replica can have a namespace of its own.
    pub fn can_isolate(&self) -> bool {
        self.namespaces.is_none() && self.filters.is_none()
    }

    /// The most important thing that is missing.
    pub fn into_first_lack(self) -> Option<Lack> {
        self.namespaces.or(self.filters).or(self.egress)
    }

    /// What is missing, most important first.
    pub fn lacks(&self) -> impl Iterator<Item = &Lack> {
        [&self.namespaces, &self.filters, &self.egress].into_iter().flatten()
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lacks = self.lacks().peekable();
        if lacks.peek().is_none() {
            return f.write_str("network namespaces, packet filters and egress are available");
        }
        while let Some(lack) = lacks.next() {
            write!(f, "{lack}{}", if lacks.peek().is_some() { "\n" } else { "" })?;
        }
        Ok(())
    }
}

/// Looks at what is possible here. Tries it in a namespace that is gone afterwards; takes some 10 ms.
pub fn rights() -> Survey {
    let egress = forwarding_lack();
    if let Err(lack) = may_change_links().and_then(|()| may_enter()) {
        return Survey { namespaces: Some(lack), filters: None, egress };
    }
    match namespace::make(|| Ok((try_links(), try_filters()))) {
        Ok((_, (namespaces, filters))) => Survey { namespaces: namespaces.err(), filters: filters.err(), egress },
        Err(error) => Survey {
            namespaces: Some(Lack::new(format!("network namespaces cannot be made ({error})"), RIGHTS)),
            filters: None,
            egress,
        },
    }
}

/// A replica's namespace is found by a process in it, which is kept from others of the same user.
fn may_enter() -> Result<(), Lack> {
    let missing = match rustix::thread::capabilities(None) {
        Ok(sets) if sets.effective.contains(CapabilitySet::SYS_PTRACE) => return Ok(()),
        Ok(_) => "CAP_SYS_PTRACE is missing".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Lack::new(format!("the namespaces of replicas cannot be entered ({missing})"), RIGHTS))
}

/// The kernel looks at the right first and for the interface, which nobody has, then.
fn may_change_links() -> Result<(), Lack> {
    let nobody = LinkUnspec::new_with_name("lr-no-such-link").build();
    let answer = Wire::open().and_then(|mut wire| wire.change(RouteNetlinkMessage::DelLink(nobody), 0));
    match answer {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
            Err(Lack::new(format!("the network of this machine cannot be changed ({error})"), RIGHTS))
        }
        _ => Ok(()),
    }
}

/// In a new namespace: everything that [`attach`](super::attach()) does.
fn try_links() -> Result<(), Lack> {
    let bridge = "lr-probe";
    let attempt = || -> io::Result<()> {
        let mut wire = Wire::open()?;
        wire.make_bridge(bridge)?;
        let net = probe_net().map_err(io::Error::other)?;
        super::attach(bridge, net, Ipv4Addr::new(192, 0, 2, 2), "lr-probe-0").map(drop)
    };
    attempt().map_err(|error| {
        Lack::new(
            format!("namespaces cannot be connected ({error})"),
            "use a kernel with `bridge` and `veth` (modprobe bridge veth) and a writable /proc/sys",
        )
    })
}

/// In a new namespace: a script with every kind of rule.
fn try_filters() -> Result<(), Lack> {
    let attempt = || -> io::Result<()> {
        let gateway = probe_net().ok().and_then(gateway_of).ok_or(io::ErrorKind::InvalidInput)?;
        let from = std::net::SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 80);
        let redirect = |transport| Redirect { transport, from, to: 1 };
        let segments = [
            Segment::new("lr-probe", gateway, Kind::Process)?
                .redirecting(vec![redirect(Transport::Tcp), redirect(Transport::Udp)]),
            Segment::new("br-probe", gateway, Kind::Docker)?,
        ];
        let range = Ipv4Net::new(*from.ip(), 24).map_err(io::Error::other)?;
        nft::apply(&filter::render("probe", &segments, &[redirect(Transport::Tcp)], range, true))
    };
    attempt().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Lack::new("the program nft, which sets packet filters, is not installed", "install the package nftables")
        }
        _ => Lack::new(
            format!("packet filters cannot be set ({error})"),
            "use a kernel with nftables (CONFIG_NF_TABLES_INET, NFT_CT, NFT_NAT, NFT_MASQ, NFT_REJECT_INET, \
             NFT_SOCKET) and nft 1.0 or later",
        ),
    })
}

/// Whether this machine forwards packets: what every engine switches on, too, that has networks of its own.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// Has this machine forward packets.
pub fn forward() -> io::Result<()> {
    std::fs::write(FORWARDING, "1")
}

/// Whether [`forward`] would be allowed.
pub fn may_forward() -> bool {
    std::fs::OpenOptions::new().write(true).open(FORWARDING).is_ok()
}

fn forwarding_lack() -> Option<Lack> {
    let forwarding = std::fs::read_to_string(FORWARDING).unwrap_or_default();
    (forwarding.trim() != "1").then(|| {
        Lack::new(
            "replicas cannot reach the outside, because this machine forwards no packets",
            "sysctl net.ipv4.ip_forward=1",
        )
    })
}

/// Addresses for documentation, which nobody has.
fn probe_net() -> Result<Ipv4Net, ipnet::PrefixLenError> {
    Ipv4Net::new(Ipv4Addr::new(192, 0, 2, 0), 24)
}
