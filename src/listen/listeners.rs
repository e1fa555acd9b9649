//! The handle from outside.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

use super::bind::{self, BindError};
use super::count::Count;
use super::thread::{self, Order, Quiet};
use crate::proxy::{CurrentSnapshot, Gateway, Shared};

/// An idle connection of a router that ends may wait so long for a last request.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// How many threads and connections.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Data threads, at least one; fixed for the process.
    pub threads: usize,
    /// Client connections at a time; more are answered with 503 and closed.
    pub max_connections: usize,
}

/// The data threads and the listeners on them. Dropping it closes everything at once; see
/// [`Listeners::drain`].
pub struct Listeners {
    orders: Arc<[mpsc::UnboundedSender<Order>]>,
    threads: Vec<JoinHandle<()>>,
    count: Arc<Count>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    listeners: Vec<Listener>,
    /// By name: that of an interface, or what its owner chose.
    private: HashMap<Arc<str>, (u64, TcpListener)>,
    next: u64,
}

/// Sockets that are bound and not yet served; see [`Listeners::open`].
#[derive(Debug)]
pub struct Opened {
    wanted: Vec<SocketAddr>,
    /// Wanted and bound address, the socket, and its duplicate for the data threads.
    fresh: Vec<(SocketAddr, SocketAddr, TcpListener, TcpListener)>,
}

struct Listener {
    id: u64,
    /// As configured; port 0 stands for any.
    wanted: SocketAddr,
    bound: SocketAddr,
    socket: TcpListener,
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Listeners {
    /// Starts the data threads, without listeners.
    pub fn start(options: Options, shared: Shared, current: CurrentSnapshot) -> io::Result<Self> {
        let threads = options.threads.max(1);
        let count = Count::new(threads, options.max_connections, shared.stats.clone());
        let (orders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::unbounded_channel()).unzip();
        let orders: Arc<[_]> = orders.into();
        let mut this = Self { orders: orders.clone(), threads: Vec::new(), count, open: Mutex::default() };
        for (number, receiver) in receivers.into_iter().enumerate() {
            let runtime = Builder::new_current_thread();
            let (count, all) = (this.count.clone(), orders.clone());
            let (shared, current) = (shared.clone(), current.clone());
            let (told, started) = std::sync::mpsc::channel();
            let body = move || {
                let mut runtime = runtime;
                match runtime.enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => {
                        // Whoever starts us waits for this; it cannot have gone.
                        let _told = told.send(Ok(()));
                        runtime.block_on(thread::run(number, count, all, receiver, shared, current));
                    }
                    Err(error) => drop(told.send(Err(error))),
                }
            };
            this.threads.push(std::thread::Builder::new().name(format!("data-{number}")).spawn(body)?);
            started.recv().map_err(io::Error::other)??;
        }
        Ok(this)
    }

    /// Binds what these addresses need beside the listeners there are, and serves none of it yet: after
    /// an error everything is as before. `given` are sockets that another process has opened, each with
    /// the address it was configured as; the others of them are closed.
    pub fn open(&self, wanted: &[SocketAddr], given: Vec<(SocketAddr, TcpListener)>) -> Result<Opened, BindError> {
        let mut given = given;
        let open = self.open.lock();
        let mut fresh = Vec::new();
        for (n, &address) in wanted.iter().enumerate() {
            if wanted[..n].contains(&address) || open.listeners.iter().any(|l| l.wanted == address) {
                continue;
            }
            let socket = match given.iter().position(|(wanted, _)| *wanted == address) {
                Some(at) => adopt(given.swap_remove(at).1),
                None => bind::listen(address).map_err(|e| e.source),
            };
            let ready = socket.and_then(|socket| {
                let bound = socket.local_addr()?;
                let theirs = socket.try_clone()?;
                Ok((address, bound, socket, theirs))
            });
            fresh.push(ready.map_err(|source| BindError { address, source })?);
        }
        Ok(Opened { wanted: wanted.to_vec(), fresh })
    }

