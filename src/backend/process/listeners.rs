//! Whose socket it is that accepts at an address. Of several listeners on one port the kernel prefers the
//! one bound to the very address; so do we.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{listening, procfs};

/// Who holds a port, for people: `python3 (pid 4711)`.
pub fn holder_of(address: SocketAddr) -> Option<String> {
    let inodes = accepting(address).ok().filter(|i| !i.is_empty())?;
    Some(name_of_holder(&inodes).unwrap_or_else(|| UNKNOWN.to_owned()))
}

/// The same of one that keeps applications from listening there on all addresses, at whichever address it is.
pub fn keeper_of(port: u16) -> Option<String> {
    let listeners = listening::at(port).ok()?;
    let address = listeners.first()?.address;
    let inodes: Vec<u64> = listeners.iter().map(|l| l.inode).collect();
    Some(format!("{} at {address}", name_of_holder(&inodes).unwrap_or_else(|| UNKNOWN.to_owned())))
}

/// A holder that no process shows is one that ends in this moment, whose descriptors are gone before its
/// sockets are, or one that may not be looked into: the latter, after so long.
const HIDDEN: Duration = Duration::from_secs(1);
/// Between two looks at what is not clear yet.
const AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// Waits until it is clear whether the sockets that accept at `address` are all the processes'; if not,
/// tells who holds it. `first` are looked at before `rest` is asked for, which may be slow.
pub async fn owner_at(address: SocketAddr, first: &[u32], rest: impl Fn() -> Vec<u32>) -> Result<(), String> {
    let (mut pause, last) = AGAIN;
    let mut hidden: Option<(Vec<u64>, Instant)> = None;
    loop {
        match look(address, first, &rest) {
            Owner::Ours => return Ok(()),
            Owner::Other(name) => return Err(format!("port {} is held by {name}", address.port())),
            Owner::Hidden(inodes) => match &hidden {
                Some((before, since)) if *before == inodes && since.elapsed() >= HIDDEN => {
                    return Err(format!("port {} is held by {UNKNOWN}", address.port()));
                }
                Some((before, _)) if *before == inodes => {}
                _ => hidden = Some((inodes, Instant::now())),
            },
            Owner::Nobody => hidden = None,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(last);
    }
}

/// Whether the sockets that accept at `address` are all the processes' at this moment. Whose they are
/// otherwise is not looked for, which would take a walk over every process.
pub fn is_owner_at(address: SocketAddr, first: &[u32], rest: impl Fn() -> Vec<u32>) -> bool {
    not_theirs(address, first, rest).is_some_and(|left| left.is_empty())
}

#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Ours,
    Other(String),
    /// No process shows these sockets.
    Hidden(Vec<u64>),
    /// Nothing listens, or that cannot be told now.
    Nobody,
}

fn look(address: SocketAddr, first: &[u32], rest: impl Fn() -> Vec<u32>) -> Owner {
    match not_theirs(address, first, rest) {
        None => Owner::Nobody,
        Some(left) if left.is_empty() => Owner::Ours,
        Some(left) => match name_of_holder(&left) {
            Some(name) => Owner::Other(name),
            None => Owner::Hidden(left),
        },
    }
}

/// Of the sockets that accept at `address`, those that are not the processes'; `None`: nobody listens, or
/// that cannot be told now.
fn not_theirs(address: SocketAddr, first: &[u32], rest: impl Fn() -> Vec<u32>) -> Option<Vec<u64>> {
    let inodes = match accepting(address) {
        Ok(inodes) if !inodes.is_empty() => inodes,
        Ok(_) => return None,
        Err(error) => {
            tracing::debug!("the kernel does not tell who listens: {error}");
            return None;
        }
    };
    let mut missing: HashSet<u64> = inodes.into_iter().collect();
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
    let mut left: Vec<u64> = missing.into_iter().collect();
    left.sort_unstable();
    Some(left)
}

const UNKNOWN: &str = "a process of another user or namespace";

fn name_of_holder(inodes: &[u64]) -> Option<String> {
    let wanted: HashSet<u64> = inodes.iter().copied().collect();
    for pid in procfs::all().unwrap_or_default() {
        let mut missing = wanted.clone();
        remove_held(pid, &mut missing);
        if missing.len() < wanted.len() {
            let name = procfs::stat(pid).map_or_else(|_| "a process".to_owned(), |s| s.name);
            return Some(format!("{name} (pid {pid})"));
        }
    }
    None
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
    let listeners = listening::at(address.port())?;
    let target = address.ip().to_canonical();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[tokio::test]
    async fn our_own_listener_is_ours_and_nobody_elses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let me = std::process::id();
        owner_at(at, &[me], Vec::new).await.unwrap();
        owner_at(at, &[], || vec![me]).await.unwrap();
        assert!(is_owner_at(at, &[me], Vec::new) && !is_owner_at(at, &[1], Vec::new));
        let error = owner_at(at, &[1], Vec::new).await.unwrap_err();
        assert!(error.contains(&format!("(pid {me})")), "{error}");
        assert!(holder_of(at).unwrap().contains(&me.to_string()));
    }

    #[tokio::test]
    async fn a_wildcard_listener_accepts_for_loopback() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()));
        owner_at(at, &[std::process::id()], Vec::new).await.unwrap();
    }

    #[tokio::test]
    async fn where_nobody_listens_any_more_the_next_listener_is_awaited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(look(at, &[], Vec::new), Owner::Nobody);
        assert_eq!(holder_of(at), None);
        let me = [std::process::id()];
        let waiting = owner_at(at, &me, Vec::new);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let _listener = TcpListener::bind(at).unwrap();
        waiting.await.unwrap();
    }
}
