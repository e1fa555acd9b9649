//! One connection to a replica or a target.
//!
//! hyper splits a client connection into a handle and a future that moves the bytes, made for a task
//! of its own. Here both stay together and are driven by whoever waits for the answer: the request's
//! future until the head is there, the answer's body after that. So an exchange needs no task, no
//! wake-up between tasks, and ends with its request whatever happens to it.

mod reread;
mod socket;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::bell::Bell;
use super::request_body::RequestBody;
use super::wire::{self, Waiting};
use crate::backend::Door;
use crate::listen::Client;
use crate::observe::ServiceStats;

pub(super) use socket::{Meter, Stream};

use socket::Metered;

/// The most that hyper reads at once.
const READ_AT_ONCE: usize = 256 * 1024;
/// The longest head of an answer.
const LONGEST_HEAD: usize = 256 * 1024;
type Moving = Connection<TokioIo<Metered>, RequestBody>;

/// Counts an open connection for as long as it lives.
#[derive(Debug)]
struct Counted(Arc<ServiceStats>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.upstream_connections.dec();
    }
}

/// See the module's words.
pub(super) struct Upstream {
    send: SendRequest<RequestBody>,
    moving: Option<Box<Moving>>,
    /// `moving` is done and may not be polled again; it still owns the socket of an upgrade.
    ended: bool,
    /// The current exchange is the connection's last one.
    last: bool,
    keep_case: bool,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    meter: Rc<Meter>,
    /// For looking at the socket; `None` where bytes are encrypted.
    socket: Option<Rc<TcpStream>>,
    _counted: Counted,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("open", &!self.ended).finish_non_exhaustive()
    }
}

/// Whoever waits for an answer.
pub(super) trait Asker {
    /// Its time is up.
    fn expired(&self) -> bool;
    /// It gets an informational answer.
    fn inform(&self, answer: &[u8]);
}

impl Asker for Client {
    fn expired(&self) -> bool {
        self.expired()
    }

    fn inform(&self, answer: &[u8]) {
        self.inform(answer);
    }
}

/// What came of [`Upstream::exchange`] if not an answer.
pub(super) enum Broken {
    /// Nothing of the request was sent; it is in its slot again.
    Unsent,
    /// The connection ended or failed.
    Died(hyper::Error),
    /// The caller's time is up.
    Expired,
}

