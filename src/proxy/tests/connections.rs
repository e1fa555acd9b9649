//! Listeners and connections: coming, going, too many, the end.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::support::*;
use crate::listen::{Options, Quiet};

fn request() -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[test]
fn too_many_connections_are_told_so() {
    let upstream = Upstream::echo();
    let setup = Setup { options: Options { threads: 1, max_connections: 2 }, ..Setup::default() };
    let router = Router::before(upstream.address, setup);
    let mut kept: Vec<Client> = (0..2).map(|_| router.client()).collect();
    for client in &mut kept {
        client.send(request());
        assert_eq!(client.answer().status, 200);
    }
    let mut third = router.client();
    let answer = third.answer();
    assert_eq!((answer.status, answer.error().as_str()), (503, "overloaded"));
    assert!(answer.field("retry-after").is_some());
    assert_eq!(router.stats.connections_refused.get(), 1);
    kept.pop();
    eventually("a place is free", || router.listeners.connections() == 1);
    assert_eq!(router.get("/").status, 200);
}

#[test]
fn connections_are_spread_over_the_threads() {
    let upstream = Upstream::echo();
    let setup = Setup { options: Options { threads: 3, max_connections: 100 }, ..Setup::default() };
    let router = Router::before(upstream.address, setup);
    let mut clients: Vec<Client> = (0..9).map(|_| router.client()).collect();
    for client in &mut clients {
        client.send(request());
        assert_eq!(client.answer().status, 200);
    }
    // One upstream connection a thread: each serves its own from its own pool.
    assert_eq!(upstream.count(), 3);
}

#[test]
fn listeners_come_and_go_under_load_without_a_failure() {
    let upstream = Upstream::echo();
    let setup = Setup { options: Options { threads: 2, max_connections: 1000 }, ..Setup::default() };
    let router = Router::before(upstream.address, setup);
    let stays = any();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, done, address) = (stop.clone(), done.clone(), router.address);
            std::thread::spawn(move || {
                let mut client = Client::to(address);
                while !stop.load(Ordering::Relaxed) {
                    client.send(request());
                    let answer = client.answer();
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.field("connection"), None, "its listener stays");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=10 {
        let extra: SocketAddr = format!("127.0.0.{}:0", round + 1).parse().unwrap();
        let bound = router.listen(&[stays, extra])[1];
        let mut on_extra = Client::to(bound);
        on_extra.send(request());
        assert_eq!(on_extra.answer().status, 200);
        router.listen(&[stays]);
        eventually("nobody listens there", || TcpStream::connect(bound).is_err());
        // Its connection is told to end with the next answer.
        on_extra.send(request());
        let answer = on_extra.answer();
        assert_eq!((answer.status, answer.field("connection").as_deref()), (200, Some("close")));
        assert!(on_extra.is_closed());
        let before = done.load(Ordering::Relaxed);
        eventually("the others go on", || done.load(Ordering::Relaxed) > before + 10);
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
}

#[test]
fn a_failed_change_leaves_everything_as_it_was() {
    let upstream = Upstream::echo();
    let router = Router::before(upstream.address, Setup::default());
    let taken = std::net::TcpListener::bind(any()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = router.listeners.open(&["127.0.0.9:0".parse().unwrap(), address], Vec::new()).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert_eq!(router.listeners.addresses(), [router.address]);
    assert_eq!(router.get("/").status, 200);
}

#[test]
fn given_sockets_are_used() {
    let upstream = Upstream::echo();
    let first = Router::before(upstream.address, Setup::default());
    let sockets =
        first.listeners.descriptors().unwrap().into_iter().map(|(_, fd)| (first.address, fd.into())).collect();
    let second = Router::before(upstream.address, Setup::default());
    let bound = second.listeners.serve(second.listeners.open(&[first.address], sockets).unwrap());
    assert_eq!(bound, [first.address]);
    assert_eq!(first.block_on(first.listeners.drain(LONG, Quiet::Ended)), 0);
    drop(first);
    let mut client = Client::to(bound[0]);
    client.send(request());
    assert_eq!(client.answer().status, 200);
}

#[test]
fn the_end_waits_for_what_is_in_flight() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        std::thread::sleep(Duration::from_millis(200));
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let router = Router::new(Setup::default());
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut idle = router.client();
    let mut busy = router.client();
    busy.send(request());
    eventually("it is forwarded", || replica.word.in_flight() == 1);
    let left = router.block_on(router.listeners.drain(LONG, Quiet::Ended));
    assert_eq!(left, 0);
    let answer = busy.answer();
    assert_eq!((answer.text(), answer.field("connection").as_deref()), ("ok", Some("close")));
    assert!(idle.is_closed());
    assert!(TcpStream::connect(router.address).is_err());
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let upstream = Upstream::new(|client, _| {
        client.request();
        client.request();
    });
    let router = Router::new(Setup::default());
    let replica = router.ready(&[upstream.address]).remove(0);
    let mut busy = router.client();
    busy.send(request());
    eventually("it is forwarded", || replica.word.in_flight() == 1);
    assert_eq!(router.block_on(router.listeners.drain(Duration::from_millis(100), Quiet::Ended)), 1);
    assert_eq!(busy.stream.read(&mut [0; 1]).unwrap_or(0), 0);
    eventually("the lease is given back", || replica.word.in_flight() == 0);
}

#[test]
fn an_idle_connection_is_closed_after_the_idle_time_and_not_before() {
    let upstream = Upstream::echo();
    let mut setup = Setup::default();
    setup.rules.timeouts.header = Duration::from_millis(100);
    setup.rules.timeouts.idle = Duration::from_millis(600);
    let router = Router::before(upstream.address, setup);
    let mut client = router.client();
    for _ in 0..2 {
        client.send(request());
        assert_eq!(client.answer().status, 200);
        // Longer than the header's deadline, which does not count between requests.
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(client.is_closed(), "closed without a word");
}
