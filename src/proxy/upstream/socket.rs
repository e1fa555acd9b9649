//! An upstream's socket as the HTTP engine reads and writes it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::proxy::informational::{self, Beginning};
use crate::proxy::wire::{self, Acknowledge};

/// Bytes of informational answers before an answer. A head has bounds, and these are heads.
const MOST_INFORMATIONAL: usize = 64 * 1024;
/// Bytes of one that is not yet whole: less than the engine reads at once.
const LONGEST_PART: usize = 4 * 1024;

/// What the socket saw of the current exchange; outlives hyper's ownership of the socket.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Meter {
    /// Bytes of an answer came.
    pub answered: Cell<bool>,
    /// Bytes of the request went out.
    pub sent: Cell<bool>,
    /// The request's bytes are kept.
    pub(super) recording: Cell<bool>,
    pub(super) record: RefCell<Vec<u8>>,
    pub(super) acknowledge: Acknowledge,
    /// No byte of the answer itself came.
    before_head: Cell<bool>,
    /// Informational answers for the client.
    informational: RefCell<Vec<u8>>,
    /// How many bytes of such came.
    informed: Cell<usize>,
    /// What is written goes nowhere.
    pub(super) void: Cell<bool>,
    /// The connection takes nothing more.
    pub(super) broken: Cell<bool>,
}

impl Meter {
    /// The request, as far as it was written or tried to be.
    pub fn take_record(&self) -> Vec<u8> {
        self.record.take()
    }

    pub(super) fn begin(&self, record: bool) {
        self.answered.set(false);
        self.sent.set(false);
        self.recording.set(record);
        self.record.borrow_mut().clear();
        self.acknowledge.begin();
        self.before_head.set(true);
        self.informed.set(0);
    }

    /// What came for the client before the answer.
    pub fn take_informational(&self) -> Option<Vec<u8>> {
        let mut bytes = self.informational.borrow_mut();
        (!bytes.is_empty()).then(|| std::mem::take(&mut *bytes))
    }

    /// Takes note of informational answers at the beginning of what was read; returns how much of it they
    /// are, and whether the rest may become another one.
    fn inform(&self, bytes: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut taken = 0;
        let part = loop {
            match informational::look(&bytes[taken..]) {
                Beginning::Whole { length, forward } => {
                    taken += length;
                    self.informational.borrow_mut().extend(forward.unwrap_or_default());
                }
                Beginning::Part => break bytes.len() - taken <= LONGEST_PART,
                Beginning::Other => break false,
            }
        };
        self.informed.set(self.informed.get() + taken);
        if self.informed.get() > MOST_INFORMATIONAL {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "informational answers without end"));
        }
        self.before_head.set(part);
        // RFC 9110, 2.5: a higher minor version is read as the highest that is known.
        if let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'2'..=b'9', b' ', ..] = &mut bytes[taken..] {
            *minor = b'1';
        }
        Ok((taken, part))
    }

    fn wrote(&self, bytes: &[u8]) {
        self.sent.set(true);
        self.keep(bytes);
    }

    /// Whether what would be written goes nowhere.
    fn swallows(&self, cx: &Context<'_>) -> bool {
        if self.void.get() {
            // What is left may now be read as the answer.
            self.sent.set(true);
            cx.waker().wake_by_ref();
        }
        self.void.get() || self.broken.get()
    }

    /// Writing failed. An upstream that answers before it has read an upload, and closes, resets the
    /// connection behind its answer, which is to be read yet: so the engine does not hear of it. Where
    /// there is no answer, reading will fail.
    fn broke(&self, cx: &Context<'_>) {
        self.broken.set(true);
        cx.waker().wake_by_ref();
    }

    fn keep(&self, bytes: &[u8]) {
        if self.recording.get() {
            self.record.borrow_mut().extend_from_slice(bytes);
        }
    }
}

/// A connection's bytes, plain or encrypted.
pub(in crate::proxy) enum Stream {
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
pub(in crate::proxy) struct Metered {
    pub(super) stream: Stream,
    pub(super) meter: Rc<Meter>,
    /// Read before anything else.
    pub(super) left: Bytes,
    /// The beginning of what may become an informational answer.
    pub(super) part: Vec<u8>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.left.is_empty() {
            if !self.meter.sent.get() {
                return Poll::Pending;
            }
            let n = self.left.len().min(buf.remaining());
            buf.put_slice(&self.left.split_to(n));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        buf.put_slice(&self.part);
        let begun = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !matches!(read, Poll::Ready(Ok(()))) {
            buf.set_filled(before);
            return read;
        }
        let came = buf.filled().len() - begun;
        self.part.clear();
        if came == 0 {
            return Poll::Ready(Ok(()));
        }
        self.meter.answered.set(true);
        self.meter.acknowledge.came(came);
        if !self.meter.before_head.get() {
            return Poll::Ready(Ok(()));
        }
        let bytes = &mut buf.filled_mut()[before..];
        let (taken, part) = self.meter.inform(bytes)?;
        if taken == 0 && !part {
            return Poll::Ready(Ok(()));
        }
        let keep = if part { taken } else { bytes.len() };
        self.part.extend_from_slice(&bytes[keep..]);
        bytes.copy_within(taken..keep, 0);
        buf.set_filled(before + keep - taken);
        if keep == taken {
            // Nothing read would mean the end. Others may have their turn first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.meter.swallows(cx) {
            self.meter.keep(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let Ok(n) = ready!(Pin::new(&mut self.stream).poll_write(cx, buf)) else {
            self.meter.broke(cx);
            self.meter.keep(buf);
            return Poll::Ready(Ok(buf.len()));
        };
        self.meter.wrote(&buf[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = match self.meter.swallows(cx) {
            true => None,
            false => {
                let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)).ok();
                if written.is_none() {
                    self.meter.broke(cx);
                }
                written
            }
        };
        let Some(n) = n else {
            bufs.iter().for_each(|buf| self.meter.keep(buf));
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
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
