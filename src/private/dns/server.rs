//! The sockets of one landscape's name server.
//!
//! One task reads, judges and answers datagrams; only a question for upstream gets a task of its own, whose
//! answer comes back to the first one to be sent, which so is the sockets' only owner: they close with it.
//! One task accepts connections, each of which is served in order until it rests for too long.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_server::net::xfer::Protocol;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::answer::{self, Question, Verdict};
use super::relay::{Relay, Start};
use super::upstream::{Forwarder, read_message, write_message};
use crate::private::names::Zone;

/// Connections open at once; more are closed as they come.
const CONNECTIONS: usize = 64;

/// How long a connection may rest, or take for one message.
const IDLE: Duration = Duration::from_secs(10);

/// The largest question by UDP; no real one is near it.
const MAX_QUESTION: usize = 4096;

/// After an error of a socket, so that one that lasts takes no processor.
const PAUSE: Duration = Duration::from_millis(50);

/// A running name server. It ends, and its sockets close, when dropped.
#[derive(Debug)]
pub struct Server {
    tasks: JoinSet<()>,
}

struct Landscape {
    zone: Arc<ArcSwap<Zone>>,
    relay: Relay,
}

impl Server {
    /// Serves `zone`, as it is at each question, on the current tokio runtime; what is not in it is asked of
    /// `forwarder`.
    ///
    /// # Errors
    ///
    /// When there is no runtime, or it cannot take the sockets.
    pub fn start(
        zone: Arc<ArcSwap<Zone>>,
        forwarder: Forwarder,
        udp: std::net::UdpSocket,
        tcp: std::net::TcpListener,
    ) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let (udp, tcp) = (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?);
        let landscape = Arc::new(Landscape { zone, relay: Relay::new(forwarder) });
        let mut tasks = JoinSet::new();
        tasks.spawn_on(serve_udp(udp, landscape.clone()), &runtime);
        tasks.spawn_on(serve_tcp(tcp, landscape), &runtime);
        Ok(Self { tasks })
    }

    /// Ends it and waits until both sockets are closed, for those who want their addresses again.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Landscape {
    fn judge(&self, message: Vec<u8>, peer: SocketAddr, protocol: Protocol) -> Verdict {
        let zone = self.zone.load();
        // Whatever is wrong with a message, or with its reader, concerns that message alone.
        catch_unwind(AssertUnwindSafe(|| answer::judge(message, peer, protocol, &zone))).unwrap_or_else(|_| {
            tracing::error!(%peer, "reading a DNS question panicked; it is left without an answer");
            Verdict::Drop
        })
    }
}

async fn serve_udp(socket: UdpSocket, landscape: Arc<Landscape>) {
    let mut asking: JoinSet<(Vec<u8>, SocketAddr)> = JoinSet::new();
    let mut message = vec![0; MAX_QUESTION];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut message) => received,
            Some(done) = asking.join_next() => {
                if let Ok((reply, peer)) = done {
                    send(&socket, &reply, peer).await;
                }
                continue;
            }
        };
        let (length, peer) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "reading from the DNS socket failed");
                sleep(PAUSE).await;
                continue;
            }
        };
        match landscape.judge(message[..length].to_vec(), peer, Protocol::Udp) {
            Verdict::Drop => {}
            Verdict::Reply(reply) => send(&socket, &reply, peer).await,
            Verdict::Ask(question) => match landscape.relay.start(&question) {
                Start::Known(reply) => send(&socket, &reply, peer).await,
                Start::Ask(place) => {
                    let landscape = landscape.clone();
                    asking.spawn(async move { (landscape.relay.ask(&question, place).await, peer) });
                }
            },
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddr) {
    if let Err(error) = socket.send_to(reply, peer).await {
        tracing::debug!(%error, %peer, "a DNS answer could not be sent");
    }
}

async fn serve_tcp(listener: TcpListener, landscape: Arc<Landscape>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) if connections.len() < CONNECTIONS => {
                connections.spawn(serve_connection(stream, peer, landscape.clone()));
            }
            Ok((_, peer)) => tracing::debug!(%peer, "too many DNS connections"),
            Err(error) => {
                tracing::debug!(%error, "accepting a DNS connection failed");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Until the other end closes, rests, or sends what is no message.
async fn serve_connection(mut stream: TcpStream, peer: SocketAddr, landscape: Arc<Landscape>) {
    while let Ok(Ok(message)) = timeout(IDLE, read_message(&mut stream)).await {
        let reply = match landscape.judge(message, peer, Protocol::Tcp) {
            Verdict::Drop => return,
            Verdict::Reply(reply) => reply,
            Verdict::Ask(question) => resolve(&landscape.relay, &question).await,
        };
        if !matches!(timeout(IDLE, write_message(&mut stream, &reply)).await, Ok(Ok(()))) {
            return;
        }
    }
}

async fn resolve(relay: &Relay, question: &Question) -> Vec<u8> {
    match relay.start(question) {
        Start::Known(reply) => reply,
        Start::Ask(place) => relay.ask(question, place).await,
    }
}
