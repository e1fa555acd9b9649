//! Host ports without network namespaces: which declared port is where, and whose it is.
//!
//! Another program may be faster than the application that a port was chosen for. A start that finds so
//! is tried again at once, and where a declared number was lost twice in a short time, on a port of the
//! range. Other routers are told: [`super::notice`].

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};

use super::notice::Notice;

/// Ports handed out by this router, from the choice until the replica is gone.
#[derive(Debug, Default)]
pub struct PortBook {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_port: HashMap<u16, Hold>,
    /// Ports that turned out to be somebody else's: how often, and when last.
    clashes: HashMap<u16, (u32, Instant)>,
    /// Where the search in the range goes on, so that a port is not used again at once. `None`: anywhere,
    /// so that two routers on one machine rarely want the same one in the same moment.
    next: Option<u16>,
}

/// A port that was handed out.
#[derive(Debug)]
struct Hold {
    token: String,
    /// Tells other routers. Without one for a replica that was found running: it listens, or the router
    /// before this one still tells.
    _notice: Option<Notice>,
}

/// After so many clashes a declared number is left alone,
const CLASHES: u32 = 2;
/// until the last of them is so long ago.
const CLASHED: Duration = Duration::from_secs(60);

/// How ports are chosen.
#[derive(Clone, Copy, Debug)]
pub struct PortRules {
    /// The range for what cannot have its own number, inclusive.
    pub range: (u16, u16),
    /// Whether host ports below 1024 may be used.
    pub low: bool,
}

/// Why a replica gets no ports.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// There are none left.
    #[error("{0}")]
    Taken(String),
    /// The system does not let us look: descriptors or memory are used up.
    #[error("no free port can be looked for: {0}")]
    Io(#[from] io::Error),
}

impl PortBook {
    /// Chooses a host port for each declared one and keeps them for `token`: the same number where
    /// it is free, else one of the range.
    pub fn choose(&self, token: &str, declared: &[u16], rules: PortRules) -> Result<Vec<(u16, SocketAddr)>, PortError> {
        let mut taken = self.taken.lock();
        let chosen = taken.choose(token, declared, rules);
        if chosen.is_err() {
            taken.release(token);
        }
        chosen
    }

    /// Keeps the ports of a replica that was found running.
    pub fn keep(&self, token: &str, addresses: &[(u16, SocketAddr)]) {
        let mut taken = self.taken.lock();
        for (_, address) in addresses {
            let _notice = Notice::of(address.port()).ok().flatten();
            taken.by_port.insert(address.port(), Hold { token: token.to_owned(), _notice });
        }
    }

    /// Notes that a port which was handed out is somebody else's.
    pub fn clashed(&self, port: u16) {
        let now = Instant::now();
        let mut taken = self.taken.lock();
        taken.clashes.retain(|_, (_, last)| now.duration_since(*last) < CLASHED);
        let (times, last) = taken.clashes.entry(port).or_insert((0, now));
        (*times, *last) = (*times + 1, now);
    }

    /// Forgets that a declared number was lost: it is tried again.
    pub fn forgive(&self, port: u16) {
        self.taken.lock().clashes.remove(&port);
    }

    /// Gives a replica's ports back.
    pub fn release(&self, token: &str) {
        self.taken.lock().release(token);
    }
}

impl Taken {
    fn choose(&mut self, token: &str, declared: &[u16], rules: PortRules) -> Result<Vec<(u16, SocketAddr)>, PortError> {
        let mut map: Vec<(u16, u16)> = Vec::with_capacity(declared.len());
        // Own numbers first: a port of the range may be a declared one, too.
        for &port in declared {
            if (port >= 1024 || rules.low) && !self.clashes_often(port) && self.take(token, port)? {
                map.push((port, port));
            }
        }
        for &port in declared {
            if map.iter().any(|(p, _)| *p == port) {
                continue;
            }
            let Some(host) = self.search(token, rules.range)? else {
                return Err(PortError::Taken(format!(
                    "port {port} is taken, and so is every port of process.ports, {} to {}; widen that range",
                    rules.range.0, rules.range.1
                )));
            };
            map.push((port, host));
        }
        map.sort_by_key(|(port, _)| declared.iter().position(|d| d == port));
        let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Ok(map.into_iter().map(|(port, host)| (port, at(host))).collect())
    }

    fn clashes_often(&self, port: u16) -> bool {
        self.clashes.get(&port).is_some_and(|(times, last)| *times >= CLASHES && last.elapsed() < CLASHED)
    }

    /// Hands a port out if it is free.
    fn take(&mut self, token: &str, port: u16) -> io::Result<bool> {
        if self.by_port.contains_key(&port) {
            return Ok(false);
        }
        let Ok(_notice) = Notice::of(port) else { return Ok(false) };
        if !is_free(port)? {
            return Ok(false);
        }
        self.by_port.insert(port, Hold { token: token.to_owned(), _notice });
        Ok(true)
    }

