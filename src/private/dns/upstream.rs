//! Asks resolvers outside: bytes go, bytes come back.
//!
//! Several upstream resolvers are asked in their order, the next one as soon as one fails and in any case
//! when an answer takes long, so that neither a lost packet nor a dead resolver costs the whole deadline. The
//! first good answer counts; "server failure" and "refused" count where nobody has a better one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_server::proto::op::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

use super::wire::{self, rcode};

/// How long a question may take in all. Resolvers of C libraries ask again after 5 s.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long one upstream resolver may think before the next one is asked as well.
const PATIENCE: Duration = Duration::from_millis(600);

/// How long TCP to an upstream resolver is tried before the question goes by UDP after all.
const TCP_DEADLINE: Duration = Duration::from_millis(1200);

/// How often a question is asked; each takes a socket.
const ATTEMPTS: usize = 3;

/// Questions under way, of all landscapes together: a bound to the sockets they take.
const QUESTIONS: usize = 512;

/// The resolvers that names of the world outside are asked of. Cloned for each landscape.
#[derive(Clone, Debug)]
pub struct Forwarder {
    upstreams: Arc<[SocketAddr]>,
    questions: Arc<Semaphore>,
}

impl Forwarder {
    /// Asks `upstreams`, in their order. Without any, every foreign name is refused at once.
    pub fn new(upstreams: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { upstreams: upstreams.into_iter().collect(), questions: Arc::new(Semaphore::new(QUESTIONS)) }
    }

    /// Asks the resolvers that this machine asks, by its `/etc/resolv.conf` as it is now. Without any there,
    /// which the log says, every foreign name is refused.
    pub fn system() -> Self {
        let config = hickory_resolver::system_conf::read_system_conf();
        let upstreams = match config {
            Ok((config, _)) => config
                .name_servers()
                .iter()
                .map(|server| SocketAddr::new(server.ip, server.connections.first().map_or(53, |c| c.port)))
                .collect(),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "no resolver in /etc/resolv.conf: services find each other, and no name outside; add a nameserver line"
                );
                Vec::new()
            }
        };
        Self::new(upstreams)
    }

    /// The resolvers it asks.
    pub fn upstreams(&self) -> &[SocketAddr] {
        &self.upstreams
    }

    /// The response to `query`, which is asked by TCP if `by_tcp`, with the query's id and question.
    pub(super) async fn ask(&self, query: &[u8], by_tcp: bool) -> io::Result<Vec<u8>> {
        let Ok(_place) = self.questions.try_acquire() else {
            return Err(io::Error::other("too many questions to upstream resolvers are under way"));
        };
        let deadline = Instant::now() + DEADLINE;
        let mut next = self.upstreams.iter().copied().cycle().take(self.upstreams.len().max(ATTEMPTS));
        let mut failed: Vec<SocketAddr> = Vec::new();
        let mut attempts = FuturesUnordered::new();
        let mut poor = None;
        let mut error = None;
        loop {
            if attempts.len() < ATTEMPTS
                && let Some(upstream) = next.find(|upstream| !failed.contains(upstream))
            {
                attempts.push(async move { (upstream, exchange(upstream, query, by_tcp).await) });
            }
            let until = deadline.min(Instant::now() + PATIENCE);
            tokio::select! {
                attempt = attempts.next() => match attempt {
                    Some((_, Ok(response))) if is_good(&response) => return Ok(response),
                    Some((upstream, Ok(response))) => {
                        failed.push(upstream);
                        poor.get_or_insert(response);
                    }
                    Some((upstream, Err(why))) => {
                        failed.push(upstream);
                        error = Some(io::Error::new(why.kind(), format!("{upstream}: {why}")));
                    }
                    None => break,
                },
                () = sleep_until(until) => if until == deadline { break },
            }
        }
        poor.ok_or_else(|| error.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
    }
}

fn is_good(response: &[u8]) -> bool {
    !matches!(wire::response_code(response), rcode::SERVER_FAILURE | rcode::REFUSED | rcode::NOT_IMPLEMENTED)
}

async fn exchange(upstream: SocketAddr, query: &[u8], by_tcp: bool) -> io::Result<Vec<u8>> {
    // An id that nobody can guess is half of what an answer is recognised by; the port is the other half.
    let mut query = query.to_vec();
    let original = wire::id(&query).unwrap_or_default();
    wire::set_id(&mut query, Message::query().metadata.id.to_be_bytes());
    let tcp = match by_tcp {
        true => timeout(TCP_DEADLINE, exchange_tcp(upstream, &query)).await.ok().and_then(Result::ok),
        false => None,
    };
    let mut response = match tcp {
        Some(response) => response,
        // Some resolvers do not answer by TCP. What is by UDP is better than nothing.
        None => exchange_udp(upstream, &query).await?,
    };
    wire::set_id(&mut response, original);
    Ok(response)
}

/// Waits for as long as it is let.
async fn exchange_udp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected: packets of others do not come in, and an upstream that is not there is known at once.
    socket.connect(upstream).await?;
    socket.send(query).await?;
    let mut response = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut response).await?;
        if wire::answers_to(&response[..length], query) {
            response.truncate(length);
            response.shrink_to_fit();
            return Ok(response);
        }
    }
}

async fn exchange_tcp(upstream: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(upstream).await?;
    write_message(&mut stream, query).await?;
    let response = read_message(&mut stream).await?;
    if wire::answers_to(&response, query) { Ok(response) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads one message with its length before it (RFC 1035, section 4.2.2).
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message with its length before it, in one write.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
