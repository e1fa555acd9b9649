//! Who reaches whom: what the filters let through and what they refuse.

use super::*;

#[test]
fn replicas_of_a_landscape_cannot_reach_each_other() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let (one, two) = (shop.replica(0), shop.replica(1));
        fence(&[&shop], true);
        serve_in(&one, 3000);
        let target = at(shop.address(0), 3000);
        assert!(call(target).is_ok(), "the router reaches it");
        assert!(call_from(&two, target).is_err(), "by the bridge");
        // By way of the router, which a replica with rights over its own namespace can ask for.
        two.enter(|| run("ip", &["route", "add", "10.232.1.2/32", "via", "10.232.1.1"])).unwrap();
        assert_eq!(call_from(&two, target), Err(ErrorKind::ConnectionRefused), "by the router");
    });
}

#[test]
fn a_virtual_address_answers_on_its_own_segment_alone() {
    on_a_machine(|| {
        let ground = ground();
        let (shop, blog) = (Landscape::new(&ground, "shop", SHOP), Landscape::new(&ground, "blog", BLOG));
        let (customer, stranger) = (shop.replica(0), blog.replica(0));
        fence(&[&shop, &blog], true);
        serve(listen_tcp(Some(&shop.bridge), at(VIP, 3000), 16).unwrap());
        // Each landscape has its own at the same place.
        let own = listen_tcp(Some(&blog.bridge), at(VIP, 3001), 16).unwrap();
        serve(own);
        let seen = call_from(&customer, at(VIP, 3000)).unwrap();
        assert!(seen.starts_with("10.232.1.2:"), "{seen}");
        assert!(call_from(&stranger, at(VIP, 3001)).is_ok());
        for port in [3001, 3002, 22] {
            assert_eq!(call_from(&customer, at(VIP, port)), Err(ErrorKind::ConnectionRefused), "undeclared {port}");
        }
        assert_eq!(call_from(&stranger, at(VIP, 3000)), Err(ErrorKind::ConnectionRefused));
        assert_eq!(call(at(VIP, 3000)), Err(ErrorKind::ConnectionRefused), "this machine itself");
    });
}

#[test]
fn this_machines_own_ports_are_closed_to_replicas() {
    on_a_machine(|| {
        let ground = ground();
        let (shop, blog) = (Landscape::new(&ground, "shop", SHOP), Landscape::new(&ground, "blog", BLOG));
        let replica = shop.replica(0);
        fence(&[&shop, &blog], true);
        serve(TcpListener::bind("0.0.0.0:2222").unwrap());
        // A listener of IPv6 that takes IPv4 as well, as most servers' is.
        serve(TcpListener::bind("[::]:2224").unwrap());
        let ping = UdpSocket::bind("0.0.0.0:2223").unwrap();
        // Its gateway, another landscape's, a virtual address, on which such a socket listens as well.
        for host in [shop.gateway.addr(), blog.gateway.addr(), VIP] {
            for port in [2222, 2224] {
                assert!(call(at(host, port)).is_ok(), "{host} from this machine");
                assert_eq!(call_from(&replica, at(host, port)), Err(ErrorKind::ConnectionRefused), "{host}");
            }
            let refused = replica.enter(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                socket.connect(at(host, 2223)).unwrap();
                socket.send(b"?").unwrap();
                socket.recv(&mut [0; 4]).unwrap_err().kind()
            });
            assert_eq!(refused.unwrap(), ErrorKind::ConnectionRefused, "{host}");
        }
        ping.set_nonblocking(true).unwrap();
        assert_eq!(ping.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_declared_port_that_this_machine_uses_too_is_served_by_redirect() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let replica = shop.replica(0);
        let host = TcpListener::bind("0.0.0.0:5432").unwrap();
        serve(host);
        let taken = listen_tcp(Some(&shop.bridge), at(VIP, 5432), 16).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let listener = listen_tcp(Some(&shop.bridge), at(VIP, 0), 16).unwrap();
        let names = bind_udp(&shop.bridge, at(shop.gateway.addr(), 0)).unwrap();
        let redirects = vec![
            Redirect { transport: Transport::Tcp, from: at(VIP, 5432), to: listener.local_addr().unwrap().port() },
            Redirect {
                transport: Transport::Udp,
                from: at(shop.gateway.addr(), 53),
                to: names.local_addr().unwrap().port(),
            },
        ];
        serve(listener);
        let segment = shop.segment(Kind::Process).redirecting(redirects);
        // An engine that publishes the port on every address of the machine.
        run(
            "nft",
            &["add table ip engine; add chain ip engine pre { type nat hook prerouting priority dstnat; }; \
             add rule ip engine pre fib daddr type local tcp dport { 5432, 5433 } dnat to 10.232.1.2:1"],
        );
        apply(&render("test", &[segment], &[], net(RANGE), true)).unwrap();
        let seen = call_from(&replica, at(VIP, 5432)).unwrap();
        assert!(seen.starts_with("10.232.1.2:"), "{seen}");
        assert_eq!(call_from(&replica, at(VIP, 5433)), Err(ErrorKind::ConnectionRefused));
        ask(&replica, &shop, names);
    });
}

