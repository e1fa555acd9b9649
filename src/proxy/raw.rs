//! A connection to a private port, byte for byte: told from HTTP, held while the service starts, passed on.
//!
//! It is use while bytes move. Once it has been quiet for a second it gives its lease back, so that a
//! client's pool of idle connections keeps nothing awake, and takes it again with the next byte. When the
//! service is switched off, quiet connections end with it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::detect::{self, Guess};
use super::endpoint::Target;
use super::local::Local;
use super::private::PrivatePort;
use super::tunnel::{ClientSide, Pump};
use super::upstream::{self, Stream};
use super::wire;
use crate::backend::{Door, ReplicaId};
use crate::config::settings::Protocol;
use crate::lifecycle::{Demand, Lease, Outcome, Refusal, Service, Use};
use crate::listen::{Client, Phase};

/// A client that sends nothing for so long waits for the server to speak first: not HTTP.
const SILENCE: Duration = Duration::from_millis(20);
/// Without a byte for so long it is no use.
const QUIET: Duration = Duration::from_secs(1);
/// Attempts to reach a replica.
const ATTEMPTS: u32 = 4;
/// Between the end of a dying process's connections and that of its listeners.
const LAST_MOMENT: Duration = Duration::from_millis(10);
/// Why a quiet connection was reset.
const SWITCHED_OFF: &str = "its replica was switched off";
/// For the question whether a replica that ended a connection still serves.
const ALIVE: Duration = Duration::from_secs(1);

/// What a connection to a private port turned out to be.
pub(crate) enum Sorted {
    /// HTTP, to be served as any.
    Http,
    /// Anything else.
    Raw(Arc<PrivatePort>),
    /// Nobody is there.
    Refused,
}

/// Finds out whose port a private connection came to and what it speaks. Nothing of it is read yet.
pub(crate) async fn sort(local: &Rc<Local>, client: &Rc<Client>) -> Sorted {
    let Some(entry) = client.entry() else { return Sorted::Http };
    let port = entry.port(&local.loaded().snapshot.private).cloned();
    // It was removed a moment ago: the packet filter will refuse the next one.
    let Some(port) = port else { return Sorted::Refused };
    client.set_caller(port.stats.calls.of(&entry.caller(client.peer().ip())).connected());
    match port.protocol {
        Some(Protocol::Http) => Sorted::Http,
        Some(Protocol::Tcp) => Sorted::Raw(port),
        None => match detect(client.stream()).await {
            Ok(Guess::Http) => Sorted::Http,
            Ok(Guess::Raw | Guess::More) => Sorted::Raw(port),
            Err(_) => Sorted::Refused,
        },
    }
}

async fn detect(stream: &TcpStream) -> std::io::Result<Guess> {
    let mut bytes = [0; detect::ENOUGH];
    let mut known = 0;
    let look = async {
        loop {
            stream.readable().await?;
            // What is there is left there: without this the socket would count as readable for ever.
            let seen = stream.try_io(Interest::READABLE, || match wire::peek_at(stream, &mut bytes)? {
                Some(n) if n > known => Ok(n),
                // The end: more will not come.
                Some(n) => Ok(n),
                None => Err(std::io::ErrorKind::WouldBlock.into()),
            });
            let seen = match seen {
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
                seen => seen?,
            };
            match detect::guess(&bytes[..seen]) {
                Guess::More if seen > known => known = seen,
                Guess::More => return Ok(Guess::Raw),
                guess => return Ok(guess),
            }
            let _more = stream
                .try_io(Interest::READABLE, || -> std::io::Result<()> { Err(std::io::ErrorKind::WouldBlock.into()) });
        }
    };
    tokio::time::timeout(SILENCE, look).await.unwrap_or(Ok(Guess::Raw))
}

