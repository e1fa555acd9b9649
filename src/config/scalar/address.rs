//! Addresses, networks, ports.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Scalar;

/// An address and port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl Scalar for Address {
    const KIND: &'static str = "address";
    const PATTERN: &'static str = r"^([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$";
    const EXPECTED: &'static str = "an address and port such as `127.0.0.1:8080` or `[::]:8080`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        match text.parse() {
            Ok(address) => Ok(Self(address)),
            Err(_) if text.starts_with("localhost:") => Err(Some("write 127.0.0.1 or [::1]".into())),
            Err(_) if text.starts_with(':') || text.bytes().all(|b| b.is_ascii_digit()) => {
                Err(Some("the address is missing".into()))
            }
            Err(_) => Err(None),
        }
    }
}

/// The admin listener's address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminAddress(pub Option<SocketAddr>);

impl Scalar for AdminAddress {
    const KIND: &'static str = "admin address";
    const PATTERN: &'static str = r"^(off|([0-9.]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5})$";
    const EXPECTED: &'static str = "an address and port such as `127.0.0.1:9090`, or `off`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        if text == "off" { Ok(Self(None)) } else { Address::read(text).map(|a| Self(Some(a.0))) }
    }
}

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(pub IpNet);

impl Scalar for Cidr {
    const KIND: &'static str = "network";
    const PATTERN: &'static str = "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$";
    const EXPECTED: &'static str = "a network such as `10.0.0.0/8`, or an address";
    fn read(text: &str) -> Result<Self, Option<String>> {
        let net: Result<IpNet, ()> = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from).map_err(drop));
        match net {
            Ok(net) if net.addr() != net.network() => Err(Some(format!("the network is {}", net.trunc()))),
            Ok(net) => Ok(Self(net)),
            Err(()) => Err(None),
        }
    }
}

/// A name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolver(pub SocketAddr);

impl Scalar for Resolver {
    const KIND: &'static str = "name server";
    const PATTERN: &'static str = r"^([0-9a-fA-F.:]+|[0-9.]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5})$";
    const EXPECTED: &'static str = "the address of a name server, such as `192.0.2.53` or `192.0.2.53:5353`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        let with_port = text.parse::<SocketAddr>().ok();
        let address = with_port.or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53)));
        address.map(Self).ok_or(None)
    }
}

/// A port, as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortNumber(pub u16);

impl Scalar for PortNumber {
    const KIND: &'static str = "port";
    const PATTERN: &'static str = "^[1-9][0-9]{0,4}$";
    const EXPECTED: &'static str = "a port from 1 to 65535";
    fn read(text: &str) -> Result<Self, Option<String>> {
        // A sign or zeros before it would make two keys of one port.
        text.parse().ok().filter(|n: &u16| *n > 0 && n.to_string() == text).map(Self).ok_or(None)
    }
}

/// Two ports, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange(pub u16, pub u16);

impl Scalar for PortRange {
    const KIND: &'static str = "port range";
    const PATTERN: &'static str = "^[0-9]{4,5}-[0-9]{4,5}$";
    const EXPECTED: &'static str = "a range of ports from 1024 on, such as `20000-29999`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        let (from, to) = text.split_once('-').ok_or(None)?;
        let port =
            |t: &str| t.parse::<u16>().ok().filter(|p| *p >= 1024 && t.len() <= 5 && !t.starts_with('+')).ok_or(None);
        let (from, to) = (port(from)?, port(to)?);
        if from > to { Err(Some("the first is above the second".into())) } else { Ok(Self(from, to)) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}
