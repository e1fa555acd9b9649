//! Accepting: one task a listener.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use tokio::io::unix::AsyncFd;

use super::thread::{Accepted, Source, Thread};
use crate::proxy::{Answer, Entry, ErrorCode, wire};

/// Accepted in a row before connections get their turn.
const IN_A_ROW: u32 = 64;
/// Before trying again when descriptors or memory are used up.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// Refusals under way on a thread; beyond that connections are closed without a word.
const REFUSALS: usize = 256;

/// Accepts until the task is aborted.
pub(super) async fn accept(thread: Rc<Thread>, listener: AsyncFd<TcpListener>, source: &Source) {
    let mut spare = spare();
    let mut told = false;
    loop {
        let Ok(mut ready) = listener.readable().await else {
            tracing::error!("a listener is no longer watched: it accepts nothing more");
            return;
        };
        for _ in 0..IN_A_ROW {
            match accept_one(listener.get_ref()) {
                Ok((stream, peer)) => {
                    told = false;
                    give(&thread, stream, peer, source);
                }
                Err(Errno::WOULDBLOCK) => {
                    ready.clear_ready();
                    break;
                }
                // The client gave up while it was queued, or its network failed: accept(2).
                Err(
                    Errno::CONNABORTED
                    | Errno::INTR
                    | Errno::NETDOWN
                    | Errno::PROTO
                    | Errno::NOPROTOOPT
                    | Errno::HOSTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NETUNREACH,
                ) => {}
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(
                            "connections cannot be accepted: {error}; raise the limit of open files or lower \
                             listen.maxConnections"
                        );
                    }
                    // With the spare descriptor one client at a time is told; without it the queue waits.
                    if matches!(error, Errno::MFILE | Errno::NFILE)
                        && spare.take().is_some()
                        && let Ok((stream, _)) = accept_one(listener.get_ref())
                    {
                        refuse(&thread, stream);
                    }
                    tokio::time::sleep(EXHAUSTED).await;
                    if spare.is_none() {
                        spare = self::spare();
                    }
                    break;
                }
            }
        }
        drop(ready);
        tokio::task::yield_now().await;
    }
}

/// Accepts what the system has queued for a listener that is about to close: closing would reset it.
pub(super) fn empty(thread: &Rc<Thread>, listener: &TcpListener, source: &Source) {
    while let Ok((stream, peer)) = accept_one(listener) {
        give(thread, stream, peer, source);
    }
}

fn accept_one(listener: &TcpListener) -> Result<(TcpStream, SocketAddr), Errno> {
    let (fd, peer) = rustix::net::acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let peer = peer.and_then(|p| SocketAddr::try_from(p).ok()).ok_or(Errno::CONNABORTED)?;
    Ok((fd.into(), peer))
}

fn give(thread: &Rc<Thread>, stream: TcpStream, peer: SocketAddr, source: &Source) {
    match thread.count().admit(thread.number()) {
        Some(counted) => {
            let entry = source.gateway.as_ref().map(|gateway| Entry::of(gateway, &stream)).transpose();
            match entry {
                Ok(entry) => thread.pass_on(Accepted { stream, peer, listener: source.id, entry, counted }),
                // It was not sent to a virtual address.
                Err(_) => wire::reset(&stream),
            }
        }
        // What is spoken there may not be HTTP.
        None if source.gateway.is_some() => wire::reset(&stream),
        None => refuse(thread, stream),
    }
}

/// Tells a client that there is no room.
fn refuse(thread: &Rc<Thread>, stream: TcpStream) {
    let Some(turn) = thread.refusal(REFUSALS) else { return };
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else { return };
    let answer = Answer::from(ErrorCode::Overloaded).retry(Duration::from_secs(1)).bytes().into();
    tokio::task::spawn_local(async move {
        super::refuse::turn_away(Rc::new(stream), answer).await;
        drop(turn);
    });
}

/// A descriptor to give up when there are no others.
fn spare() -> Option<std::fs::File> {
    std::fs::File::open("/dev/null").ok()
}

/// Watches a listener on this thread's runtime. A tokio listener would put every accepted connection
/// into this runtime's poll set, also those that belong to another thread.
pub(super) fn watch(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    // Deprecated for types whose descriptor may change while it is watched, which the unsafe
    // successor has the caller rule out: a `TcpListener` owns its one descriptor until it is dropped.
    #[allow(deprecated)]
    AsyncFd::with_interest(listener, tokio::io::Interest::READABLE)
}
