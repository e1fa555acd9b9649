//! Whose socket it is that accepts at an address.
//!
//! `/proc/net/tcp` lists listening sockets before all others, so that reading stops at the first
//! one that is not. Of several listeners on one port the kernel prefers the one bound to the very
//! address; so do we.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::procfs;

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    address: IpAddr,
    inode: u64,
}

/// Who holds a port, for people: `python3 (pid 4711)`.
pub fn holder_of(address: SocketAddr) -> Option<String> {
    let inodes = accepting(address).ok().filter(|i| !i.is_empty())?;
    Some(name_of_holder(&inodes))
}

/// Whether every socket that accepts at `address` is one of the processes'. `first` are looked at
/// before `rest` is asked for, which may be slow.
pub fn owned_by(address: SocketAddr, first: &[u32], rest: impl FnOnce() -> Vec<u32>) -> Result<(), String> {
    let inodes = accepting(address).map_err(|e| format!("cannot read /proc/net/tcp: {e}"))?;
    if inodes.is_empty() {
        return Err(format!("nothing listens at {address}"));
    }
    let mut missing: HashSet<u64> = inodes.iter().copied().collect();
    for &pid in first {
        remove_held(pid, &mut missing);
    }
    if !missing.is_empty() {
        for pid in rest() {
            remove_held(pid, &mut missing);
            if missing.is_empty() {
                break;
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let left: Vec<u64> = missing.into_iter().collect();
    Err(format!("port {} is held by {}", address.port(), name_of_holder(&left)))
}

fn name_of_holder(inodes: &[u64]) -> String {
    let wanted: HashSet<u64> = inodes.iter().copied().collect();
    for pid in procfs::all().unwrap_or_default() {
        let mut missing = wanted.clone();
        remove_held(pid, &mut missing);
        if missing.len() < wanted.len() {
            let name = procfs::stat(pid).map_or_else(|_| "a process".to_owned(), |s| s.name);
            return format!("{name} (pid {pid})");
        }
    }
    "a process of another user or namespace".to_owned()
}

/// Takes out of `missing` what `pid` holds.
fn remove_held(pid: u32, missing: &mut HashSet<u64>) {
    // A process that ended, or that we may not look into, holds nothing as far as we know.
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return };
    for entry in descriptors.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if let Some(inode) = target.to_str().and_then(socket_inode) {
            missing.remove(&inode);
        }
    }
}

fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The sockets of which the kernel chooses one for a connection to `address`.
fn accepting(address: SocketAddr) -> io::Result<Vec<u64>> {
    let mut listeners = read("/proc/net/tcp", address.port())?;
    match read("/proc/net/tcp6", address.port()) {
        Ok(more) => listeners.extend(more),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let target = canonical(address.ip());
    for candidate in candidates(target) {
        let inodes: Vec<u64> = listeners.iter().filter(|l| l.address == candidate).map(|l| l.inode).collect();
        if !inodes.is_empty() {
            return Ok(inodes);
        }
    }
    Ok(Vec::new())
}

/// Bound addresses that accept for `target`, the preferred first.
fn candidates(target: IpAddr) -> Vec<IpAddr> {
    let mut all = vec![target];
    if target.is_ipv4() {
        all.push(Ipv4Addr::UNSPECIFIED.into());
    }
    all.push(Ipv6Addr::UNSPECIFIED.into());
    all
}

fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
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
                found.push(Listener { address: canonical(at.ip()), inode });
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
    fn our_own_listener_is_ours_and_nobody_elses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let me = std::process::id();
        owned_by(at, &[me], Vec::new).unwrap();
        owned_by(at, &[], || vec![me]).unwrap();
        let error = owned_by(at, &[1], Vec::new).unwrap_err();
        assert!(error.contains(&format!("(pid {me})")), "{error}");
        assert!(holder_of(at).unwrap().contains(&me.to_string()));
    }

    #[test]
    fn a_wildcard_listener_accepts_for_loopback() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()));
        owned_by(at, &[std::process::id()], Vec::new).unwrap();
    }

    #[test]
    fn nothing_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        assert!(owned_by(at, &[], Vec::new).unwrap_err().contains("nothing listens"));
        assert_eq!(holder_of(at), None);
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
