//! The sockets that listen at a port.
//!
//! Asked by netlink (sock_diag(7)), the kernel looks at listening sockets alone. `/proc/net/tcp6` lists them
//! first, but fills a page with whatever follows, and walks the hash of all connections for it: milliseconds
//! on a machine with much memory. It is read only where there is no such netlink.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::netlink::Netlink;

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// Where it is bound; mapped IPv4 is IPv4.
    pub address: IpAddr,
    /// The number by which `/proc/<pid>/fd` shows it.
    pub inode: u64,
}

/// All of this network namespace that listen at `port`.
pub(super) fn at(port: u16) -> io::Result<Vec<Listener>> {
    ask(port).or_else(|error| {
        tracing::debug!("sock_diag: {error}; reading /proc/net/tcp");
        from_proc(port)
    })
}

fn ask(port: u16) -> io::Result<Vec<Listener>> {
    let mut netlink = Netlink::open(NETLINK_SOCK_DIAG)?;
    let mut found = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id: SocketId { source_port: port, ..any },
        };
        for answer in netlink.dump(SockDiagMessage::InetRequest(request))? {
            let SockDiagMessage::InetResponse(socket) = answer else { continue };
            let header = socket.header;
            if header.socket_id.source_port == port {
                let address = header.socket_id.source_address.to_canonical();
                found.push(Listener { address, inode: header.inode.into() });
            }
        }
    }
    Ok(found)
}

fn from_proc(port: u16) -> io::Result<Vec<Listener>> {
    let mut listeners = read("/proc/net/tcp", port)?;
    match read("/proc/net/tcp6", port) {
        Ok(more) => listeners.extend(more),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    Ok(listeners)
}

fn read(path: &str, port: u16) -> io::Result<Vec<Listener>> {
    let mut lines = BufReader::with_capacity(16 << 10, File::open(path)?).lines();
    let _heading = lines.next().transpose()?;
    let mut found = Vec::new();
    for line in lines {
        let line = line?;
        match parse(&line) {
            Some((state, ..)) if state != LISTEN => break,
            Some((_, at, inode)) if at.port() == port => {
                found.push(Listener { address: at.ip().to_canonical(), inode });
            }
            _ => {}
        }
    }
    Ok(found)
}

const LISTEN: u8 = 0x0A;

/// State, local address and inode of a line of `/proc/net/tcp` or `tcp6`.
fn parse(line: &str) -> Option<(u8, SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((state, SocketAddr::new(parse_ip(ip)?, port), inode))
}

/// The kernel prints each 32-bit word in the machine's own byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |i: usize| u32::from_str_radix(hex.get(i * 8..i * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (i, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(i)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn both_ways_tell_the_same() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let bound = listener.local_addr().unwrap();
            let asked = ask(bound.port()).unwrap();
            assert_eq!(asked, from_proc(bound.port()).unwrap());
            assert!(asked.iter().any(|l| l.address == bound.ip() && l.inode > 0), "{asked:?}");
            drop(listener);
            assert!(ask(bound.port()).unwrap().iter().all(|l| l.address != bound.ip()));
        }
    }

    #[test]
    fn addresses_are_read_in_host_order() {
        let line =
            "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 x";
        if cfg!(target_endian = "little") {
            assert_eq!(parse(line), Some((LISTEN, "127.0.0.1:3000".parse().unwrap(), 4242)));
        }
    }
}
