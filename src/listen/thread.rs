//! One data thread: its connections, its sweep, its orders from outside.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use super::accept;
use super::client::{Client, Deadlines};
use super::clock::Clock;
use super::connection;
use super::count::{Count, Counted};
use crate::proxy::{CurrentSnapshot, Entry, Gateway, Local, Shared};

/// An accepted connection on its way to its thread.
#[derive(Debug)]
pub(super) struct Accepted {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub listener: u64,
    /// The private port that it came to.
    pub entry: Option<Entry>,
    pub counted: Counted,
}

/// Where connections come from.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub id: u64,
    pub gateway: Option<Gateway>,
}

/// What a thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Serve this.
    Serve(Accepted),
    /// Accept on this listener, which is on no other thread; with what it stands for, if it is a
    /// private one.
    Listen(u64, TcpListener, Option<Gateway>),
    /// Stop accepting on it. Its connections finish, with `Connection: close`.
    Unlisten(u64),
    /// Let all connections finish; those that were idle for so long are closed.
    Drain(Duration, Quiet),
    /// Close every connection now, and end.
    End,
}

/// See the module's words.
pub(super) struct Thread {
    number: usize,
    count: Arc<Count>,
    all: Arc<[mpsc::UnboundedSender<Order>]>,
    clock: Rc<Clock>,
    local: Rc<Local>,
    clients: RefCell<HashMap<u64, (Rc<Client>, AbortHandle)>>,
    next: Cell<u64>,
    /// Wakes the sweep when there is something to sweep.
    work: Notify,
    listeners: RefCell<HashMap<u64, AbortHandle>>,
    /// Connections of which listeners finish, and all if it is `None`.
    draining: RefCell<Draining>,
    refusals: Rc<Cell<usize>>,
}

#[derive(Default)]
struct Draining {
    listeners: Vec<u64>,
    all: Option<Duration>,
    quiet: Quiet,
}

/// What becomes of raw connections on which nothing moves, while all others finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quiet {
    /// They go on: whoever has one may have a session on it, and nothing makes it end.
    #[default]
    Kept,
    /// They end, too.
    Ended,
}

/// How long an idle connection of a removed listener may wait for a last request, which is answered
/// with `Connection: close`: closing at once could cross it on its way.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// A refusal under way.
pub(super) struct Refusal(Rc<Cell<usize>>);

impl Drop for Refusal {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Thread {
    /// The data thread's number.
    pub fn number(&self) -> usize {
        self.number
    }

    pub fn count(&self) -> &Arc<Count> {
        &self.count
    }

    pub fn local(&self) -> &Rc<Local> {
        &self.local
    }

    /// A turn to refuse a connection; `None` if too many are under way.
    pub fn refusal(&self, most: usize) -> Option<Refusal> {
        (self.refusals.get() < most).then(|| {
            self.refusals.set(self.refusals.get() + 1);
            Refusal(self.refusals.clone())
        })
    }

    /// Serves a connection here, or sends it to the thread it was given to.
    pub fn pass_on(self: &Rc<Self>, accepted: Accepted) {
        let thread = accepted.counted.thread();
        if thread == self.number {
            self.serve(accepted);
        } else if let Some(Err(lost)) = self.all.get(thread).map(|to| to.send(Order::Serve(accepted))) {
            // That thread has ended, as the whole router is about to.
            drop(lost);
        }
    }

    fn serve(self: &Rc<Self>, accepted: Accepted) {
        let Accepted { stream, peer, listener, entry, counted } = accepted;
        let stream = match stream.set_nodelay(true).and_then(|()| tokio::net::TcpStream::from_std(stream)) {
            Ok(stream) => stream,
            // Reset before it began.
            Err(error) => return tracing::debug!(%peer, "a connection could not be served: {error}"),
        };
        self.clock.advance();
        let stats = self.local.shared().stats.clone();
        let client = Rc::new(Client::new(stream, peer, listener, self.clock.clone(), stats).at(entry));
        {
            let draining = self.draining.borrow();
            if draining.all.is_some() || draining.listeners.contains(&listener) {
                client.drain();
            }
        }
        let key = self.next.get();
        self.next.set(key + 1);
        let end = Ending { thread: self.clone(), key, _counted: counted };
        let serving = client.clone();
        let task = tokio::task::spawn_local(async move {
            connection::serve(end.thread.clone(), serving).await;
            drop(end);
        });
        self.clients.borrow_mut().insert(key, (client, task.abort_handle()));
        self.work.notify_one();
    }

