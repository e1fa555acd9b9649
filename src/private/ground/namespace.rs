//! Network namespaces: making one, and going into one for a moment.
//!
//! A namespace belongs to a thread. A thread of the runtime must never be found in another one by the
//! next task that runs on it, therefore a new namespace is made on a thread that ends afterwards, and a
//! visit always comes home, or else ends the process.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
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

    /// Runs `work` with the calling thread inside; the thread is back outside when this returns.
    ///
    /// A few µs beside `work`, which must not wait for anything. Threads and processes that it starts
    /// stay in the namespace. Should the way back fail, the process ends: a thread in the wrong
    /// namespace would serve one landscape's requests with another's network.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let home = match HOME.take() {
            Some(home) => home,
            // The first visit of this thread, or one within a visit, which ends where it began.
            None => open(OWN)?,
        };
        let visit = Visit { home: Some(home) };
        // Should this fail, nothing has changed, and going home changes nothing.
        move_into(self.0.as_fd())?;
        let result = work();
        drop(visit);
        Ok(result)
    }

    /// A new TCP socket in this namespace, which never blocks and no child inherits. It stays in the
    /// namespace whichever thread uses it.
    pub fn socket(&self, domain: Domain) -> io::Result<Socket> {
        self.enter(|| Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP)))?
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
    static HOME: Cell<Option<OwnedFd>> = const { Cell::new(None) };
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
        let _ = HOME.try_with(|place| place.set(Some(home)));
    }
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
