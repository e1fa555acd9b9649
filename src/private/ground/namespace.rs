//! Network namespaces: making one, and going into one for a moment.
//!
//! A namespace belongs to a thread. A thread of the runtime must never be found in another one by the
//! next task that runs on it, therefore a new namespace is made on a thread that ends afterwards, and a
//! visit always comes home, or else ends the process.
//!
//! In a user namespace of its own a process may go into the namespaces that it made there, and not back
//! into the machine's. Whoever is at home in the latter sends a thread that ends after its visit.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::FdFlags;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, kept alive by this handle.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// The namespace behind a descriptor, as [`attach`](super::attach()) gives one.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        open(OWN).map(Self)
    }

    /// The namespace of a process, by its number in this process's own view of processes.
    pub fn of_pid(pid: u32) -> io::Result<Self> {
        open(&format!("/proc/{pid}/ns/net")).map(Self)
    }

    /// The namespace that a socket belongs to.
    pub fn of_socket(socket: &impl AsFd) -> io::Result<Self> {
        /// Of `<linux/sockios.h>`.
        const SIOCGSKNS: libc::Ioctl = 0x894C;
        // SAFETY: the request takes no argument and gives a new descriptor, which nobody else has.
        #[allow(unsafe_code)]
        let fd = unsafe {
            match libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) {
                fd if fd >= 0 => OwnedFd::from_raw_fd(fd),
                _ => return Err(io::Error::last_os_error()),
            }
        };
        // Whether it is close-on-exec differs between kernels.
        rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
        Ok(Self(fd))
    }

    /// Whether both are one namespace.
    pub fn is(&self, other: &Self) -> io::Result<bool> {
        let (one, two) = (rustix::fs::fstat(&self.0)?, rustix::fs::fstat(&other.0)?);
        Ok((one.st_dev, one.st_ino) == (two.st_dev, two.st_ino))
    }

    /// Runs `work` with a thread inside: mostly the calling one, which is back outside when this returns.
    ///
    /// A few µs beside `work`, which must not wait for anything; some tens where there is no way back, and
    /// another thread goes. Threads and processes that it starts stay in the namespace. Should the way back
    /// fail, the process ends: a thread in the wrong namespace would serve one landscape's requests with
    /// another's network.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let home = match Home::take()? {
            Home::Open(home) => home,
            Home::Closed => {
                HOME.set(Some(Home::Closed));
                return self.send_in(work);
            }
        };
        let visit = Visit { home: Some(home) };
        // Should this fail, nothing has changed, and going home changes nothing.
        move_into(self.0.as_fd())?;
        let result = work();
        drop(visit);
        Ok(result)
    }

    /// Runs `work` on a thread that goes in and never comes back.
    fn send_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let visit = || {
            move_into(self.0.as_fd())?;
            Ok(work())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("visit".to_owned()).spawn_scoped(scope, visit)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A new TCP socket in this namespace, which never blocks and no child inherits. It stays in the
    /// namespace whichever thread uses it.
    pub fn socket(&self, domain: Domain) -> io::Result<Socket> {
        if Home::is_closed()? { order(self, domain) } else { self.enter(|| new_socket(domain))? }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Namespace> for OwnedFd {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

thread_local! {
    /// The way home of a thread that is at home and has been away: opening it is a third of a visit.
    static HOME: Cell<Option<Home>> = const { Cell::new(None) };
}

/// The way home of a thread.
enum Home {
    /// By this descriptor.
    Open(OwnedFd),
    /// There is none: who leaves cannot come back.
    Closed,
}

impl Home {
    /// Of the calling thread, which is about to leave.
    fn take() -> io::Result<Self> {
        match HOME.take() {
            Some(home) => Ok(home),
            // The first visit of this thread, or one within a visit, which ends where it began.
            None => Self::look(),
        }
    }

    fn is_closed() -> io::Result<bool> {
        let home = Self::take()?;
        let closed = matches!(home, Self::Closed);
        HOME.set(Some(home));
        Ok(closed)
    }

    fn look() -> io::Result<Self> {
        let home = open(OWN)?;
        // Going where one is changes nothing, and is allowed only to those who may come from elsewhere.
        match move_into(home.as_fd()) {
            Ok(()) => Ok(Self::Open(home)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Self::Closed),
            Err(error) => Err(error),
        }
    }
}

/// A thread's stay in another namespace. Also ended by a panic of what runs inside.
struct Visit {
    home: Option<OwnedFd>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(home) = self.home.take() else { return };
        if let Err(error) = move_into(home.as_fd()) {
            eprintln!("landscape-router: a thread cannot return to its network namespace: {error}");
            std::process::abort();
        }
        // Of nested visits the outermost returns last, so that what stays is home.
        let _ = HOME.try_with(|place| place.set(Some(Home::Open(home))));
    }
}

fn new_socket(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
}

/// A socket to make.
struct Order {
    namespace: OwnedFd,
    domain: Domain,
    made: SyncSender<io::Result<Socket>>,
}

/// Has a socket made by a thread that is at home nowhere: a third of what it takes to start one for it.
fn order(namespace: &Namespace, domain: Domain) -> io::Result<Socket> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let gone = || io::Error::other("the thread that makes sockets in namespaces has ended");
    let orders = match ORDERS.get() {
        Some(orders) => orders,
        None => {
            let (orders, to_make) = mpsc::channel::<Order>();
            let serve = move || {
                for Order { namespace, domain, made } in to_make {
                    // Who does not wait any more needs none.
                    let _ = made.send(move_into(namespace.as_fd()).and_then(|()| new_socket(domain)));
                }
            };
            std::thread::Builder::new().name("sockets".to_owned()).spawn(serve)?;
            // The thread of whoever was slower ends at once.
            ORDERS.get_or_init(|| orders)
        }
    };
    let (made, wanted) = mpsc::sync_channel(1);
    orders.send(Order { namespace: namespace.0.try_clone()?, domain, made }).map_err(|_| gone())?;
    wanted.recv().map_err(|_| gone())?
}

/// Makes a namespace, runs `prepare` inside, and gives both. On a thread of its own, which ends: the
/// caller's stays where it is, and what `prepare` starts is in the new namespace.
pub(super) fn make<T: Send>(prepare: impl FnOnce() -> io::Result<T> + Send) -> io::Result<(Namespace, T)> {
    let work = || {
        leave_for_new()?;
        Ok((Namespace::current()?, prepare()?))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("setting up a network namespace panicked")))
    })
}