    fn search(&mut self, token: &str, (first, last): (u16, u16)) -> io::Result<Option<u16>> {
        let Some(more) = last.checked_sub(first) else { return Ok(None) };
        let count = u32::from(more) + 1;
        let from = match self.next {
            Some(next) => u32::from(next.saturating_sub(first)) % count,
            None => fastrand::u32(..count),
        };
        for i in 0..count {
            let port = first + ((from + i) % count) as u16;
            if self.take(token, port)? {
                self.next = Some(port.wrapping_add(1));
                return Ok(Some(port));
            }
        }
        Ok(None)
    }

    fn release(&mut self, token: &str) {
        self.by_port.retain(|_, hold| hold.token != token);
    }
}

/// Whether nobody listens on `port` on any address, so that an application may on all of them.
fn is_free(port: u16) -> io::Result<bool> {
    Ok(is_free_at(Ipv4Addr::UNSPECIFIED.into(), port)? && is_free_at(Ipv6Addr::UNSPECIFIED.into(), port)?)
}

fn is_free_at(address: IpAddr, port: u16) -> io::Result<bool> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = match Socket::new(domain, Type::STREAM, Some(Protocol::TCP)) {
        Ok(socket) => socket,
        Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) => {
            return Err(e);
        }
        // No such address family here: nobody can be in the way.
        Err(_) => return Ok(address.is_ipv6()),
    };
    if address.is_ipv6() && socket.set_only_v6(true).is_err() {
        return Ok(true);
    }
    // Connections in TIME_WAIT do not keep an application from listening; listeners do.
    let bound = socket.set_reuse_address(true).and_then(|()| socket.bind(&SocketAddr::new(address, port).into()));
    Ok(match bound {
        Ok(()) => true,
        Err(e) => address.is_ipv6() && e.kind() == io::ErrorKind::AddrNotAvailable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A port that was free a moment ago, and the listener that holds it.
    fn held() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    fn rules(range: (u16, u16)) -> PortRules {
        PortRules { range, low: false }
    }

    #[test]
    fn a_free_declared_port_is_used_and_a_taken_one_is_mapped() {
        let book = PortBook::default();
        let (listener, port) = held();
        let mapped = book.choose("a", &[port], rules((40_000, 40_999))).unwrap();
        assert!((40_000..=40_999).contains(&mapped[0].1.port()));
        book.release("a");
        drop(listener);
        let own = book.choose("a", &[port], rules((40_000, 40_999))).unwrap();
        assert_eq!(own[0].1.port(), port);
    }

    #[test]
    fn two_replicas_never_get_the_same_port() {
        let book = PortBook::default();
        let (listener, port) = held();
        drop(listener);
        let (a, b) = (
            book.choose("a", &[port], rules((41_000, 41_999))).unwrap(),
            book.choose("b", &[port], rules((41_000, 41_999))).unwrap(),
        );
        assert_ne!(a[0].1, b[0].1);
    }

    #[test]
    fn two_routers_on_one_machine_never_choose_the_same_port() {
        let (ours, theirs) = (PortBook::default(), PortBook::default());
        let (listener, port) = held();
        drop(listener);
        let range = rules((30_100, 30_199));
        let a: Vec<_> = (0..5).map(|n| ours.choose(&n.to_string(), &[port], range).unwrap()[0].1).collect();
        let b: Vec<_> = (0..5).map(|n| theirs.choose(&n.to_string(), &[port], range).unwrap()[0].1).collect();
        assert!(a.iter().all(|at| !b.contains(at)), "nobody listens yet, and all the same: {a:?} {b:?}");
        assert_eq!(a[0].port(), port);
        ours.release("0");
        theirs.release("0");
        assert_eq!(theirs.choose("0", &[port], range).unwrap()[0].1.port(), port);
    }

    #[test]
    fn a_declared_port_that_is_lost_again_is_not_tried_a_third_time() {
        let book = PortBook::default();
        let (listener, port) = held();
        drop(listener);
        let range = rules((44_000, 44_999));
        for _ in 0..2 {
            assert_eq!(book.choose("a", &[port], range).unwrap()[0].1.port(), port);
            book.release("a");
            book.clashed(port);
        }
        assert_ne!(book.choose("a", &[port], range).unwrap()[0].1.port(), port, "though it looks free");
        book.release("a");
        if let Some((_, last)) = book.taken.lock().clashes.get_mut(&port) {
            *last -= CLASHED;
        }
        assert_eq!(book.choose("a", &[port], range).unwrap()[0].1.port(), port);
    }

    #[test]
    fn a_low_port_is_mapped_unless_allowed_and_order_is_kept() {
        let book = PortBook::default();
        let map = book.choose("a", &[80, 42_500], rules((42_000, 42_099))).unwrap();
        assert_eq!(map.iter().map(|(p, _)| *p).collect::<Vec<_>>(), [80, 42_500]);
        assert!((42_000..=42_099).contains(&map[0].1.port()));
    }

    #[test]
    fn an_exhausted_range_is_an_error_that_keeps_nothing() {
        let book = PortBook::default();
        let (_listener, port) = held();
        assert!(book.choose("a", &[port], rules((port, port))).unwrap_err().to_string().contains("process.ports"));
        assert!(book.taken.lock().by_port.is_empty());
    }
}
