//! On a stand-in for a machine: each test has a network namespace of its own for what a router finds,
//! so that this machine's interfaces, routes and filters are never touched.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::filter::{Kind, Redirect, Segment, Transport, render};
use super::*;

mod reach;

const RANGE: &str = "10.231.0.0/16";
const SHOP: &str = "10.232.1.1/24";
const BLOG: &str = "10.232.2.1/24";
const VIP: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 7);

/// Runs `test` in a namespace of its own where the router may do everything, with `lo` up.
fn on_a_machine(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: making network namespaces needs root");
        return;
    }
    let outcome = std::thread::scope(|scope| {
        let machine = scope.spawn(|| {
            namespace::leave_for_new().unwrap();
            let mut wire = Wire::open().unwrap();
            wire.set_up(1).unwrap();
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            test();
        });
        machine.join()
    });
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

/// A landscape's segment with replicas at its second, third, ... address.
struct Landscape {
    bridge: String,
    gateway: Ipv4Net,
}

impl Landscape {
    fn new(ground: &Ground, id: &str, gateway: &str) -> Self {
        let landscape = Self { bridge: bridge_name("test", id), gateway: net(gateway) };
        ground.ensure_bridge(&landscape.bridge, landscape.gateway).unwrap();
        landscape
    }

    fn address(&self, ordinal: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.gateway.addr().octets();
        Ipv4Addr::new(a, b, c, ordinal + 2)
    }

    fn replica(&self, ordinal: u8) -> Namespace {
        let host_end = format!("lrt{}.{ordinal}", self.gateway.addr().octets()[2]);
        Namespace::new(attach(&self.bridge, self.gateway.trunc(), self.address(ordinal), &host_end).unwrap())
    }

    fn segment(&self, kind: Kind) -> Segment {
        Segment::new(&self.bridge, self.gateway, kind).unwrap()
    }
}

fn ground() -> Ground {
    Ground::open("test", net(RANGE), &[net("10.232.0.0/16")]).unwrap()
}

fn fence(landscapes: &[&Landscape], egress: bool) {
    let segments: Vec<Segment> = landscapes.iter().map(|landscape| landscape.segment(Kind::Process)).collect();
    apply(&render("test", &segments, &[], net(RANGE), egress)).unwrap();
}

/// Answers every connection with the caller's address.
fn serve(listener: TcpListener) {
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(peer.to_string().as_bytes());
        }
    });
}

fn serve_in(namespace: &Namespace, port: u16) {
    serve(namespace.enter(|| TcpListener::bind(("0.0.0.0", port))).unwrap().unwrap());
}

/// What [`serve`] says, or why it cannot be reached.
fn call(to: SocketAddrV4) -> Result<String, ErrorKind> {
    let patience = Duration::from_millis(800);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(to), patience).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.kind())?;
    Ok(answer)
}