/// Opens a TCP connection.
pub(super) async fn connect(door: &Door, limit: Duration) -> io::Result<TcpStream> {
    let stream =
        tokio::time::timeout(limit, door.connect()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Upstream {
    /// Speaks HTTP/1.1 over an open connection. `keep_case`: names of fields are sent and taken as they
    /// came.
    pub async fn over(stream: Stream, stats: Arc<ServiceStats>, keep_case: bool) -> hyper::Result<Self> {
        stats.upstream_connections.inc();
        let counted = Counted(stats);
        let socket = match &stream {
            Stream::Plain(stream) => Some(stream.clone()),
            Stream::Tls(_) => None,
        };
        let meter = Rc::new(Meter::default());
        let io = Metered { stream, meter: meter.clone(), left: Bytes::new(), part: Vec::new() };
        let (send, moving) = engine(keep_case).handshake(TokioIo::new(io)).await?;
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        let moving = Some(Box::new(moving));
        Ok(Self { send, moving, ended: false, last: false, keep_case, bell, waker, meter, socket, _counted: counted })
    }

    /// What its socket saw.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Moves bytes. Ready when the connection has ended.
    pub fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended {
            return Poll::Ready(());
        }
        let Some(moving) = &mut self.moving else { return Poll::Ready(()) };
        self.bell.ring_for(cx.waker());
        // An error reaches whoever waits for the answer or its body.
        let poll = Pin::new(&mut **moving).poll(&mut Context::from_waker(&self.waker)).map(drop);
        self.ended = poll.is_ready();
        poll
    }

    /// Sends the request in `slot` and waits for the head of its answer, or until the asker's time is up. With
    /// `record` the bytes that go out, or should have, are kept.
    pub async fn exchange(
        &mut self,
        slot: &mut Option<Request<RequestBody>>,
        record: bool,
        asker: &impl Asker,
    ) -> Result<Response<Incoming>, Broken> {
        let Some(request) = slot.take() else { return Err(Broken::Unsent) };
        let method = request.method().clone();
        self.meter.begin(record);
        match self.answer_to(request, slot, asker).await {
            // Boxed: what is rare may not make every request's future larger.
            Err(Broken::Died(error)) if error.is_parse_too_large() => Box::pin(self.reread(method, error, asker)).await,
            answer => answer,
        }
    }

    async fn answer_to(
        &mut self,
        request: Request<RequestBody>,
        slot: &mut Option<Request<RequestBody>>,
        asker: &impl Asker,
    ) -> Result<Response<Incoming>, Broken> {
        let send = &mut self.send;
        let mut answer = std::pin::pin!(self.bell.muted(|| send.try_send_request(request)));
        // The answer is made by driving the connection, so nobody has to be woken for it.
        let mut silent = Context::from_waker(Waker::noop());
        std::future::poll_fn(|cx| {
            let ended = self.drive(cx).is_ready();
            if let Some(bytes) = self.meter.take_informational() {
                asker.inform(&bytes);
            }
            let mut polled = answer.as_mut().poll(&mut silent);
            if ended && polled.is_pending() {
                // What hyper has not begun to send it gives back when it is dropped.
                self.moving = None;
                polled = answer.as_mut().poll(&mut silent);
            }
            match polled {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => {
                    *slot = error.take_message();
                    Poll::Ready(Err(if slot.is_some() { Broken::Unsent } else { Broken::Died(error.into_error()) }))
                }
                Poll::Pending if asker.expired() => Poll::Ready(Err(Broken::Expired)),
                Poll::Pending => {
                    self.acknowledge();
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Whether a further request can be sent: the last exchange is complete in both directions.
    pub fn is_reusable(&self) -> bool {
        !self.ended && !self.last && !self.meter.broken.get() && self.send.is_ready()
    }

    /// Called when the socket is empty and the answer is not over.
    pub fn acknowledge(&self) {
        if let Some(socket) = &self.socket {
            self.meter.acknowledge.run_dry(socket);
        }
    }

    /// Leaves the connection without anyone to wake, for the time that it is idle.
    pub fn rest(&self) {
        self.bell.ring_for(Waker::noop());
    }

    /// Whether an idle connection has not ended, as far as the runtime has noticed.
    pub fn lives(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop())).is_pending() && self.send.is_ready()
    }

    /// Takes the next of a body that this connection brings, without ringing for what is at work anyway.
    pub fn quietly<R>(&self, work: impl FnOnce() -> R) -> R {
        self.bell.muted(work)
    }

    /// Whether the peer has not ended an idle connection, by asking the socket.
    pub fn is_open(&self) -> bool {
        !self.ended && self.socket.as_ref().is_none_or(|socket| wire::peek(socket) == Waiting::Nothing)
    }

    /// Ends HTTP on this connection: its bytes, and what was read of them.
    pub fn into_stream(self) -> Option<(Stream, Bytes)> {
        let parts = self.moving?.into_parts();
        let Metered { stream, left, .. } = parts.io.into_inner();
        let read = match left.is_empty() {
            true => parts.read_buf,
            false => {
                let all = parts.read_buf.len() + left.len();
                parts.read_buf.chain(left).copy_to_bytes(all)
            }
        };
        Some((stream, read))
    }
}

/// How HTTP is spoken to upstreams. It has room for 100 fields of an answer on its stack: see [`reread`].
fn engine(keep_case: bool) -> Builder {
    let mut engine = Builder::new();
    engine
        .max_buf_size(READ_AT_ONCE)
        .max_header_size(LONGEST_HEAD)
        .title_case_headers(keep_case)
        .preserve_header_case(keep_case)
        // RFC 9112, 5.1: a proxy removes white space before the colon from an answer.
        .allow_spaces_after_header_name_in_responses(true);
    engine
}
