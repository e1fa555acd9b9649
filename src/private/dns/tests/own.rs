//! What the landscape's own names and what is no question get.

use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::op::{DEFAULT_MAX_PAYLOAD_LEN, Edns, OpCode, ResponseCode};
use hickory_server::proto::rr::DNSClass;
use tokio::io::AsyncReadExt;

use super::*;

const NAMES: [&str; 4] =
    ["ws-server-4711-api.workspaces.", "WS-Server-4711-API.Workspaces.", "ws-server-4711-api.", "aPi."];

#[tokio::test]
async fn a_services_names_have_its_address_with_authority() {
    let subject = Subject::before(&[]);
    for name in NAMES {
        for kind in [RecordType::A, RecordType::ANY] {
            let query = query(name, kind);
            let udp = subject.send(&query.to_vec().unwrap()).await;
            assert_eq!(udp, subject.send_tcp(&query.to_vec().unwrap()).await);
            let reply = Message::from_vec(&udp).unwrap();
            assert_eq!(addresses(&reply), [Ipv4Addr::new(10, 201, 0, 2)], "{name}");
            assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
            assert_eq!(reply.answers[0].ttl, 1);
            // As it was spelled, also in the answer: some clients put chance into the case.
            assert_eq!(reply.queries[0].name().to_ascii(), name);
            assert_eq!(reply.answers[0].name.to_ascii(), name);
        }
    }
}

#[tokio::test]
async fn other_types_of_a_name_are_empty_and_other_names_missing_each_for_a_second() {
    let upstream = Upstream::answering(|message| with_address(message, 60, [1, 1, 1, 1])).await;
    let subject = Subject::before(&[&upstream]);
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::HTTPS, RecordType::Unknown(65_400)] {
        for name in NAMES {
            let reply = subject.ask(name, kind).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name} {kind}");
            assert!(reply.answers.is_empty() && reply.metadata.authoritative);
            assert_short_lived(&reply);
        }
    }
    for name in ["ws-server-4712-api.workspaces.", "ws-server-4711-db.", "api.workspaces.", "9.9.201.10.in-addr.arpa."]
    {
        let reply = subject.ask(name, RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
        assert!(reply.answers.is_empty() && reply.metadata.authoritative);
        assert_short_lived(&reply);
    }
    assert_eq!(upstream.asked(), 0, "a private name was told outside");
}

fn assert_short_lived(reply: &Message) {
    assert_eq!(reply.authorities.len(), 1);
    assert!(reply.authorities[0].name.zone_of(reply.queries[0].name()), "{}", reply.authorities[0].name);
    let RData::SOA(soa) = &reply.authorities[0].data else { panic!("no SOA") };
    assert_eq!((soa.minimum, reply.authorities[0].ttl), (1, 1));
}

#[tokio::test]
async fn addresses_have_names() {
    let reply = Subject::before(&[]).ask("2.0.201.10.in-addr.arpa.", RecordType::PTR).await;
    let RData::PTR(name) = &reply.answers[0].data else { panic!("no PTR") };
    assert_eq!(name.0.to_ascii(), "ws-server-4711-api.workspaces.");
}