fn call_from(namespace: &Namespace, to: SocketAddrV4) -> Result<String, ErrorKind> {
    namespace.enter(|| call(to)).unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_machine_where_everything_is_there_lacks_nothing() {
    on_a_machine(|| {
        let survey = rights();
        assert!(survey.can_isolate(), "{survey}");
        assert_eq!(survey.lacks().count(), 0, "{survey}");
        assert_eq!(run("nft", &["list", "ruleset"]), "");
        assert_eq!(Wire::open().unwrap().links().unwrap().len(), 1);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let survey = rights();
        assert!(survey.can_isolate());
        assert!(survey.to_string().contains("sysctl net.ipv4.ip_forward=1"), "{survey}");
    });
}

#[test]
fn a_range_that_the_machine_uses_is_refused_by_name() {
    on_a_machine(|| {
        let mut wire = Wire::open().unwrap();
        wire.make_bridge("office").unwrap();
        let office = wire.link("office").unwrap().unwrap().index;
        wire.add_address(office, net("10.231.9.1/24")).unwrap();
        wire.set_up(office).unwrap();
        let lack = Ground::open("test", net(RANGE), &[]).unwrap_err();
        assert!(lack.to_string().contains("10.231.9.1/24 of the interface office"), "{lack}");
        let lack = Ground::open("test", net("10.233.0.0/16"), &[net("10.231.9.0/25")]).unwrap_err();
        assert!(lack.to_string().contains("10.231.9.0/25 overlaps"), "{lack}");
        let used: Vec<Ipv4Net> = taken("test").unwrap().into_iter().map(|taken| taken.net).collect();
        assert_eq!(pick_range(&[net(RANGE), net("10.233.0.0/16")], &used), Some(net("10.233.0.0/16")));
    });
}

#[test]
fn what_an_earlier_router_left_is_adopted_and_another_instance_may_share_the_range() {
    on_a_machine(|| {
        let first = ground();
        let shop = Landscape::new(&first, "shop", SHOP);
        let replica = shop.replica(0);
        drop(first);
        let second = ground();
        second.ensure_bridge(&shop.bridge, net(BLOG)).unwrap();
        second.ensure_bridge(&shop.bridge, shop.gateway).unwrap();
        assert_eq!(second.bridges().unwrap(), [(shop.bridge.clone(), true)]);
        serve_in(&replica, 3000);
        assert!(call(at(shop.address(0), 3000)).is_ok());
        let other = Ground::open("other", net(RANGE), &[]).unwrap();
        // Of subnets another one cuts what is left; addresses it needs for itself.
        let third = Ground::open("third", net("10.229.0.0/16"), &[net("10.232.0.0/16")]).unwrap();
        assert!(taken("third").unwrap().iter().any(|taken| taken.piece && taken.net == shop.gateway.trunc()));
        third.close(&HashSet::new(), false).unwrap();
        assert!(Ground::open("third", net("10.232.0.0/16"), &[]).is_err());
        other.close(&HashSet::new(), false).unwrap();
        assert!(TcpListener::bind((VIP, 3000)).is_ok(), "the other's leaving took the range along");
    });
}

#[test]
fn an_address_is_free_again_as_soon_as_its_replica_has_ended() {
    on_a_machine(|| {
        let shop = Landscape::new(&ground(), "shop", SHOP);
        for _ in 0..20 {
            drop(shop.replica(0));
            cut("lrt1.0").unwrap();
        }
        cut("lrt1.0").unwrap();
    });
}

#[test]
fn closing_removes_what_is_unused_and_keeps_what_fences_replicas() {
    on_a_machine(|| {
        let first = ground();
        let (shop, blog) = (Landscape::new(&first, "shop", SHOP), Landscape::new(&first, "blog", BLOG));
        let replica = shop.replica(0);
        fence(&[&shop, &blog], true);
        first.close(&HashSet::from(["lrt1.0".to_owned()]), false).unwrap();
        let second = ground();
        assert_eq!(second.bridges().unwrap(), [(shop.bridge.clone(), true)]);
        assert!(run("nft", &["list", "tables"]).contains("landscape_router_test"));
        // The kernel takes its time with the cable; nobody waits for it.
        drop(replica);
        second.close(&HashSet::new(), false).unwrap();
        assert_eq!(run("nft", &["list", "tables"]), "");
        assert_eq!(Wire::open().unwrap().links().unwrap().len(), 1);
        assert!(TcpListener::bind((VIP, 3000)).is_err());
    });
}

#[test]
fn a_replica_has_its_address_low_ports_and_a_way_out_from_its_first_moment() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let replica = shop.replica(0);
        let (addresses, route, start) = replica
            .enter(|| {
                let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
                (run("ip", &["-br", "addr"]), run("ip", &["route", "get", "8.8.8.8"]), start)
            })
            .unwrap();
        assert!(addresses.contains("127.0.0.1/8") && addresses.contains("10.232.1.2/24"), "{addresses}");
        assert!(!addresses.contains("fe80"), "{addresses}");
        assert!(route.contains("via 10.232.1.1 dev eth0"), "{route}");
        assert_eq!(start.trim(), "0");
        assert!(attach(&shop.bridge, shop.gateway.trunc(), shop.gateway.addr(), "lrtx").is_err());
        assert!(attach("nobridge", shop.gateway.trunc(), shop.address(1), "lrtx").is_err());
    });
}

#[test]
fn a_replica_may_ask_for_an_echo_without_raw_packets() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let outside = outside();
        fence(&[&shop], true);
        let heard = shop.replica(0).enter(|| {
            // As `ping` makes it that has no capability.
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4))?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            socket.connect(&SocketAddr::from(([203, 0, 113, 2], 0)).into())?;
            socket.send(&[8, 0, 0, 0, 0, 0, 0, 1])?;
            let mut answer = [0; 64];
            (&socket).read(&mut answer).map(|_| answer[0])
        });
        assert_eq!(heard.unwrap().unwrap(), 0, "an echo");
        drop(outside);
    });
}

