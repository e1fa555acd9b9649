//! A connection to a private port, byte for byte: told from HTTP, held while the service starts, passed on.
//!
//! It is use while bytes move. Once it has been quiet for a second it gives its lease back, so that a
//! client's pool of idle connections keeps nothing awake, and takes it again with the next byte. When the
//! service is switched off, quiet connections end with it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::again::Patience;
use super::detect::{self, Guess};
use super::endpoint::Target;
use super::forward::is_exhausted;
use super::local::Local;
use super::private::PrivatePort;
use super::tunnel::{ClientSide, Pump};
use super::upstream::{self, Stream};
use super::wire;
use crate::backend::{Door, ReplicaId};
use crate::config::settings::Protocol;
use crate::lifecycle::{Demand, Lease, Outcome, Refusal, Replica, Service, Use};
use crate::listen::{Client, Phase};

/// A client that sends nothing for so long waits for the server to speak first: not HTTP.
const SILENCE: Duration = Duration::from_millis(20);
/// Without a byte for so long it is no use.
const QUIET: Duration = Duration::from_secs(1);
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
    /// Anything else, with what was taken off the connection to find out.
    Raw(Arc<PrivatePort>, Bytes),
    /// Nobody is there.
    Refused,
}

/// Finds out whose port a private connection came to and what it speaks.
pub(crate) async fn sort(local: &Rc<Local>, client: &Rc<Client>) -> Sorted {
    let Some(entry) = client.entry() else { return Sorted::Http };
    let known = entry.identify(client.peer().ip()).await;
    // What the caller is given begins here, not when it was asked for.
    client.enter(Phase::Header);
    let port = known.and_then(|()| entry.port(&local.loaded().snapshot.private).cloned());
    let Some(port) = port else {
        entry.refused(client.peer(), &local.shared().stats);
        return Sorted::Refused;
    };
    client.set_caller(port.stats.calls.of(&entry.caller(client.peer().ip())).connected());
    match port.protocol {
        Some(Protocol::Http) => Sorted::Http,
        Some(Protocol::Tcp) => Sorted::Raw(port, Bytes::new()),
        None => match detect(client.stream()).await {
            Ok((Guess::Http, _)) => Sorted::Http,
            Ok((Guess::Raw | Guess::More, early)) => Sorted::Raw(port, early),
            Err(_) => Sorted::Refused,
        },
    }
}

/// What the first bytes tell, and those of them that were taken off the socket.
async fn detect(stream: &TcpStream) -> io::Result<(Guess, Bytes)> {
    let mut bytes = [0; detect::ENOUGH];
    let look = async {
        loop {
            let ready = stream.ready(Interest::READABLE).await?;
            let mut guess = Guess::More;
            let looked = stream.try_io(Interest::READABLE, || {
                let seen = wire::peek_at(stream, &mut bytes)?.unwrap_or(0);
                guess = detect::guess(&bytes[..seen]);
                match guess {
                    // What is there is left there: without this the socket would count as readable for ever.
                    Guess::More => Err(io::ErrorKind::WouldBlock.into()),
                    Guess::Http | Guess::Raw => Ok(()),
                }
            });
            match (looked, guess) {
                (Err(e), _) if e.kind() != io::ErrorKind::WouldBlock => return Err(e),
                // More will not come once the client has ended its side.
                (_, Guess::More) if !ready.is_read_closed() => {}
                (_, guess) => return Ok(guess),
            }
        }
    };
    match tokio::time::timeout(SILENCE, look).await {
        Ok(guess) => Ok((guess?, Bytes::new())),
        // The runtime was told that nothing is there, and hears of what comes from now on alone.
        Err(_) => Ok((Guess::More, wire::take(stream)?)),
    }
}

