//! One client connection as its requests and the sweep of its thread see it.

mod io;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use http::{HeaderValue, Version};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::clock::{Clock, Tick};
use super::scan::Scan;
use super::thread::Quiet;
use crate::observe::RouterStats;
use crate::observe::calls::Connected;
use crate::proxy::wire::{self, Acknowledge, Waiting};
use crate::proxy::{Entry, ErrorCode, Tunnel};

pub use io::ClientIo;

/// What a connection waits for; says which deadline counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The client has to send its (next) request; nothing of it came yet.
    Idle,
    /// A part of a request's header came.
    Header,
    /// The router works or holds: deadlines are kept by whoever does.
    Busy,
    /// The request went to the upstream, whose answer has not begun.
    Waiting,
    /// Bodies or a tunnel move.
    Streaming,
    /// Bytes of another protocol than HTTP are passed on.
    Relaying,
}

/// See the module's words.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    listener: u64,
    clock: Rc<Clock>,
    stats: Arc<RouterStats>,
    phase: Cell<Phase>,
    since: Cell<Tick>,
    moved: Cell<Tick>,
    /// Shorter than the general idle deadline, for the current stream.
    idle_bytes: Cell<Option<Duration>>,
    expired: Cell<bool>,
    draining: Cell<bool>,
    close_idle: Cell<bool>,
    half_closed: Cell<bool>,
    first: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// A request was handed to the service and its answer is not yet written.
    answering: Cell<bool>,
    /// The answer's body is over: the next flush ends the request.
    answered: Cell<bool>,
    /// The engine has bytes to write that the socket did not take, or of an answer before this one.
    unwritten: Cell<bool>,
    /// The rest of an informational answer, written before anything else.
    informational: RefCell<Vec<u8>>,
    /// The client may get such answers.
    takes_informational: Cell<bool>,
    /// The status of an answer that the HTTP engine wanted to give by itself.
    engine_answer: Cell<Option<u16>>,
    /// The current request has a body whose end has not come.
    unread: Cell<bool>,
    body_over_limit: Cell<bool>,
    body_broken: Cell<bool>,
    bytes_in: Cell<u64>,
    /// The head of the answer is known.
    answer_begun: Cell<bool>,
    /// A half-close of the client now means that it left.
    half_close_leaves: Cell<bool>,
    scan: RefCell<Scan>,
    acknowledge: Acknowledge,
    tunnel: RefCell<Option<Tunnel>>,
    peer_text: RefCell<Option<HeaderValue>>,
    /// The private port that it came to, and its caller.
    entry: Option<Entry>,
    caller: OnceCell<Connected>,
    /// Nothing has moved on a relayed connection for a while.
    quiet: Cell<bool>,
}

