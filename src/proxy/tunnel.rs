//! An upgraded connection: bytes both ways until both ends are done.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::upstream::Stream;
use super::usage::Usage;
use super::wire;
use crate::listen::Client;

/// Bytes read at once. The buffer is the thread's: an idle tunnel has none.
const AT_ONCE: usize = 64 * 1024;
/// Reads before other connections get their turn.
const TURNS: u32 = 16;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A tunnel that is about to begin; holds its lease until it is over.
pub(crate) struct Tunnel {
    upstream: Stream,
    /// What the upstream sent behind its head.
    early: Bytes,
    usage: Usage,
    idle: Option<Duration>,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}

/// One direction.
#[derive(Default)]
pub(super) struct Pump {
    /// Read, and not yet written.
    pending: Bytes,
    pub moved: u64,
    /// The reader has ended.
    pub ended: bool,
    /// The end is not passed on yet.
    pub withhold: bool,
    /// The writer was told so.
    done: bool,
}

/// The client's side. Not hyper's: the engine is done with it.
pub(super) struct ClientSide<'a>(pub &'a Client);

impl AsyncRead for ClientSide<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        wire::poll_read(self.0.stream(), cx, buf).map_ok(|_| ())
    }
}

impl AsyncWrite for ClientSide<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        wire::poll_write(self.0.stream(), cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(wire::shut_sending(self.0.stream()))
    }
}

impl Tunnel {
    /// A tunnel to `upstream`, ended when no byte moved for `idle`.
    pub(super) fn new(upstream: Stream, early: Bytes, usage: Usage, idle: Option<Duration>) -> Self {
        Self { upstream, early, usage, idle }
    }

    /// Moves bytes until both sides have ended, one has failed, or nothing moved for too long.
    /// `early`: what the client sent behind its head.
    pub(crate) async fn run(mut self, client: Rc<Client>, early: Bytes) {
        let mut inward = Pump::beginning(early);
        let mut outward = Pump::beginning(std::mem::take(&mut self.early));
        client.begin_answer(self.idle);
        poll_fn(|cx| {
            let mut side = ClientSide(&client);
            let before = inward.moved + outward.moved;
            let one = inward.poll(&mut side, &mut self.upstream, cx);
            let two = outward.poll(&mut self.upstream, &mut side, cx);
            if inward.moved + outward.moved != before {
                client.touch();
            }
            match (one, two) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(()),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
                _ if client.expired() => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        client.add_bytes_in(inward.moved);
        self.usage.sent(usize::try_from(outward.moved).unwrap_or(usize::MAX));
    }
}

impl Pump {
    /// One with bytes that were read already.
    pub(super) fn beginning(early: Bytes) -> Self {
        Self { pending: early, ..Self::default() }
    }

    /// One whose reader's end is not passed on before [`Pump::withhold`] is lifted.
    pub(super) fn withholding() -> Self {
        Self { withhold: true, ..Self::default() }
    }

    /// Moves what can be moved. Ready when the reader's end was passed on.
    pub(super) fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..TURNS {
            while !self.pending.is_empty() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.pending.advance(n);
                self.moved += n as u64;
            }
            if self.ended {
                if self.withhold {
                    return Poll::Pending;
                }
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.done = true;
                return Poll::Ready(Ok(()));
            }
            let read = SCRATCH.with_borrow_mut(|scratch| self.pass(scratch, from, to, cx));
            if read.is_pending() {
                // Encrypted bytes may still lie in the writer.
                ready!(Pin::new(&mut *to).poll_flush(cx))?;
                return Poll::Pending;
            }
            ready!(read)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, and writes as much of it as goes at once.
    fn pass(
        &mut self,
        scratch: &mut Vec<u8>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        scratch.resize(AT_ONCE, 0);
        let mut buf = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(cx, &mut buf))?;
        let mut rest = buf.filled();
        if rest.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        while !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.moved += n as u64;
                    rest = &rest[n..];
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => {
                    self.pending = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