/// Passes a connection on to a replica, to its end. `early`: what was taken off it already.
pub(crate) async fn relay(local: Rc<Local>, client: Rc<Client>, port: Arc<PrivatePort>, early: Bytes) {
    let ended = client.until_broken(passed_on(&local, &client, &port, early)).await;
    if let End::Reset(why) = ended.unwrap_or(End::Reset(None)) {
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

async fn passed_on(local: &Rc<Local>, client: &Rc<Client>, port: &PrivatePort, early: Bytes) -> End {
    let Some(route) = port.paths.longest("/") else {
        return End::Reset(Some("it is not HTTP, and its service has only HTTP routes".into()));
    };
    let Target::Replicas { service, port: number } = &route.target.target else {
        return End::Reset(Some("it is not HTTP, and nothing runs for its service here".into()));
    };
    client.enter(Phase::Busy);
    let limit = local.loaded().snapshot.rules.timeouts.connect;
    match open(service, *number, limit).await {
        Ok((lease, door, stream)) => {
            let replica = lease.replica().clone();
            Relay { client, service, port, door, replica, lease: Some(lease) }.run(stream, early).await
        }
        Err(why) => End::Reset(Some(why)),
    }
}

/// A lease and a connection, waiting for a replica where none is ready.
async fn open(service: &Arc<Service>, port: u16, limit: Duration) -> Result<(Lease, Door, TcpStream), String> {
    let (mut demand, mut held) = (Demand::of(Use::Counts), Duration::ZERO);
    let mut patience = Patience::default();
    loop {
        let lease = match demand.failed.is_none().then(|| service.try_lease(Use::Counts, None)).flatten() {
            Some(lease) => lease,
            None => {
                let given = Box::pin(service.hold(demand)).await.map_err(refused)?;
                held += given.waited;
                given.lease
            }
        };
        let Some(door) = lease.door(port) else { return Err(format!("its replica has no port {port}")) };
        match upstream::connect(&door, limit).await {
            Ok(stream) => {
                lease.report(Outcome::Answered);
                return Ok((lease, door, stream));
            }
            // Nothing left of ours: not the replica's fault.
            Err(error) if is_exhausted(&error) => {
                return Err(format!("no connection to its replica at port {port}: {error}"));
            }
            Err(error) => {
                lease.report(Outcome::ConnectFailed);
                demand.failed = Some(lease.replica().uid);
                let Some(spent) = patience.again(service, held) else {
                    return Err(format!("no connection to its replica at port {port}: {error}"));
                };
                demand.waited = spent;
            }
        }
    }
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
    /// The last one that there was a lease on.
    replica: Arc<Replica>,
    /// While bytes move.
    lease: Option<Lease>,
}

impl Relay<'_> {
    async fn run(mut self, upstream: TcpStream, early: Bytes) -> End {
        let socket = Rc::new(upstream);
        let mut upstream = Stream::Plain(socket.clone());
        let mut inward = Pump::beginning(early);
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
                    self.lease = self.service.lease_on(&self.replica);
                    match &self.lease {
                        Some(_) => self.client.relay(QUIET, false),
                        None if asked => regained = Some(Box::pin(regain(self.service.clone(), self.replica.id))),
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
                        self.replica = lease.replica().clone();
                        self.lease = Some(lease);
                    }
                    None => return Poll::Ready(End::Reset(Some(SWITCHED_OFF.into()))),
                }
                self.client.relay(QUIET, false);
            }
            if outward.ended && outward.withhold {
                // Did the application end the connection, or did the replica end? A quiet one may end with
                // its replica; so may one that both sides have done with.
                let died = if inward.ended || self.lease.is_none() {
                    Poll::Ready(false)
                } else {
                    let asked = alive.get_or_insert_with(|| Box::pin(answers(self.door.clone())));
                    asked.as_mut().poll(cx).map(|alive| !alive)
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
            if self.client.may_close() { Poll::Ready(End::Closed) } else { Poll::Pending }
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
    let demand = Demand::of(Use::Counts);
    let held = service.hold(demand).await.ok()?;
    if held.lease.replica().id == id { Some(held.lease) } else { service.lease_by_id(id) }
}

/// Whether somebody still accepts there: what a connection's end cannot tell.
///
/// Of a process that dies the system closes the connections first, and the listener a moment later. What
/// waits in that is reset then.
async fn answers(door: Door) -> bool {
    let stream = match upstream::connect(&door, ALIVE).await {
        Ok(stream) => stream,
        // What we lack tells nothing of the other side.
        Err(error) => return is_exhausted(&error),
    };
    match tokio::time::timeout(LAST_MOMENT, stream.ready(Interest::READABLE | Interest::ERROR)).await {
        Ok(_) => stream.take_error().is_ok_and(|error| error.is_none()) && wire::peek_at(&stream, &mut [0]).is_ok(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// What may become a method and does not is no longer on the socket's edge: it must not lie there.
    #[tokio::test]
    async fn what_is_undecided_when_time_is_up_is_taken_along() {
        let (mut client, port) = pair().await;
        client.write_all(b"PING").await.unwrap();
        assert_eq!(detect(&port).await.unwrap(), (Guess::More, Bytes::from_static(b"PING")));
        client.write_all(b"\r\n").await.unwrap();
        port.readable().await.unwrap();
        assert_eq!(wire::take(&port).unwrap(), "\r\n");
    }

    #[tokio::test]
    async fn a_decision_leaves_the_bytes_where_they_are() {
        for (bytes, wanted) in [(&b"GET / HTTP/1.1\r\n"[..], Guess::Http), (b"*1\r\n", Guess::Raw)] {
            let (mut client, port) = pair().await;
            client.write_all(bytes).await.unwrap();
            assert_eq!(detect(&port).await.unwrap(), (wanted, Bytes::new()));
            assert_eq!(wire::take(&port).unwrap(), bytes);
        }
        let (mut client, port) = pair().await;
        client.write_all(b"PING").await.unwrap();
        client.shutdown().await.unwrap();
        let (guess, early) = detect(&port).await.unwrap();
        assert_eq!((guess, early.len() + wire::take(&port).unwrap().len()), (Guess::More, 4), "more will not come");
    }
}