#[tokio::test]
async fn the_domain_and_localhost_are_answered_here() {
    let upstream = Upstream::silent().await;
    let subject = Subject::before(&[&upstream]);
    subject.zone.store(Arc::new(zone(&[("localhost", [10, 201, 0, 9])])));
    assert_eq!(addresses(&subject.ask("localhost.", RecordType::A).await), [Ipv4Addr::LOCALHOST]);
    assert_eq!(subject.ask("4711.localhost.", RecordType::AAAA).await.answers.len(), 1);
    assert_eq!(subject.ask("workspaces.", RecordType::SOA).await.answers.len(), 1);
    let reply = subject.ask("workspaces.", RecordType::A).await;
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn a_reload_is_seen_by_the_next_question() {
    let subject = Subject::before(&[]);
    subject.zone.store(Arc::new(zone(&[("api", [10, 201, 0, 7])])));
    assert_eq!(addresses(&subject.ask("api.", RecordType::A).await), [Ipv4Addr::new(10, 201, 0, 7)]);
    let reply = subject.ask("ws-server-4711-web.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn edns_is_answered_with_edns() {
    let subject = Subject::before(&[]);
    let mut query = query("api.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(DEFAULT_MAX_PAYLOAD_LEN).set_dnssec_ok(true);
    query.set_edns(edns.clone());
    let reply = Message::from_vec(&subject.send(&query.to_vec().unwrap()).await).unwrap();
    assert_eq!(addresses(&reply).len(), 1);
    let theirs = reply.edns.unwrap();
    assert!(theirs.version() == 0 && theirs.flags().dnssec_ok && theirs.max_payload() >= 512);
    assert!(subject.ask("api.", RecordType::A).await.edns.is_none());

    edns.set_version(1);
    query.set_edns(edns);
    let reply = Message::from_vec(&subject.send(&query.to_vec().unwrap()).await).unwrap();
    // Read back it is BADSIG, which has the same number.
    assert_eq!((u16::from(reply.metadata.response_code), reply.answers.len()), (16, 0));
}

#[tokio::test]
async fn what_is_no_plain_question_is_refused_and_told_to_nobody() {
    let upstream = Upstream::answering(|message| with_address(message, 60, [1, 1, 1, 1])).await;
    let subject = Subject::before(&[&upstream]);
    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut update = query("api.", RecordType::SOA);
    update.metadata.op_code = OpCode::Update;
    let mut two = query("api.", RecordType::A);
    two.add_query(two.queries[0].clone());
    for (message, code) in [
        (chaos, ResponseCode::Refused),
        (update, ResponseCode::NotImp),
        (two, ResponseCode::FormErr),
        (query("example.com.", RecordType::AXFR), ResponseCode::Refused),
        (query("workspaces.", RecordType::IXFR), ResponseCode::Refused),
    ] {
        for reply in
            [subject.send(&message.to_vec().unwrap()).await, subject.send_tcp(&message.to_vec().unwrap()).await]
        {
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!((reply.metadata.id, reply.metadata.response_code), (message.metadata.id, code));
            assert!(reply.answers.is_empty());
        }
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test]
async fn malformed_packets_do_not_end_it() {
    let subject = Subject::before(&[]);
    let client = subject.client().await;
    let good = query("api.", RecordType::A).to_vec().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..2000 {
        let mut packet = good.clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(2..packet.len());
            packet[at] = random.u8(..);
        }
        packet.truncate(random.usize(0..=packet.len()));
        // Not for ever on the way upstream, of which there is none, and at most a reply.
        client.send(&packet).await.unwrap();
        if round % 50 == 0 {
            assert_eq!(addresses(&subject.ask("api.", RecordType::A).await).len(), 1);
        }
    }
    // A pointer where the question's name should be.
    let pointer = [8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(subject.send(&pointer).await[3], 1);
    assert_eq!(addresses(&subject.ask("api.", RecordType::A).await).len(), 1);
}

#[tokio::test]
async fn a_response_is_not_answered() {
    let subject = Subject::before(&[]);
    let client = subject.client().await;
    client.send(&query("api.", RecordType::A).into_response().to_vec().unwrap()).await.unwrap();
    let question = query("web.", RecordType::A);
    client.send(&question.to_vec().unwrap()).await.unwrap();
    assert_eq!(Message::from_vec(&receive(&client).await).unwrap().metadata.id, question.metadata.id);
}

#[tokio::test]
async fn one_connection_serves_many_questions_and_connections_are_bounded() {
    let subject = Subject::before(&[]);
    let mut connections = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(subject.address).await.unwrap();
        for name in ["api.", "web."] {
            write_message(&mut stream, &query(name, RecordType::A).to_vec().unwrap()).await.unwrap();
        }
        for _ in 0..2 {
            let reply = timeout(PATIENCE, read_message(&mut stream)).await.unwrap().unwrap();
            assert_eq!(addresses(&Message::from_vec(&reply).unwrap()).len(), 1);
        }
        connections.push(stream);
    }
    let mut one_more = TcpStream::connect(subject.address).await.unwrap();
    let end = timeout(PATIENCE, one_more.read_u8()).await.unwrap();
    assert!(end.is_err(), "it was served");
    assert_eq!(addresses(&subject.ask("api.", RecordType::A).await).len(), 1);
    drop(connections);
    // As soon as the server has noticed, there is room again.
    timeout(PATIENCE, async {
        loop {
            let mut stream = TcpStream::connect(subject.address).await.unwrap();
            let asked = write_message(&mut stream, &query("api.", RecordType::A).to_vec().unwrap()).await;
            if asked.is_ok() && read_message(&mut stream).await.is_ok() {
                return;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn both_sockets_close_when_it_is_dropped_or_stopped() {
    let Subject { server, address, .. } = Subject::before(&[]);
    server.stop().await;
    std::net::UdpSocket::bind(address).unwrap();
    std::net::TcpListener::bind(address).unwrap();

    let Subject { server, address, .. } = Subject::before(&[]);
    drop(server);
    timeout(PATIENCE, async {
        while std::net::UdpSocket::bind(address).is_err() || std::net::TcpListener::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_usual_resolver_finds_the_services() {
    let upstream = Upstream::answering(|message| with_address(message, 60, [192, 0, 2, 1])).await;
    let subject = Subject::before(&[&upstream]);
    let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
    (udp.port, tcp.port) = (subject.address.port(), subject.address.port());
    let server = NameServerConfig::new(subject.address.ip(), true, vec![udp, tcp]);
    let resolver = Resolver::builder_with_config(
        ResolverConfig::from_parts(None, vec![], vec![server]),
        TokioRuntimeProvider::default(),
    )
    .build()
    .unwrap();
    for name in ["ws-server-4711-web.workspaces.", "ws-server-4711-web.", "web."] {
        let found: Vec<_> = resolver.lookup_ip(name).await.unwrap().iter().collect();
        assert_eq!(found, ["10.201.0.1".parse::<std::net::IpAddr>().unwrap()], "{name}");
    }
    let found: Vec<_> = resolver.lookup_ip("www.example.com.").await.unwrap().iter().collect();
    assert_eq!(found, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(resolver.lookup_ip("ws-server-4712-web.workspaces.").await.is_err());
}
