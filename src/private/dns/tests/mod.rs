//! A real server on 127.0.0.1, asked by packets, with fake resolvers upstream.

mod foreign;
mod own;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_server::proto::op::{Message, Query};
use hickory_server::proto::rr::rdata::A;
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::upstream::{read_message, write_message};
use super::{Forwarder, Server};
use crate::private::names::Zone;

/// Long enough that only what hangs takes it.
const PATIENCE: Duration = Duration::from_secs(20);

fn zone(services: &[(&str, [u8; 4])]) -> Zone {
    let services = services.iter().map(|(name, address)| (Arc::from(*name), Ipv4Addr::from(*address)));
    Zone::new("4711", services, "10.201.0.0/16".parse().unwrap())
}

/// The name server of landscape 4711, with the services web and api.
struct Subject {
    server: Server,
    zone: Arc<ArcSwap<Zone>>,
    address: SocketAddr,
}

impl Subject {
    fn start(forwarder: Forwarder) -> Self {
        let (udp, tcp) = loop {
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = std::net::UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(ArcSwap::from_pointee(zone(&[("web", [10, 201, 0, 1]), ("api", [10, 201, 0, 2])])));
        Self { server: Server::start(zone.clone(), forwarder, udp, tcp).unwrap(), zone, address }
    }

    fn before(upstreams: &[&Upstream]) -> Self {
        Self::start(Forwarder::new(upstreams.iter().map(|upstream| upstream.address)))
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        Message::from_vec(&self.send(&query(name, kind).to_vec().unwrap()).await).unwrap()
    }

    /// The reply by UDP.
    async fn send(&self, query: &[u8]) -> Vec<u8> {
        let socket = self.client().await;
        socket.send(query).await.unwrap();
        receive(&socket).await
    }

    async fn send_tcp(&self, query: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        write_message(&mut stream, query).await.unwrap();
        timeout(PATIENCE, read_message(&mut stream)).await.unwrap().unwrap()
    }

    async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket
    }
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut reply = vec![0; 65_535];
    let length = timeout(PATIENCE, socket.recv(&mut reply)).await.unwrap().unwrap();
    reply.truncate(length);
    reply
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn addresses(message: &Message) -> Vec<Ipv4Addr> {
    message
        .answers
        .iter()
        .filter_map(|record| match record.data {
            RData::A(A(address)) => Some(address),
            _ => None,
        })
        .collect()
}

/// A resolver that answers as it is told, and counts.
struct Upstream {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Upstream {
    /// `answer` gets the question's bytes and whether it came by TCP, and gives the packets to send.
    async fn start(answer: impl Fn(&[u8], bool) -> Vec<Vec<u8>> + Clone + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        let (of_udp, of_tcp, count, count_tcp) = (answer.clone(), answer, asked.clone(), asked.clone());
        tasks.spawn(async move {
            let mut message = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut message).await {
                count.fetch_add(1, Ordering::SeqCst);
                for packet in of_udp(&message[..length], false) {
                    udp.send_to(&packet, peer).await.unwrap();
                }
            }
        });
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                if let Ok(message) = read_message(&mut stream).await {
                    count_tcp.fetch_add(1, Ordering::SeqCst);
                    for packet in of_tcp(&message, true) {
                        write_message(&mut stream, &packet).await.unwrap();
                    }
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// Answers with what `change` makes of the response.
    async fn answering(change: impl Fn(&mut Message) + Clone + Send + Sync + 'static) -> Self {
        Self::start(move |query, _| vec![response(query, &change)]).await
    }

    async fn silent() -> Self {
        Self::start(|_, _| Vec::new()).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn response(query: &[u8], change: impl Fn(&mut Message)) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap().into_response();
    message.metadata.recursion_available = true;
    change(&mut message);
    message.to_vec().unwrap()
}

/// An A record for whatever was asked.
fn with_address(message: &mut Message, ttl: u32, address: [u8; 4]) {
    let name = message.queries[0].name().clone();
    message.add_answer(Record::from_rdata(name, ttl, RData::A(A(address.into()))));
}