/// Passes a connection on to a replica, to its end.
pub(crate) async fn relay(local: Rc<Local>, client: Rc<Client>, port: Arc<PrivatePort>) {
    let mut relay = pin!(passed_on(&local, &client, &port));
    let mut broken = pin!(client.stream().ready(Interest::ERROR));
    let mut watched = false;
    let ended = poll_fn(|cx| {
        client.remember(cx.waker());
        if client.is_broken() {
            return Poll::Ready(End::Reset(None));
        }
        if let Poll::Ready(end) = relay.as_mut().poll(cx) {
            return Poll::Ready(end);
        }
        if !std::mem::replace(&mut watched, true) && broken.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Reset(None));
        }
        Poll::Pending
    })
    .await;
    if let End::Reset(why) = ended {
        if let Some(why) = why {
            let caller = client.entry().map(|e| e.caller(client.peer().ip()));
            tracing::info!(service = %port.key, peer = %client.peer(), ?caller, "a private connection was reset: {why}");
        }
        wire::reset(client.stream());
    }
}

/// How a relayed connection ended.
enum End {
    /// Both sides said all they had to say, or it was idle for too long.
    Closed,
    /// It broke, or never came to be; with the reason if it is not the client's.
    Reset(Option<String>),
}

async fn passed_on(local: &Rc<Local>, client: &Rc<Client>, port: &PrivatePort) -> End {
    let Some(route) = port.paths.longest("/") else {
        return End::Reset(Some("it is not HTTP, and its service has only HTTP routes".into()));
    };
    let Target::Replicas { service, port: number } = &route.target.target else {
        return End::Reset(Some("it is not HTTP, and nothing runs for its service here".into()));
    };
    client.enter(Phase::Busy);
    let limit = local.loaded().snapshot.rules.timeouts.connect;
    match open(service, *number, limit).await {
        Ok((lease, door, stream)) => Relay { client, service, port, door, lease: Some(lease) }.run(stream).await,
        Err(why) => End::Reset(Some(why)),
    }
}

/// A lease and a connection, waiting for a replica where none is ready.
async fn open(service: &Arc<Service>, port: u16, limit: Duration) -> Result<(Lease, Door, TcpStream), String> {
    let mut failed = None;
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        let lease = match failed.is_none().then(|| service.try_lease(Use::Counts, None)).flatten() {
            Some(lease) => lease,
            None => {
                let demand = Demand { use_: Use::Counts, bytes: 0, page: false, failed };
                Box::pin(service.hold(demand)).await.map_err(refused)?.lease
            }
        };
        let Some(door) = lease.door(port) else { return Err(format!("its replica has no port {port}")) };
        match upstream::connect(&door, limit).await {
            Ok(stream) => {
                lease.report(Outcome::Answered);
                return Ok((lease, door, stream));
            }
            Err(error) => {
                why = format!("no connection to its replica at port {port}: {error}");
                lease.report(Outcome::ConnectFailed);
                failed = Some(lease.replica().uid);
            }
        }
    }
    Err(why)
}

fn refused(refusal: Refusal) -> String {
    match refusal {
        Refusal::Overflow { .. } => "too many wait for the service already (hold.perService, hold.maxRequests)".into(),
        Refusal::Deadline { .. } => "the service was not ready within hold.timeout".into(),
        Refusal::Failed { public, .. } => public,
        Refusal::NotRunnable => "the service cannot run here".into(),
        Refusal::Removed => "the service was removed".into(),
        Refusal::ShuttingDown | Refusal::Page => "the router is ending".into(),
    }
}

struct Relay<'a> {
    client: &'a Rc<Client>,
    service: &'a Arc<Service>,
    port: &'a PrivatePort,
    door: Door,
    /// While bytes move.
    lease: Option<Lease>,
}

