//! Where a replica's ports are reached: an address, in the network that it means something in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use socket2::Domain;
use tokio::net::{TcpSocket, TcpStream};

use crate::private::ground::Namespace;

/// Where a replica's ports are reached, and how its network sees them.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Addresses {
    ports: Vec<(u16, SocketAddr)>,
    inside: Option<Inside>,
}

/// A replica's own network namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Inside {
    /// A process in it that lives as long as the replica.
    pid: u32,
    /// What others of its landscape see it as.
    address: Ipv4Addr,
    /// Opened at the first connection.
    #[serde(skip)]
    namespace: Arc<OnceLock<Namespace>>,
}

/// One port of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Its address, in its own namespace if it has one.
    pub address: SocketAddr,
    inside: Option<Inside>,
}

impl PartialEq for Inside {
    fn eq(&self, other: &Self) -> bool {
        (self.pid, self.address) == (other.pid, other.address)
    }
}

impl Eq for Inside {}

impl Inside {
    /// The namespace of process `pid`, whose replica has `address` on its landscape's network.
    pub fn new(pid: u32, address: Ipv4Addr) -> Self {
        Self { pid, address, namespace: Arc::default() }
    }

    fn namespace(&self) -> io::Result<&Namespace> {
        if let Some(namespace) = self.namespace.get() {
            return Ok(namespace);
        }
        let opened = Namespace::of_pid(self.pid)?;
        // Who was faster opened the same.
        Ok(self.namespace.get_or_init(|| opened))
    }
}

impl Addresses {
    /// Declared ports and where each is reached.
    pub fn new(ports: Vec<(u16, SocketAddr)>) -> Self {
        Self { ports, inside: None }
    }

    /// The same, in a namespace.
    pub fn inside(self, inside: Option<Inside>) -> Self {
        Self { inside, ..self }
    }

    /// Where the declared `port` is reached.
    pub fn of(&self, port: u16) -> Option<Door> {
        let &(_, address) = self.ports.iter().find(|(p, _)| *p == port)?;
        Some(Door { address, inside: self.inside.clone() })
    }

    /// Every declared port and its address.
    pub fn ports(&self) -> &[(u16, SocketAddr)] {
        &self.ports
    }

    /// The same ports at the address that answered.
    pub fn with_ip(&self, ip: IpAddr) -> Self {
        let ports = self.ports.iter().map(|&(port, at)| (port, SocketAddr::new(ip, at.port()))).collect();
        Self { ports, inside: self.inside.clone() }
    }

    /// What others of its landscape see the replica as, where it has an address of its own.
    pub fn seen_as(&self) -> Option<IpAddr> {
        match &self.inside {
            Some(inside) => Some(inside.address.into()),
            None => self.ports.first().map(|(_, at)| at.ip()).filter(|ip| !ip.is_loopback()),
        }
    }
}

impl Door {
    /// At an address of this machine's own network.
    pub fn at(address: SocketAddr) -> Self {
        Self { address, inside: None }
    }

    /// The same port at another address of the replica.
    pub fn with_ip(&self, ip: IpAddr) -> Self {
        Self { address: SocketAddr::new(ip, self.address.port()), inside: self.inside.clone() }
    }

    /// Whether it is in a namespace of the replica's own, where nobody else can listen.
    pub fn is_inside(&self) -> bool {
        self.inside.is_some()
    }

    /// Opens a TCP connection.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let Some(inside) = &self.inside else { return TcpStream::connect(self.address).await };
        // A socket belongs to the namespace it was made in, whoever connects it.
        let socket = inside.namespace()?.socket(Domain::for_address(self.address))?;
        TcpSocket::from_std_stream(socket.into()).connect(self.address).await
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.inside {
            Some(inside) => write!(f, "{} in the namespace of {}", self.address, inside.address),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_seen_by_its_own_address_alone() {
        let at = |text: &str| Addresses::new(vec![(3000, text.parse().unwrap())]);
        assert_eq!(at("127.0.0.1:20000").seen_as(), None);
        assert_eq!(at("10.213.0.2:3000").seen_as(), Some("10.213.0.2".parse().unwrap()));
        let inside = Inside::new(1, Ipv4Addr::new(10, 214, 0, 2));
        let own = at("127.0.0.1:3000").inside(Some(inside));
        assert_eq!(own.seen_as(), Some("10.214.0.2".parse().unwrap()));
        let json = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<Addresses>(&json).unwrap(), own);
        assert!(own.of(3000).unwrap().is_inside() && own.of(1).is_none());
    }
}