impl Client {
    /// A connection that was just accepted by listener number `listener`.
    pub(crate) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        listener: u64,
        clock: Rc<Clock>,
        stats: Arc<RouterStats>,
    ) -> Self {
        let now = clock.tick();
        Self {
            stream,
            peer,
            listener,
            clock,
            stats,
            // The first request has to come within the header's deadline, as if it had begun.
            phase: Cell::new(Phase::Header),
            since: Cell::new(now),
            moved: Cell::new(now),
            idle_bytes: Cell::new(None),
            expired: Cell::new(false),
            draining: Cell::new(false),
            close_idle: Cell::new(false),
            half_closed: Cell::new(false),
            first: Cell::new(true),
            waker: RefCell::new(None),
            answering: Cell::new(false),
            answered: Cell::new(false),
            unwritten: Cell::new(false),
            informational: RefCell::default(),
            takes_informational: Cell::new(false),
            engine_answer: Cell::new(None),
            unread: Cell::new(false),
            body_over_limit: Cell::new(false),
            body_broken: Cell::new(false),
            bytes_in: Cell::new(0),
            answer_begun: Cell::new(false),
            half_close_leaves: Cell::new(false),
            scan: RefCell::new(Scan::new()),
            acknowledge: Acknowledge::default(),
            tunnel: RefCell::new(None),
            peer_text: RefCell::new(None),
            entry: None,
            caller: OnceCell::new(),
            quiet: Cell::new(false),
        }
    }

    /// It came to a private port.
    pub(super) fn at(mut self, entry: Option<Entry>) -> Self {
        self.entry = entry;
        self
    }

    /// The private port that it came to.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// Who calls, on a private port.
    pub fn caller(&self) -> Option<&Connected> {
        self.caller.get()
    }

    /// See [`Client::caller`]; told once.
    pub fn set_caller(&self, caller: Connected) {
        // A second one would only be counted twice.
        let _known = self.caller.set(caller);
    }

    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The client's address as `X-Forwarded-For` spells it; made once a connection.
    pub fn peer_text(&self) -> HeaderValue {
        let mut text = self.peer_text.borrow_mut();
        text.get_or_insert_with(|| {
            // Digits, dots, colons and letters are always a valid field value.
            HeaderValue::try_from(self.peer.ip().to_canonical().to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
        })
        .clone()
    }

    pub(super) fn listener(&self) -> u64 {
        self.listener
    }

    /// Its socket.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    // ----- phases and deadlines -----

    /// Says what the connection waits for from now on.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.clock.tick());
        self.expired.set(false);
    }

    /// What it waits for.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Bytes moved on this connection or on the upstream's for it.
    pub fn touch(&self) {
        self.moved.set(self.clock.tick());
    }

    /// The deadline of its phase has passed.
    pub fn expired(&self) -> bool {
        self.expired.get()
    }

    /// Called by the sweep: wakes the connection's task if a deadline has passed.
    pub(super) fn sweep(&self, now: Tick, deadlines: &Deadlines) {
        let (since, limit) = match self.phase.get() {
            Phase::Idle => (self.since.get(), deadlines.idle),
            Phase::Header => (self.since.get(), deadlines.header),
            Phase::Busy => return,
            Phase::Waiting => (self.since.get(), deadlines.response),
            Phase::Streaming => {
                let limit = self.idle_bytes.get().map_or(deadlines.idle, |l| l.min(deadlines.idle));
                (self.moved.get(), limit)
            }
            Phase::Relaying => (self.moved.get(), self.idle_bytes.get().unwrap_or(deadlines.idle)),
        };
        if now.since(since) >= limit && !self.expired.replace(true) {
            self.wake();
        }
    }

    // ----- draining -----

    /// Answers carry `Connection: close` from now on.
    pub(super) fn drain(&self) {
        self.draining.set(true);
    }

    /// Whether this connection may serve further requests.
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Closes, if it has been idle for `grace`.
    pub(super) fn close_if_idle(&self, now: Tick, grace: Duration, quiet: Quiet) {
        let kept = self.phase.get() == Phase::Relaying && quiet == Quiet::Kept;
        if !kept && self.is_idle() && now.since(self.since.get()) >= grace && !self.close_idle.replace(true) {
            self.wake();
        }
    }

    /// Whether [`Client::close_if_idle`] asked for an end and nothing came since.
    pub(crate) fn may_close(&self) -> bool {
        self.close_idle.replace(false) && self.is_idle() && wire::peek(&self.stream) != Waiting::Bytes
    }

    fn is_idle(&self) -> bool {
        match self.phase.get() {
            Phase::Idle => true,
            Phase::Header => self.untouched(),
            Phase::Relaying => self.quiet.get(),
            Phase::Busy | Phase::Waiting | Phase::Streaming => false,
        }
    }

    /// Bytes are relayed; it expires when none moved for `idle`. `quiet`: it may be closed at any moment.
    pub fn relay(&self, idle: Duration, quiet: bool) {
        self.idle_bytes.set(Some(idle));
        self.quiet.set(quiet);
        self.enter(Phase::Relaying);
    }

    // ----- the client's leaving -----

    /// The client has shut its sending side.
    pub fn half_closed(&self) -> bool {
        self.half_closed.get()
    }

    /// Whether a half-close means that the client left: while it is held, and on streams that no
    /// client half-closes.
    pub fn leaves_by_half_close(&self, leaves: bool) {
        self.half_close_leaves.set(leaves);
    }

    /// The client has left, as far as its half-close tells.
    pub(super) fn has_left(&self) -> bool {
        self.half_closed.get() && self.half_close_leaves.get()
    }

    pub(super) fn set_half_closed(&self) {
        self.half_closed.set(true);
    }

    /// Whether the socket tells of an end: the peer's half-close or a broken connection.
    pub(super) fn news(&self) -> bool {
        // One interest at a time: of a combination the runtime tells nothing here.
        self.is_broken() || (!self.half_closed.get() && self.stream.try_io(Interest::PRIORITY, || Ok(())).is_ok())
    }

    /// The connection is broken: reset, or failed.
    pub(super) fn is_broken(&self) -> bool {
        self.stream.try_io(Interest::ERROR, || Ok(())).is_ok()
    }

    /// Counts a request that could not be read.
    pub(super) fn refused(&self, code: ErrorCode) {
        self.stats.unrouted.request(code.status().as_u16(), self.clock.tick().since(self.since.get()));
    }

    // ----- the task that serves it -----

    pub(super) fn remember(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if kept.as_ref().is_none_or(|w| !w.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    /// Runs `work`, which owns the connection's bytes, as the connection's task; `None` if it breaks before.
    pub(crate) async fn until_broken<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut broken = pin!(self.stream.ready(Interest::ERROR));
        let mut watched = false;
        poll_fn(|cx| {
            self.remember(cx.waker());
            if self.is_broken() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(done));
            }
            if !std::mem::replace(&mut watched, true) && broken.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    // ----- requests -----

    /// A request's head of this version is complete. Returns whether it carried both framings (RFC 9112, 6.1).
    pub fn begin(&self, version: Version, has_body: bool) -> bool {
        // RFC 9110, 15.2: a client of HTTP/1.0 gets no informational answers.
        self.takes_informational.set(version == Version::HTTP_11);
        if self.answered.get() {
            self.unwritten.set(true);
        }
        self.answering.set(true);
        self.answered.set(false);
        self.first.set(false);
        self.unread.set(has_body);
        self.body_over_limit.set(false);
        self.body_broken.set(false);
        self.bytes_in.set(0);
        self.answer_begun.set(false);
        self.half_close_leaves.set(false);
        self.idle_bytes.set(None);
        self.enter(Phase::Busy);
        self.scan.borrow_mut().take()
    }

    /// The answer's body is over, or was given up.
    pub fn answer_over(&self) {
        self.answered.set(true);
    }

    /// The request's body was read to its end.
    pub fn body_over(&self) {
        self.unread.set(false);
    }

    /// Whether a part of the request's body is still to be read: an answer now is the connection's
    /// last, and its end must not reset that answer.
    pub fn unread(&self) -> bool {
        self.unread.get()
    }

    /// The request's body grew over its limit.
    pub fn body_over_limit(&self) -> bool {
        self.body_over_limit.get()
    }

    /// See [`Client::body_over_limit`].
    pub fn set_body_over_limit(&self) {
        self.body_over_limit.set(true);
    }

    /// The client broke the request's body off.
    pub fn body_broken(&self) -> bool {
        self.body_broken.get()
    }

    /// See [`Client::body_broken`].
    pub fn set_body_broken(&self) {
        self.body_broken.set(true);
    }

    /// Bytes of the request's body so far.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    /// More bytes of the request's body.
    pub fn add_bytes_in(&self, n: u64) {
        self.bytes_in.set(self.bytes_in.get() + n);
        self.touch();
    }

    /// Whether the head of the answer is known.
    pub fn answer_begun(&self) -> bool {
        self.answer_begun.get()
    }

    /// The head of the answer is known: bodies move from here on.
    pub fn begin_answer(&self, idle_bytes: Option<Duration>) {
        self.answer_begun.set(true);
        self.idle_bytes.set(idle_bytes);
        self.enter(Phase::Streaming);
        self.touch();
    }

    pub(super) fn engine_answer(&self) -> Option<u16> {
        self.engine_answer.get()
    }

    /// Whether the head that the engine could not read is of a version that is not known.
    pub(super) fn unknown_version(&self) -> bool {
        self.scan.borrow().unknown_version()
    }

    /// What of a head that is longer than `limit` is too long.
    pub(super) fn too_long(&self, limit: usize) -> ErrorCode {
        match self.scan.borrow().long_line(limit) {
            // RFC 9112, 3: 414 for a target that is too long, 501 for such a method.
            Some(true) => ErrorCode::UriTooLong,
            Some(false) => ErrorCode::NotImplemented,
            None => ErrorCode::HeaderTooLarge,
        }
    }

    /// Whether no byte of a request ever came.
    pub(super) fn untouched(&self) -> bool {
        self.first.get() && !self.scan.borrow().ahead()
    }

    /// The connection becomes this tunnel once the answer's head is written.
    pub fn upgrade_to(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }
}

/// The deadlines of the current configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    pub header: Duration,
    pub response: Duration,
    pub idle: Duration,
}