#[test]
fn the_gateway_answers_names() {
    on_a_machine(|| {
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let replica = shop.replica(0);
        fence(&[&shop], false);
        let names = bind_udp(&shop.bridge, at(shop.gateway.addr(), 53)).unwrap();
        ask(&replica, &shop, names);
    });
}

fn ask(replica: &Namespace, shop: &Landscape, names: UdpSocket) {
    names.set_nonblocking(false).unwrap();
    names.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let client = replica.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    client.connect(at(shop.gateway.addr(), 53)).unwrap();
    client.send(b"?").unwrap();
    let mut buffer = [0; 4];
    let (length, peer) = names.recv_from(&mut buffer).unwrap();
    assert_eq!((length, peer.ip()), (1, shop.address(0).into()));
    names.send_to(b"!", peer).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 1);
}

#[test]
fn a_borrowed_address_is_nobodys() {
    on_a_machine(|| {
        let ground = ground();
        let (shop, blog) = (Landscape::new(&ground, "shop", SHOP), Landscape::new(&ground, "blog", BLOG));
        let replica = shop.replica(0);
        fence(&[&shop, &blog], true);
        serve(listen_tcp(Some(&shop.bridge), at(VIP, 3000), 16).unwrap());
        let names = bind_udp(&shop.bridge, at(shop.gateway.addr(), 53)).unwrap();
        assert!(call_from(&replica, at(VIP, 3000)).is_ok());
        replica
            .enter(|| {
                run("ip", &["addr", "add", "10.232.2.2/32", "dev", "eth0"]);
                let socket = UdpSocket::bind("10.232.2.2:0").unwrap();
                socket.send_to(b"?", at(shop.gateway.addr(), 53)).unwrap();
                let honest = UdpSocket::bind("10.232.1.2:0").unwrap();
                honest.send_to(b"!!", at(shop.gateway.addr(), 53)).unwrap();
            })
            .unwrap();
        names.set_nonblocking(false).unwrap();
        let (length, _) = names.recv_from(&mut [0; 4]).unwrap();
        assert_eq!(length, 2, "the first one was dropped");
    });
}

#[test]
fn the_outside_is_reached_by_translation_when_allowed_and_reaches_nobody() {
    on_a_machine(|| {
        let ground = ground();
        let (shop, blog) = (Landscape::new(&ground, "shop", SHOP), Landscape::new(&ground, "blog", BLOG));
        let (replica, other) = (shop.replica(0), blog.replica(0));
        let outside = outside();
        serve_in(&outside, 443);
        serve_in(&other, 3000);
        let internet = at(Ipv4Addr::new(203, 0, 113, 2), 443);
        fence(&[&shop, &blog], true);
        let seen = call_from(&replica, internet).unwrap();
        assert!(seen.starts_with("203.0.113.1:"), "{seen}");
        assert_eq!(call_from(&replica, at(blog.address(0), 3000)), Err(ErrorKind::ConnectionRefused));
        let metadata = at(Ipv4Addr::new(169, 254, 169, 254), 80);
        assert!(call_from(&replica, metadata).is_err());
        assert!(call_from(&outside, at(blog.address(0), 3000)).is_err());
        serve(listen_tcp(Some(&shop.bridge), at(VIP, 3000), 16).unwrap());
        assert_eq!(call_from(&outside, at(VIP, 3000)), Err(ErrorKind::ConnectionRefused));
        fence(&[&shop, &blog], false);
        assert_eq!(call_from(&replica, internet), Err(ErrorKind::ConnectionRefused));
    });
}