/// Puts the calling thread into a new network namespace, for good.
pub(super) fn leave_for_new() -> io::Result<()> {
    HOME.set(None);
    // SAFETY: only the network namespace is left; the table of descriptors stays shared, which is what
    // the call is unsafe for.
    #[allow(unsafe_code)]
    let left = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
    Ok(left?)
}

fn open(path: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn move_into(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_come_back_sends_another_thread() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: making network namespaces needs root");
            return;
        }
        let (there, ()) = make(|| Ok(())).unwrap();
        let here = Namespace::current().unwrap();
        HOME.set(Some(Home::Closed));
        let (visited, nested) = there
            .enter(|| (Namespace::current().unwrap(), here.enter(|| Namespace::current().unwrap()).unwrap()))
            .unwrap();
        assert!(visited.is(&there).unwrap() && nested.is(&here).unwrap());
        assert!(Namespace::current().unwrap().is(&here).unwrap());
        for namespace in [&there, &here, &there] {
            let socket = namespace.socket(Domain::IPV4).unwrap();
            assert!(Namespace::of_socket(&socket).unwrap().is(namespace).unwrap());
        }
        let panic = std::panic::catch_unwind(|| there.enter(|| panic!("inside")).unwrap());
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"inside"));
        assert!(matches!(HOME.take(), Some(Home::Closed)));
    }
}
