//! Private ports that are called by name, where callers are told apart by their addresses.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use socket2::{Domain, Socket, Type};

use super::support::{Client, LONG, Router, Setup, Upstream, eventually};
use crate::landscape::ServiceKey;
use crate::listen::Listeners;
use crate::proxy::{Called, Callers, Named};

const API: &str = "127.0.4.1";
const STRANGER: &str = "127.0.4.2";
const NOBODY: &str = "127.0.4.3";

#[derive(Debug)]
struct Known(HashMap<IpAddr, ServiceKey>);

#[async_trait]
impl Callers for Known {
    async fn at(&self, address: IpAddr) -> Option<ServiceKey> {
        self.0.get(&address).cloned()
    }
}

/// The router's listener for a port of a name.
fn name(router: &Router, name: &str, port: u16) -> SocketAddr {
    let known = [(API, ServiceKey::new("4711", "api")), (STRANGER, ServiceKey::new("4712", "web"))];
    let known = Known(known.map(|(address, key)| (address.parse().unwrap(), key)).into());
    let named = Named { called: Called { name: name.into(), port }, callers: Arc::new(known) };
    let socket = Listeners::bind_private("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    router.listeners.serve_private(format!("names/{}", address.port()).into(), Arc::new(named), socket).unwrap();
    address
}

fn call(from: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Whether the router broke the connection off without a word.
fn is_reset(mut stream: TcpStream) -> bool {
    let mut answer = Vec::new();
    // Whichever of the two comes after the reset is told of it.
    let said = stream.write_all(b"GET / HTTP/1.1\r\nHost: 4711.localhost\r\n\r\n");
    let end = said.and_then(|()| stream.read_to_end(&mut answer));
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    end.is_err_and(|e| matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

#[test]
fn a_service_of_the_landscape_is_served_and_known_by_its_name() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let address = name(&router, "ws-server-4711-web", 3000);
    let mut client = Client::on(call(API, address));
    // The Host field says nothing here.
    client.send("GET /x HTTP/1.1\r\nHost: 4712.localhost\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("GET /x HTTP/1.1\r\n") && answer.text().contains(API), "{}", answer.text());
    drop(client);
    let calls = &router.service.stats().calls;
    eventually("the call is counted", || calls.of("api").requests.get() == 1);
    assert_eq!(calls.all().len(), 1);
}

#[test]
fn a_service_of_another_landscape_and_a_stranger_are_refused_and_counted() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let address = name(&router, "ws-server-4711-web", 3000);
    assert!(is_reset(call(STRANGER, address)));
    assert_eq!((router.stats.private_refused_foreign.get(), router.stats.private_refused_unknown.get()), (1, 0));
    assert!(is_reset(call(NOBODY, address)));
    assert_eq!((router.stats.private_refused_foreign.get(), router.stats.private_refused_unknown.get()), (1, 1));
    assert_eq!(upstream.connections.load(Ordering::Relaxed), 0);
    assert!(router.service.stats().calls.all().is_empty());
}

#[test]
fn a_port_that_the_service_does_not_declare_is_refused() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    assert!(is_reset(call(API, name(&router, "ws-server-4711-web", 3001))));
    assert!(is_reset(call(API, name(&router, "ws-server-4711-we", 3000))));
    assert_eq!(router.stats.private_refused_foreign.get(), 2);
}

#[test]
fn bytes_of_any_protocol_wait_for_a_replica_and_are_passed_on() {
    let upstream = Upstream::new(|client, _| {
        let said = client.exactly(6);
        client.send([said, b"PONG\r\n".to_vec()].concat());
    });
    let router = Router::new(Setup::default());
    let address = name(&router, "ws-server-4711-web", 3000);
    let mut client = Client::on(call(API, address));
    client.send(b"PING\r\n");
    eventually("it is held", || router.service.held() == 1);
    router.ready(&[upstream.address]);
    assert_eq!(client.exactly(12), b"PING\r\nPONG\r\n");
    drop(client);
    let caller = router.service.stats().calls.of("api");
    eventually("it has ended", || caller.open.get() == 0);
    assert_eq!((caller.connections.get(), caller.received.get(), caller.sent.get()), (1, 6, 12));
}

#[test]
fn a_listener_that_is_put_away_refuses() {
    let router = Router::before(Upstream::echo().address, Setup::default());
    let address = name(&router, "ws-server-4711-web", 3000);
    assert!(TcpStream::connect(address).is_ok());
    router.listeners.end_private(&format!("names/{}", address.port()));
    eventually("it is closed", || TcpStream::connect(address).is_err());
}
