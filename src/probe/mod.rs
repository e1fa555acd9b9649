//! Probes: whether a replica that runs also serves.
//!
//! A starting replica is connected to, soon and often, until it accepts; then the socket's owner is
//! checked, then its health is asked for. See [`Prober::until_ready`]. A ready one is asked now and
//! then: [`Prober::check`].

pub mod http;
pub mod schedule;
mod store;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

pub use schedule::{Schedule, Verdict, Watch};

use crate::backend::{Addresses, Backend, Door, ReplicaId};
use crate::landscape::{Health, ServiceSpec};
use store::Store;

/// How long a starting replica's first answer may take before it is asked again: a page that is
/// compiled on its first request takes longer than one of a replica that has served before.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// How often it is looked whether a replica that does not accept listens elsewhere, and how many such looks
/// have to agree: what is about to listen on several ports is between them for a moment.
const ASTRAY: (Duration, u32) = (Duration::from_secs(1), 2);

/// What all probes of the router share: how many replicas are starting.
#[derive(Debug, Default)]
pub struct Prober {
    starting: AtomicUsize,
}

/// A replica to probe.
#[derive(Clone)]
pub struct Target {
    /// What it runs, and how it wants to be probed.
    pub spec: Arc<ServiceSpec>,
    /// Which.
    pub id: ReplicaId,
    /// Where its ports are.
    pub addresses: Addresses,
    /// Who runs it.
    pub backend: Arc<dyn Backend>,
}

/// What a starting replica came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It serves, at these addresses: they may differ from the backend's in the address family.
    Ready(Addresses),
    /// Its port accepts, but the socket is somebody else's: who. Or the port was, and it insists on it.
    TakenBy(String),
}

/// Which connection and question a spec's health asks for.
enum Question<'a> {
    Connect,
    /// At its first start alone: it writes into its log who asked.
    Store(Store),
    Get {
        port: u16,
        path: &'a str,
        tls: bool,
        below: u16,
    },
}

impl Target {
    fn port(&self) -> u16 {
        match self.spec.health {
            Health::Default => self.spec.primary_port,
            Health::Http { port, .. } | Health::Tcp { port } => port,
        }
    }

    fn question(&self) -> Question<'_> {
        match &self.spec.health {
            // What has no public path may speak anything; that it accepts has to be enough.
            Health::Default if self.spec.paths.is_empty() => {
                Store::of(self.spec.primary_port).map_or(Question::Connect, Question::Store)
            }
            Health::Default => Question::Get { port: self.spec.primary_port, path: "/", tls: false, below: 500 },
            Health::Http { port, path, tls } => Question::Get { port: *port, path, tls: *tls, below: 400 },
            Health::Tcp { .. } => Question::Connect,
        }
    }

    /// Whether the probed port has another number outside.
    fn is_mapped(&self) -> bool {
        self.addresses.of(self.port()).is_some_and(|door| door.address.port() != self.port())
    }

    fn door(&self) -> io::Result<Door> {
        let port = self.port();
        self.addresses.of(port).ok_or_else(|| io::Error::other(format!("it has no address for port {port}")))
    }
}

/// Counts a starting replica for as long as it is one.
struct Starting<'a>(&'a AtomicUsize);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Prober {
    /// Tries until the replica serves. It has no deadline of its own: whoever waits drops it. The
    /// latest reason why it is not ready goes to `problem`, for the message at that deadline.
    pub async fn until_ready(&self, target: &Target, problem: &(dyn Fn(String) + Send + Sync)) -> Start {
        self.starting.fetch_add(1, Ordering::Relaxed);
        let _starting = Starting(&self.starting);
        let begin = Instant::now();
        let mut schedule = Schedule::new(target.backend.abilities().local);
        // Whose socket it is, is looked up once: before anything is asked of it.
        let mut owned = None;
        let (mut look_at, mut astray) = (ASTRAY.0, 0);
        loop {
            match open(target).await {
                Ok((stream, door)) => {
                    let address = door.address;
                    if owned != Some(address) {
                        let owner = target.backend.owns_listener(&target.spec.key, target.id, &door).await;
                        match owner {
                            Ok(()) => owned = Some(address),
                            Err(holder) => return Start::TakenBy(holder),
                        }
                    }
                    let asked = match target.question() {
                        Question::Store(store) => store.ask(stream).await,
                        _ => ask(target, stream, FIRST_ANSWER).await,
                    };
                    match asked {
                        Ok(()) => return Start::Ready(target.addresses.with_ip(address.ip())),
                        Err(e) => problem(e.to_string()),
                    }
                }
                Err(e) => {
                    problem(e.to_string());
                    if begin.elapsed() >= look_at && target.is_mapped() {
                        look_at = begin.elapsed() + ASTRAY.0;
                        let backend = &target.backend;
                        match backend.ignores_mapping(&target.spec.key, target.id, target.port()).await {
                            Some(why) if astray + 1 == ASTRAY.1 => return Start::TakenBy(why),
                            Some(_) => astray += 1,
                            None => astray = 0,
                        }
                    }
                }
            }
            sleep(schedule.next(begin.elapsed(), self.starting.load(Ordering::Relaxed))).await;
        }
    }

    /// Asks a ready replica once.
    pub async fn check(&self, target: &Target) -> Result<(), String> {
        let (stream, _) = open(target).await.map_err(|e| e.to_string())?;
        ask(target, stream, Watch::TIMEOUT).await.map_err(|e| e.to_string())
    }
}

/// A connection to the port that is probed, and the door that opened.
async fn open(target: &Target) -> io::Result<(TcpStream, Door)> {
    connect(target.door()?).await
}

/// One GET, where the health asks for more than a connection.
async fn ask(target: &Target, stream: TcpStream, patience: Duration) -> io::Result<()> {
    let Question::Get { port, path, tls, below } = target.question() else { return Ok(()) };
    let asked = timeout(patience, http::status(stream, tls, port, path)).await;
    let place = format!("GET {path} at port {port}");
    match asked {
        Ok(Ok(status)) if status < below => Ok(()),
        Ok(Ok(status)) => Err(io::Error::other(format!("{place} answers {status}, below {below} is healthy"))),
        Ok(Err(e)) => Err(io::Error::other(format!("{place}: {e}"))),
        Err(_) => Err(io::Error::other(format!("{place} does not answer within {} s", patience.as_secs()))),
    }
}

/// Connects; an application that listens on `::1` alone is found there.
async fn connect(door: Door) -> io::Result<(TcpStream, Door)> {
    let one = |door: Door| async move {
        match timeout(Watch::TIMEOUT, door.connect()).await {
            // A connect from an ephemeral port to itself succeeds where nobody listens.
            Ok(Ok(stream)) if stream.local_addr()? == door.address => Err(io::ErrorKind::ConnectionRefused.into()),
            Ok(connected) => connected,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the connect takes more than 2 s")),
        }
    };
    let refused = match one(door.clone()).await {
        Ok(stream) => return Ok((stream, door)),
        Err(e) => io::Error::new(e.kind(), format!("port {} does not accept: {e}", door.address.port())),
    };
    if door.address.ip() != Ipv4Addr::LOCALHOST {
        return Err(refused);
    }
    let twin = door.with_ip(Ipv6Addr::LOCALHOST.into());
    one(twin.clone()).await.map(|stream| (stream, twin)).map_err(|_| refused)
}
