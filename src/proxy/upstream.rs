//! One connection to a replica or a target.
//!
//! hyper splits a client connection into a handle and a future that moves the bytes, made for a task
//! of its own. Here both stay together and are driven by whoever waits for the answer: the request's
//! future until the head is there, the answer's body after that. So an exchange needs no task, no
//! wake-up between tasks, and ends with its request whatever happens to it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::bell::Bell;
use super::request_body::RequestBody;
use super::wire::{self, Waiting};
use crate::backend::Door;
use crate::observe::ServiceStats;

/// The most that hyper reads at once.
const READ_AT_ONCE: usize = 256 * 1024;
/// The longest head of an answer.
const LONGEST_HEAD: usize = 256 * 1024;
/// The most fields of an answer.
const MOST_FIELDS: usize = 100;

/// What the socket saw of the current exchange; outlives hyper's ownership of the socket.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Bytes of an answer came.
    pub answered: Cell<bool>,
    /// Bytes of the request went out.
    pub sent: Cell<bool>,
    /// The request's bytes are kept.
    recording: Cell<bool>,
    record: RefCell<Vec<u8>>,
}

impl Meter {
    /// The request, as far as it was written or tried to be.
    pub fn take_record(&self) -> Vec<u8> {
        self.record.take()
    }

    fn begin(&self, record: bool) {
        self.answered.set(false);
        self.sent.set(false);
        self.recording.set(record);
        self.record.borrow_mut().clear();
    }

    fn wrote(&self, bytes: &[u8]) {
        self.sent.set(true);
        self.keep(bytes);
    }

    fn keep(&self, bytes: &[u8]) {
        if self.recording.get() {
            self.record.borrow_mut().extend_from_slice(bytes);
        }
    }
}

/// A connection's bytes, plain or encrypted.
pub(super) enum Stream {
    Plain(Rc<TcpStream>),
    Tls(Box<TlsStream<TcpStream>>),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => wire::poll_read(stream, cx, buf).map_ok(|_| ()),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => wire::poll_write(stream, cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => wire::poll_write_vectored(stream, cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Poll::Ready(wire::shut_sending(stream)),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection's bytes, metered.
#[derive(Debug)]
pub(super) struct Metered {
    stream: Stream,
    meter: Rc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.meter.answered.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        match &n {
            Ok(n) => self.meter.wrote(&buf[..*n]),
            // The connection takes nothing more: here is the rest of the request.
            Err(_) => self.meter.keep(buf),
        }
        Poll::Ready(n)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = match ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)) {
            Ok(n) => n,
            Err(error) => {
                bufs.iter().for_each(|buf| self.meter.keep(buf));
                return Poll::Ready(Err(error));
            }
        };
        let mut left = n;
        for buf in bufs {
            let part = left.min(buf.len());
            self.meter.wrote(&buf[..part]);
            left -= part;
            if left == 0 {
                break;
            }
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

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
        let io = TokioIo::new(Metered { stream, meter: meter.clone() });
        let (send, moving) = Builder::new()
            .max_buf_size(READ_AT_ONCE)
            .max_header_size(LONGEST_HEAD)
            .max_headers(MOST_FIELDS)
            .title_case_headers(keep_case)
            .preserve_header_case(keep_case)
            // RFC 9112, 5.1: a proxy removes white space before the colon from an answer.
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(io)
            .await?;
        let bell = Bell::new();
        let waker = Waker::from(bell.clone());
        Ok(Self { send, moving: Some(Box::new(moving)), ended: false, bell, waker, meter, socket, _counted: counted })
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

    /// Sends the request in `slot` and waits for the head of its answer, or until `expired`. With `record` the
    /// bytes that go out, or should have, are kept.
    pub async fn exchange(
        &mut self,
        slot: &mut Option<Request<RequestBody>>,
        record: bool,
        expired: impl Fn() -> bool,
    ) -> Result<Response<Incoming>, Broken> {
        let Some(request) = slot.take() else { return Err(Broken::Unsent) };
        self.meter.begin(record);
        let send = &mut self.send;
        let mut answer = std::pin::pin!(self.bell.muted(|| send.try_send_request(request)));
        // The answer is made by driving the connection, so nobody has to be woken for it.
        let mut silent = Context::from_waker(Waker::noop());
        std::future::poll_fn(|cx| {
            let ended = self.drive(cx).is_ready();
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
                Poll::Pending if expired() => Poll::Ready(Err(Broken::Expired)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Whether a further request can be sent: the last exchange is complete in both directions.
    pub fn is_reusable(&self) -> bool {
        !self.ended && self.send.is_ready()
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
    pub fn into_stream(self) -> Option<(Stream, bytes::Bytes)> {
        let parts = self.moving?.into_parts();
        Some((parts.io.into_inner().stream, parts.read_buf))
    }
}