    fn listen(self: &Rc<Self>, id: u64, listener: TcpListener, gateway: Option<Gateway>) {
        let watched = listener.try_clone().and_then(accept::watch);
        match watched {
            Ok(watched) => {
                let task = tokio::task::spawn_local(accepting(self.clone(), watched, listener, Source { id, gateway }));
                self.listeners.borrow_mut().insert(id, task.abort_handle());
            }
            Err(error) => tracing::error!("a listener cannot be watched, it accepts nothing: {error}"),
        }
    }

    fn unlisten(&self, id: u64) {
        if let Some(task) = self.listeners.borrow_mut().remove(&id) {
            task.abort();
        }
        self.draining.borrow_mut().listeners.push(id);
        for (client, _) in self.clients.borrow().values() {
            if client.listener() == id {
                client.drain();
            }
        }
    }

    fn drain(&self, grace: Duration, quiet: Quiet) {
        {
            let mut draining = self.draining.borrow_mut();
            (draining.all, draining.quiet) = (Some(grace), quiet);
        }
        for (_, task) in self.listeners.borrow_mut().drain() {
            task.abort();
        }
        for (client, _) in self.clients.borrow().values() {
            client.drain();
        }
        self.work.notify_one();
    }

    fn end(&self) {
        // Collected first: an aborted task takes itself out of the map.
        let tasks: Vec<AbortHandle> = self.clients.borrow().values().map(|(_, task)| task.clone()).collect();
        for task in tasks {
            task.abort();
        }
        self.local.close_idle_upstreams();
    }

    /// Deadlines, idle upstream connections, connections that are no longer wanted: all of a thread's
    /// are looked at in one pass every now and then, which costs nanoseconds a connection and spares
    /// every request its timers.
    async fn sweep(self: Rc<Self>) {
        loop {
            if self.clients.borrow().is_empty() && self.local.sweep() {
                self.work.notified().await;
            }
            let timeouts = self.local.loaded().snapshot.rules.timeouts.clone();
            let deadlines = Deadlines { header: timeouts.header, response: timeouts.response, idle: timeouts.idle };
            let shortest = timeouts.header.min(timeouts.response).min(timeouts.idle);
            let period = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_millis(500));
            tokio::time::sleep(period).await;
            let now = self.clock.advance();
            let draining = self.draining.borrow();
            for (client, _) in self.clients.borrow().values() {
                client.sweep(now, &deadlines);
                if client.draining() {
                    client.close_if_idle(now, draining.all.unwrap_or(LAST_REQUEST), draining.quiet);
                }
            }
            drop(draining);
            self.local.sweep();
        }
    }
}

/// Takes a connection out of its thread's list, however its task ends.
struct Ending {
    thread: Rc<Thread>,
    key: u64,
    _counted: Counted,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.thread.clients.borrow_mut().remove(&self.key);
    }
}

/// Accepts until aborted; what is queued then is accepted still, for closing would reset it.
async fn accepting(thread: Rc<Thread>, watched: AsyncFd<TcpListener>, listener: TcpListener, source: Source) {
    struct Queue(Rc<Thread>, TcpListener, Source);
    impl Drop for Queue {
        fn drop(&mut self) {
            accept::empty(&self.0, &self.1, &self.2);
        }
    }
    let queue = Queue(thread.clone(), listener, source);
    accept::accept(thread, watched, &queue.2).await;
}

/// The whole of a data thread, until it is told to end.
pub(super) async fn run(
    number: usize,
    count: Arc<Count>,
    all: Arc<[mpsc::UnboundedSender<Order>]>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    shared: Shared,
    current: CurrentSnapshot,
) {
    let thread = Rc::new(Thread {
        number,
        count,
        all,
        clock: Rc::new(Clock::new()),
        local: Local::new(shared, current),
        clients: RefCell::default(),
        next: Cell::new(0),
        work: Notify::new(),
        listeners: RefCell::default(),
        draining: RefCell::default(),
        refusals: Rc::default(),
    });
    let sweep = tokio::task::spawn_local(thread.clone().sweep());
    while let Some(order) = orders.recv().await {
        match order {
            Order::Serve(accepted) => thread.serve(accepted),
            Order::Listen(id, listener, gateway) => thread.listen(id, listener, gateway),
            Order::Unlisten(id) => thread.unlisten(id),
            Order::Drain(grace, quiet) => thread.drain(grace, quiet),
            Order::End => break,
        }
    }
    thread.drain(Duration::ZERO, Quiet::Ended);
    thread.end();
    sweep.abort();
    // The aborted tasks are dropped by the runtime, on this thread.
    tokio::task::yield_now().await;
}