/// A neighbour of the machine, beyond the router.
fn outside() -> Namespace {
    let mut wire = Wire::open().unwrap();
    wire.make_bridge("wan").unwrap();
    let wan = wire.link("wan").unwrap().unwrap().index;
    wire.add_address(wan, net("203.0.113.1/24")).unwrap();
    wire.set_up(wan).unwrap();
    Namespace::new(attach("wan", net("203.0.113.0/24"), Ipv4Addr::new(203, 0, 113, 2), "wan.2").unwrap())
}

#[test]
fn dockers_filters_let_our_bridges_through_and_forget_them() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let replica = shop.replica(0);
        let outside = outside();
        serve_in(&outside, 443);
        let internet = at(Ipv4Addr::new(203, 0, 113, 2), 443);
        fence(&[&shop], true);
        assert_eq!(allow_through_docker("test", std::slice::from_ref(&shop.bridge)), Ok(()), "no chain, no trouble");
        for arguments in ["-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER"]
        {
            run("iptables", &arguments.split(' ').collect::<Vec<_>>());
        }
        assert!(call_from(&replica, internet).is_err());
        for _ in 0..2 {
            allow_through_docker("test", &[shop.bridge.clone(), "lrother".to_owned()]).unwrap();
            assert_eq!(run("iptables", &["-S", "DOCKER-USER"]).lines().count(), 6);
        }
        assert!(call_from(&replica, internet).is_ok());
        allow_through_docker("test", std::slice::from_ref(&shop.bridge)).unwrap();
        assert_eq!(run("iptables", &["-S", "DOCKER-USER"]).lines().count(), 4);
        assert!(call_from(&replica, internet).is_ok());
        drop(replica);
        ground.close(&HashSet::new(), false).unwrap();
        assert_eq!(run("iptables", &["-S", "DOCKER-USER"]).lines().count(), 2);
    });
}

#[test]
fn a_thread_comes_home_from_a_visit_even_by_a_panic() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let replica = shop.replica(0);
        let home = own();
        let inside = replica.enter(own).unwrap();
        let other = shop.replica(1);
        let nested = replica.enter(|| (other.enter(own).unwrap(), own(), other.enter(own).unwrap(), own())).unwrap();
        assert!(nested.0 == nested.2 && nested.0 != inside && nested.1 == inside && nested.3 == inside);
        assert_ne!(home, inside);
        assert_eq!(own(), home);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = replica.enter(|| panic!("inside"));
        }));
        assert!(panicked.is_err());
        assert_eq!(own(), home);
        let socket = replica.socket(socket2::Domain::IPV4).unwrap();
        assert!(socket.nonblocking().unwrap());
    });
}

fn own() -> String {
    std::fs::read_link("/proc/thread-self/ns/net").unwrap().to_string_lossy().into_owned()
}

#[test]
fn an_address_given_anew_is_reached_at_once() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let first = shop.replica(0);
        serve_in(&first, 3000);
        let target = at(shop.address(0), 3000);
        assert!(call(target).is_ok());
        run("ip", &["link", "del", "lrt1.0"]);
        let second = shop.replica(0);
        serve_in(&second, 3000);
        assert!(call(target).is_ok());
    });
}

/// `cargo test --lib private::ground -- --ignored --nocapture`
#[test]
#[ignore = "prints what things cost"]
fn costs() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let start = Instant::now();
        let replicas: Vec<Namespace> = (0..100).map(|ordinal| shop.replica(ordinal)).collect();
        eprintln!("attach: {:?}", start.elapsed() / 100);
        let start = Instant::now();
        for _ in 0..10_000 {
            replicas[0].enter(|| ()).unwrap();
        }
        eprintln!("enter: {:?}", start.elapsed() / 10_000);
        let start = Instant::now();
        for _ in 0..10_000 {
            replicas[0].socket(socket2::Domain::IPV4).unwrap();
        }
        eprintln!("socket in a namespace: {:?}", start.elapsed() / 10_000);
        let start = Instant::now();
        for _ in 0..10_000 {
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        }
        eprintln!("socket: {:?}", start.elapsed() / 10_000);
        let start = Instant::now();
        fence(&[&shop], true);
        eprintln!("filters: {:?}", start.elapsed());
        let start = Instant::now();
        rights();
        eprintln!("rights: {:?}", start.elapsed());
    });
}
