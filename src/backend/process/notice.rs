//! Routers on one machine tell each other which ports they have handed out.
//!
//! Between the choice of a port and the application's listening on it, which may be seconds later, the
//! system does not know that it is taken. So each router holds an abstract Unix socket named after every
//! port that it has handed out. Such names belong to the network namespace, as ports do, and go with the
//! process that holds them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use parking_lot::Mutex;

/// The last notice of this process for each port.
static TOLD: Mutex<BTreeMap<u16, Told>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Told {
    /// The socket's number in this boot.
    inode: u64,
    /// It has not been let go.
    alive: bool,
}

/// Tells that a port is handed out, for as long as it lives.
#[derive(Debug)]
pub struct Notice {
    port: u16,
    _socket: UnixDatagram,
}

/// Another router has told that it handed the port out.
#[derive(Debug)]
pub struct Theirs;

impl Notice {
    /// Tells that `port` is handed out. `None` where no such socket can be made: then nobody is told, and a
    /// clash is found out later.
    pub fn of(port: u16) -> Result<Option<Self>, Theirs> {
        let mut told = TOLD.lock();
        match bind(port) {
            Ok((_socket, inode)) => {
                told.insert(port, Told { inode, alive: true });
                Ok(Some(Self { port, _socket }))
            }
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => match told.get(&port) {
                // A process that is just being made has copies of our descriptors until it runs its program,
                // those that we have closed since among them.
                Some(Told { inode, alive: false }) if is_held_by(port, *inode) => Ok(None),
                _ => Err(Theirs),
            },
            Err(e) => {
                tracing::debug!(port, "other routers are not told of a port: {e}");
                Ok(None)
            }
        }
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        if let Some(told) = TOLD.lock().get_mut(&self.port) {
            told.alive = false;
        }
    }
}

fn name(port: u16) -> String {
    format!("landscape-router/port/{port}")
}

fn bind(port: u16) -> io::Result<(UnixDatagram, u64)> {
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name(port))?)?;
    let inode = rustix::fs::fstat(&socket)?.st_ino;
    Ok((socket, inode))
}

/// Whether the name of `port` is that of the socket `inode`, or nobody's any more.
fn is_held_by(port: u16, inode: u64) -> bool {
    let Ok(all) = fs::read_to_string("/proc/net/unix") else { return false };
    let name = format!("@{}", name(port));
    all.lines().filter(|line| line.split(' ').next_back() == Some(&name)).all(|line| {
        // Num, RefCount, Protocol, Flags, Type, St, Inode, Path.
        line.split_ascii_whitespace().nth(6).and_then(|i| i.parse().ok()) == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_told_another_does_not_tell() {
        let first = Notice::of(101).unwrap().unwrap();
        assert!(Notice::of(101).is_err());
        drop(first);
        assert!(Notice::of(101).is_ok());
    }

    #[test]
    fn a_copy_of_our_own_that_stays_a_moment_is_not_anothers() {
        let first = Notice::of(102).unwrap().unwrap();
        // As a process has it that is being made.
        let copy = first._socket.try_clone().unwrap();
        drop(first);
        assert!(Notice::of(102).unwrap().is_none());
        drop(copy);
        assert!(Notice::of(102).unwrap().is_some());
    }
}
