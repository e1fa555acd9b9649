//! Sockets that can be watched while hyper owns their reading and writing.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

/// Reads what is there.
///
/// A short read means that the socket is empty: telling the runtime so at once saves the next
/// read's system call, as tokio's own `AsyncRead` does. The readiness that is cleared cannot be newer
/// than the read, because a data thread reads and polls for events by turns.
pub(crate) fn poll_read(stream: &TcpStream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        let room = buf.remaining();
        let mut outcome = Ok(0);
        let emptied = || io::Error::from(io::ErrorKind::WouldBlock);
        let _cleared = stream.try_io(Interest::READABLE, || {
            outcome = stream.try_read_buf(buf);
            match &outcome {
                Ok(n) if *n > 0 && *n < room => Err(emptied()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(emptied()),
                _ => Ok(()),
            }
        });
        match outcome {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Writes what fits.
pub(crate) fn poll_write(stream: &TcpStream, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_write(buf) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Buffers of so many bytes together are copied into one: an answer's head and a short body. One
/// plain `send` costs less than a `writev` of two.
const SHORT: usize = 1024;

/// Writes what fits of several buffers.
pub(crate) fn poll_write_vectored(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    bufs: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [one] = bufs {
        return poll_write(stream, cx, one);
    }
    let all: usize = bufs.iter().map(|buf| buf.len()).sum();
    if all <= SHORT {
        // Not an array: that would be zeroed first, for every answer.
        let mut joined = SmallVec::<[u8; SHORT]>::new();
        bufs.iter().for_each(|buf| joined.extend_from_slice(buf));
        return poll_write(stream, cx, &joined);
    }
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match stream.try_write_vectored(bufs) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Says to the peer that nothing more follows.
pub(crate) fn shut_sending(stream: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(stream, rustix::net::Shutdown::Write) {
        // The peer has reset the connection already: there is nobody to tell.
        Err(rustix::io::Errno::NOTCONN) => Ok(()),
        done => done.map_err(io::Error::from),
    }
}

/// Ends a connection so that the peer sees a reset, once its last owner lets go of it.
pub(crate) fn reset<S: std::os::fd::AsFd>(stream: &S) {
    // The connection may be over already, which is as good.
    let _over = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
}

/// Looks at what a socket's receive queue holds, without taking it; `None`: nothing came yet.
pub(crate) fn peek_at(stream: &TcpStream, buf: &mut [u8]) -> io::Result<Option<usize>> {
    use rustix::net::{RecvFlags, recv};
    match recv(stream, buf, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, n)) => Ok(Some(n)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Acknowledges at once what little came of a message of which more is to come.
///
/// A peer that leaves Nagle's algorithm on (RFC 896) and writes a head and its body apart sends the body
/// only when the head is acknowledged. The kernel puts that off for 40 ms, in the hope of something to
/// send along (RFC 1122, 4.2.3.2); but here nothing is sent before the body came. Where head and body
/// come together nothing is done.
#[derive(Debug, Default)]
pub(crate) struct Acknowledge {
    came: Cell<usize>,
}

/// Of so many bytes full segments are among, which the kernel acknowledges by itself.
const FULL: usize = 16 * 1024;

impl Acknowledge {
    /// Another message begins.
    pub fn begin(&self) {
        self.came.set(0);
    }

    /// Bytes of it came.
    pub fn came(&self, n: usize) {
        self.came.set(self.came.get() + n);
    }

    /// Nothing more of it is there for now.
    pub fn run_dry(&self, stream: &TcpStream) {
        if self.is_due() {
            // Without it the peer waits a little longer, no more.
            let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
        }
    }

    fn is_due(&self) -> bool {
        (1..FULL).contains(&self.came.replace(0))
    }
}

/// Takes what little a socket's receive queue holds, whatever the runtime knows of it.
pub(crate) fn take(stream: &TcpStream) -> io::Result<Bytes> {
    use rustix::net::{RecvFlags, recv};
    let mut buf = [0; 256];
    match recv(stream, &mut buf[..], RecvFlags::DONTWAIT) {
        Ok((_, n)) => Ok(Bytes::copy_from_slice(&buf[..n])),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Bytes::new()),
        Err(error) => Err(error.into()),
    }
}

/// What a socket's receive queue holds, without taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Nothing; the peer is there.
    Nothing,
    /// Bytes.
    Bytes,
    /// The peer's end, or an error.
    End,
}

/// Looks into the receive queue. One system call.
pub(crate) fn peek(stream: &TcpStream) -> Waiting {
    match peek_at(stream, &mut [0]) {
        Ok(Some(0)) | Err(_) => Waiting::End,
        Ok(Some(_)) => Waiting::Bytes,
        Ok(None) => Waiting::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::{Acknowledge, FULL};

    #[test]
    fn the_part_of_a_message_is_acknowledged_once_and_only_if_it_is_small() {
        let acknowledge = Acknowledge::default();
        assert!(!acknowledge.is_due(), "nothing came");
        acknowledge.came(100);
        acknowledge.came(100);
        assert!(acknowledge.is_due() && !acknowledge.is_due());
        acknowledge.came(FULL);
        assert!(!acknowledge.is_due());
        acknowledge.came(100);
        acknowledge.begin();
        assert!(!acknowledge.is_due(), "that was another message");
    }
}
