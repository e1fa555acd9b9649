//! The connection as hyper reads and writes it: every byte is seen once, for deadlines, for the framing
//! of heads, and to give the router's own words instead of the engine's.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Client, Phase};
use crate::proxy::wire;

/// The connection as hyper reads and writes it.
#[derive(Clone, Debug)]
pub struct ClientIo(pub Rc<Client>);

impl AsyncRead for ClientIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let client = &*self.0;
        let before = buf.filled().len();
        let Poll::Ready(read) = wire::poll_read(&client.stream, cx, buf) else {
            client.run_dry();
            return Poll::Pending;
        };
        let n = read?;
        client.received(&mut buf.filled_mut()[before..before + n]);
        Poll::Ready(Ok(()))
    }
}

impl Client {
    fn received(&self, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return;
        }
        self.touch();
        if let Some(caller) = self.caller() {
            caller.received.add(bytes.len() as u64);
        }
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Header);
        }
        self.acknowledge.came(bytes.len());
        self.scan.borrow_mut().feed(bytes);
    }

    /// Nothing more is there to read.
    fn run_dry(&self) {
        match self.scan.borrow().amid() {
            true => self.acknowledge.run_dry(&self.stream),
            false => self.acknowledge.begin(),
        }
    }

    /// Sends an informational answer, if the socket takes it now. It is written beside the engine, so it may
    /// not come between bytes that the engine has begun to write.
    pub(crate) fn inform(&self, answer: &[u8]) {
        let mut rest = self.informational.borrow_mut();
        if !self.takes_informational.get() || self.unwritten.get() || !rest.is_empty() {
            return;
        }
        // Where it fails, the answer itself will too.
        let n = self.stream.try_write(answer).unwrap_or(0);
        if n > 0 {
            rest.extend_from_slice(&answer[n..]);
        }
    }

    /// Writes what is left of an informational answer.
    fn poll_informational(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rest = self.informational.borrow_mut();
        while !rest.is_empty() {
            let n = std::task::ready!(wire::poll_write(&self.stream, cx, &rest))?;
            rest.drain(..n);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes some of what the engine has.
    fn poll_engine(
        &self,
        all: usize,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.unwritten.set(true);
        std::task::ready!(self.poll_informational(cx))?;
        let n = std::task::ready!(write(cx))?;
        self.unwritten.set(n < all);
        self.sent(n);
        Poll::Ready(Ok(n))
    }

    fn sent(&self, n: usize) {
        self.touch();
        if let Some(caller) = self.caller() {
            caller.sent.add(n as u64);
        }
    }

    /// Takes note of an answer that the engine gives by itself, for a head that it could not read.
    /// True if the bytes are to be dropped: the router's own answer follows.
    fn intercept(&self, bytes: &[u8]) -> bool {
        if self.answering.get() {
            return false;
        }
        if self.engine_answer.get().is_none() {
            let status = bytes.get(9..12).and_then(|s| std::str::from_utf8(s).ok()).and_then(|s| s.parse().ok());
            self.engine_answer.set(Some(status.unwrap_or(400)));
        }
        true
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let client = &*self.0;
        if client.intercept(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        client.poll_engine(buf.len(), cx, |cx| wire::poll_write(&client.stream, cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let client = &*self.0;
        let all: usize = bufs.iter().map(|b| b.len()).sum();
        if !client.answering.get() {
            client.intercept(bufs.first().map_or(&[], |b| b));
            return Poll::Ready(Ok(all));
        }
        client.poll_engine(all, cx, |cx| wire::poll_write_vectored(&client.stream, cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when its own buffer is empty: with the body over, the request has ended.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let client = &*self.0;
        client.unwritten.set(false);
        if client.answered.get() {
            client.answered.set(false);
            client.answering.set(false);
            // The deadline of a head that came ahead runs from here.
            client.enter(if client.scan.borrow().ahead() { Phase::Header } else { Phase::Idle });
        }
        Poll::Ready(Ok(()))
    }

    /// Left to the task that serves the connection: it may still have an answer to give.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