    /// Accepts on what was opened. Listeners that are no longer wanted stop accepting, and their
    /// connections finish. Returns the addresses as bound, in the order they were wanted.
    pub fn serve(&self, opened: Opened) -> Vec<SocketAddr> {
        let Opened { wanted, fresh } = opened;
        let mut open = self.open.lock();
        for (wanted, bound, socket, theirs) in fresh {
            let id = open.next;
            open.next += 1;
            self.tell(id as usize % self.orders.len(), Order::Listen(id, theirs, None));
            open.listeners.push(Listener { id, wanted, bound, socket });
        }
        open.listeners.retain(|listener| {
            let keep = wanted.contains(&listener.wanted);
            if !keep {
                self.tell_all(|| Order::Unlisten(listener.id));
            }
            keep
        });
        let bound = |address| open.listeners.iter().find(|l| l.wanted == address).map_or(address, |l| l.bound);
        wanted.iter().map(|&address| bound(address)).collect()
    }

    /// Accepts what services send to each other, by this gateway. `name` is the interface's, or any other
    /// that no interface can have.
    pub fn serve_private(&self, name: Arc<str>, gateway: impl Into<Gateway>, socket: TcpListener) -> io::Result<()> {
        let theirs = socket.try_clone()?;
        let mut open = self.open.lock();
        let id = open.next;
        open.next += 1;
        self.tell(id as usize % self.orders.len(), Order::Listen(id, theirs, Some(gateway.into())));
        if let Some((before, _)) = open.private.insert(name, (id, socket)) {
            self.tell_all(|| Order::Unlisten(before));
        }
        Ok(())
    }

    /// A socket for [`Listeners::serve_private`].
    pub fn bind_private(address: SocketAddr) -> io::Result<TcpListener> {
        bind::listen(address).map_err(|e| e.source)
    }

    /// Stops accepting on the private listener of this name; its connections finish.
    pub fn end_private(&self, name: &str) {
        if let Some((id, _)) = self.open.lock().private.remove(name) {
            self.tell_all(|| Order::Unlisten(id));
        }
    }

    /// The addresses that are listened on, as bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.open.lock().listeners.iter().map(|l| l.bound).collect()
    }

    /// Duplicates of the listening sockets, for another process to go on with, each with the address
    /// it was configured as.
    pub fn descriptors(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let open = self.open.lock();
        open.listeners.iter().map(|l| Ok((l.wanted, l.socket.try_clone()?.into()))).collect()
    }

    /// The same of the private listeners, each with its name.
    pub fn private_descriptors(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let open = self.open.lock();
        open.private.iter().map(|(name, (_, socket))| Ok((name.to_string(), socket.try_clone()?.into()))).collect()
    }

    /// Changes how many client connections there may be.
    pub fn set_max_connections(&self, most: usize) {
        self.count.set_most(most);
    }

    /// Client connections that are open.
    pub fn connections(&self) -> usize {
        self.count.open()
    }

    /// Accepts nothing more and lets what is in flight finish: answers carry `Connection: close`,
    /// idle connections are closed soon. Returns when no connection is left, or at the deadline;
    /// then the rest is closed. Returns how many that were.
    pub async fn drain(&self, deadline: Duration, quiet: Quiet) -> usize {
        self.stop_accepting();
        self.tell_all(|| Order::Drain(LAST_REQUEST, quiet));
        if tokio::time::timeout(deadline, self.count.none_open()).await.is_ok() {
            return 0;
        }
        let left = self.count.open();
        self.tell_all(|| Order::End);
        left
    }

    /// Accepts nothing more; open connections finish, their next answers carry `Connection: close`.
    pub fn stop_accepting(&self) {
        let mut open = self.open.lock();
        let public: Vec<u64> = open.listeners.drain(..).map(|l| l.id).collect();
        let private: Vec<u64> = open.private.drain().map(|(_, (id, _))| id).collect();
        for id in public.into_iter().chain(private) {
            self.tell_all(|| Order::Unlisten(id));
        }
    }

    fn tell(&self, thread: usize, order: Order) {
        // A thread that has ended has nothing left to be told.
        let _ended = self.orders[thread].send(order);
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        for thread in 0..self.orders.len() {
            self.tell(thread, order());
        }
    }
}

fn adopt(socket: TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.tell_all(|| Order::End);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a data thread has panicked");
            }
        }
    }
}