#[test]
fn containers_of_one_network_are_kept_apart_by_filters_where_bridges_pass_through_them() {
    on_a_machine(|| {
        let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
        if std::fs::write(switch, "1").is_err() {
            eprintln!("skipped: this kernel filters nothing on bridges");
            return;
        }
        let ground = ground();
        let shop = Landscape::new(&ground, "shop", SHOP);
        let (one, two) = (shop.replica(0), shop.replica(1));
        // As an engine makes them: ports that are not isolated.
        for port in ["lrt1.0", "lrt1.1"] {
            run("ip", &["link", "set", port, "type", "bridge_slave", "isolated", "off"]);
        }
        serve_in(&one, 3000);
        assert!(call_from(&two, at(shop.address(0), 3000)).is_ok());
        let listener = listen_tcp(Some(&shop.bridge), at(VIP, 0), 16).unwrap();
        let to = listener.local_addr().unwrap().port();
        serve(listener);
        let redirects = vec![Redirect { transport: Transport::Tcp, from: at(VIP, 5432), to }];
        let segment = shop.segment(Kind::Docker).redirecting(redirects);
        apply(&render("test", &[segment], &[], net(RANGE), true)).unwrap();
        assert!(call_from(&two, at(shop.address(0), 3000)).is_err());
        assert!(call_from(&two, at(VIP, 5432)).is_ok());
    });
}

#[test]
fn filters_without_segments_and_with_hundreds_are_understood() {
    on_a_machine(|| {
        apply(&render("test", &[], &[], net(RANGE), false)).unwrap();
        apply(&render("test", &[], &[], net(RANGE), true)).unwrap();
        let segment = |number: u8| {
            let gateway = Ipv4Net::new(Ipv4Addr::new(10, 232, number, 1), 24).unwrap();
            let redirect = |port| Redirect { transport: Transport::Tcp, from: at(VIP, port), to: port + 1 };
            Segment::new(&format!("lr{number}"), gateway, Kind::Process)
                .unwrap()
                .redirecting((1..20).map(redirect).collect())
        };
        let segments: Vec<Segment> = (0..200).map(segment).collect();
        apply(&render("test", &segments, &[], net(RANGE), true)).unwrap();
        apply(&filter::removal("test")).unwrap();
        apply(&filter::removal("test")).unwrap();
        assert_eq!(run("nft", &["list", "ruleset"]), "");
    });
}

#[test]
fn this_machines_own_programs_are_brought_to_where_the_router_says() {
    on_a_machine(|| {
        let _ground = ground();
        // As a replica on the machine's network does: whichever of the two is there first.
        serve(TcpListener::bind("0.0.0.0:3000").unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap().port();
        let here = [Redirect { transport: Transport::Tcp, from: at(VIP, 3000), to }];
        apply(&render("test", &[], &here, net(RANGE), true)).unwrap();
        let mut caller = TcpStream::connect(at(VIP, 3000)).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let asked = socket2::SockRef::from(&accepted).original_dst_v4().unwrap();
        assert_eq!(asked.as_socket_ipv4(), Some(at(VIP, 3000)));
        drop(accepted);
        assert_eq!(caller.read(&mut [0; 8]).unwrap(), 0, "it was not the other's connection");
        assert!(call(at(Ipv4Addr::LOCALHOST, 3000)).is_ok(), "nobody else is led astray");
    });
}