impl Relay<'_> {
    async fn run(mut self, upstream: TcpStream) -> End {
        let mut replica = match &self.lease {
            Some(lease) => lease.replica().clone(),
            None => return End::Closed,
        };
        let socket = Rc::new(upstream);
        let mut upstream = Stream::Plain(socket.clone());
        let mut inward = Pump::default();
        let mut outward = Pump::withholding();
        let mut counted = (0, 0);
        let mut regained: Option<Pin<Box<dyn Future<Output = Option<Lease>>>>> = None;
        let mut alive: Option<Pin<Box<dyn Future<Output = bool>>>> = None;
        self.client.relay(QUIET, false);
        let end = poll_fn(|cx| {
            let mut side = ClientSide(self.client);
            let one = inward.poll(&mut side, &mut upstream, cx);
            let mut two = outward.poll(&mut upstream, &mut side, cx);
            if (inward.moved, outward.moved) != counted {
                let asked = inward.moved != counted.0;
                if let Some(caller) = self.client.caller() {
                    caller.received.add(inward.moved - counted.0);
                    caller.sent.add(outward.moved - counted.1);
                }
                counted = (inward.moved, outward.moved);
                self.client.touch();
                if self.lease.is_none() && regained.is_none() {
                    self.lease = self.service.lease_on(&replica);
                    match &self.lease {
                        Some(_) => self.client.relay(QUIET, false),
                        None if asked => regained = Some(Box::pin(regain(self.service.clone(), replica.id))),
                        None => return Poll::Ready(End::Reset(Some(SWITCHED_OFF.into()))),
                    }
                }
            }
            if let Some(asking) = &mut regained
                && let Poll::Ready(lease) = asking.as_mut().poll(cx)
            {
                regained = None;
                match lease {
                    Some(lease) => {
                        replica = lease.replica().clone();
                        self.lease = Some(lease);
                    }
                    None => return Poll::Ready(End::Reset(Some(SWITCHED_OFF.into()))),
                }
                self.client.relay(QUIET, false);
            }
            if outward.ended && outward.withhold {
                // Did the application end the connection, or did the replica end? A quiet one may end with
                // its replica; so may one that both sides have done with.
                let died = match &mut alive {
                    _ if inward.ended || self.lease.is_none() => Poll::Ready(false),
                    Some(asked) => asked.as_mut().poll(cx).map(|alive| !alive),
                    None => alive.insert(Box::pin(answers(self.door.clone()))).as_mut().poll(cx).map(|alive| !alive),
                };
                match died {
                    Poll::Ready(true) => return Poll::Ready(End::Reset(Some("its replica ended".into()))),
                    Poll::Ready(false) => {
                        outward.withhold = false;
                        two = outward.poll(&mut upstream, &mut side, cx);
                    }
                    Poll::Pending => {}
                }
            }
            match (one, two) {
                (Poll::Ready(Err(e)), _) | (_, Poll::Ready(Err(e))) => {
                    return Poll::Ready(End::Reset(Some(format!("it broke: {e}"))));
                }
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Closed),
                _ => {}
            }
            if self.client.expired() {
                if self.lease.take().is_none() {
                    return Poll::Ready(End::Closed);
                }
                self.client.relay(self.port.idle.max(QUIET), true);
            }
            if self.client.may_part() { Poll::Ready(End::Closed) } else { Poll::Pending }
        })
        .await;
        if matches!(end, End::Reset(_)) {
            wire::reset(&*socket);
        }
        end
    }
}

/// A lease on a replica that has left rotation while the connection was quiet: after a take-over that is
/// this router's alone, and its successor is asked; a switching off is called off if it is not too late.
async fn regain(service: Arc<Service>, id: ReplicaId) -> Option<Lease> {
    let demand = Demand { use_: Use::Counts, bytes: 0, page: false, failed: None };
    let held = service.hold(demand).await.ok()?;
    if held.lease.replica().id == id { Some(held.lease) } else { service.lease_by_id(id) }
}

/// Whether somebody still accepts there: what a connection's end cannot tell.
///
/// Of a process that dies the system closes the connections first, and the listener a moment later. What
/// waits in that is reset then.
async fn answers(door: Door) -> bool {
    let Ok(stream) = upstream::connect(&door, ALIVE).await else { return false };
    match tokio::time::timeout(LAST_MOMENT, stream.ready(Interest::READABLE | Interest::ERROR)).await {
        Ok(_) => stream.take_error().is_ok_and(|error| error.is_none()) && stream.peek(&mut [0]).await.is_ok(),
        Err(_) => true,
    }
}
