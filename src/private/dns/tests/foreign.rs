//! What is asked of resolvers upstream.

use std::time::Instant;

use hickory_server::proto::op::{Edns, ResponseCode};
use hickory_server::proto::rr::rdata::opt::EdnsOption;
use hickory_server::proto::rr::rdata::{CNAME, MX, SOA, TXT};

use super::*;

/// The same message but for its id.
fn same(one: &[u8], other: &[u8]) -> bool {
    one[2..] == other[2..]
}

#[tokio::test]
async fn responses_arrive_byte_by_byte_whatever_their_records() {
    // An HTTPS record, one of a type that has no name, and an option in EDNS.
    let upstream = Upstream::start(|query, _| {
        let mut packet = response(query, |message| {
            let name = message.queries[0].name().clone();
            let exchange = Name::from_ascii("mail.example.com.").unwrap();
            message.add_answer(Record::from_rdata(name.clone(), 30, RData::MX(MX::new(10, exchange))));
            message.add_answer(Record::from_rdata(name, 30, RData::TXT(TXT::new(vec!["a b".into()]))));
        });
        packet[7] += 2;
        packet.extend_from_slice(b"\xc0\x0c\x00\x41\x00\x01\x00\x00\x00\x1e\x00\x0a\x00\x01\x00\x00\x01\x00\x03\x02h2");
        packet.extend_from_slice(b"\xc0\x0c\xff\x78\x00\x01\x00\x00\x00\x1e\x00\x03\x00\xff\x01");
        vec![packet]
    })
    .await;
    let subject = Subject::before(&[&upstream]);
    for kind in [RecordType::MX, RecordType::HTTPS, RecordType::Unknown(65_400), RecordType::PTR, RecordType::ANY] {
        let query = query("eXample.com.", kind).to_vec().unwrap();
        let reply = subject.send(&query).await;
        assert_eq!(reply[..2], query[..2]);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(upstream.address).await.unwrap();
        socket.send(&query).await.unwrap();
        assert!(same(&reply, &receive(&socket).await), "{kind}");
        assert!(same(&reply, &subject.send_tcp(&query).await), "{kind} by TCP");
    }
}

#[tokio::test]
async fn there_is_none_and_chains_of_names_pass() {
    let upstream = Upstream::answering(|message| {
        let name = |text| Name::from_ascii(text).unwrap();
        let (one, two) = (name("one.example.com."), name("two.example.com."));
        message.add_answer(Record::from_rdata(one, 30, RData::CNAME(CNAME(two))));
        message.metadata.response_code = ResponseCode::NXDomain;
        let soa = SOA::new(name("ns.example.com."), name("admin.example.com."), 7, 1, 1, 1, 17);
        message.add_authority(Record::from_rdata(name("example.com."), 19, RData::SOA(soa)));
    })
    .await;
    let reply = Subject::before(&[&upstream]).ask("one.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert!(matches!(&reply.answers[0].data, RData::CNAME(name) if name.0.to_ascii() == "two.example.com."));
    assert!(matches!(&reply.authorities[0].data, RData::SOA(soa) if soa.minimum == 17));
}

#[tokio::test]
async fn what_is_cut_short_by_udp_is_whole_by_tcp() {
    let upstream = Upstream::start(|query, by_tcp| {
        vec![response(query, |message| match by_tcp {
            true => (0..60).for_each(|n| with_address(message, 60, [192, 0, 2, n])),
            false => message.metadata.truncation = true,
        })]
    })
    .await;
    let subject = Subject::before(&[&upstream]);
    let query = query("many.example.com.", RecordType::A).to_vec().unwrap();
    assert!(Message::from_vec(&subject.send(&query).await).unwrap().metadata.truncation);
    let whole = Message::from_vec(&subject.send_tcp(&query).await).unwrap();
    assert_eq!((whole.metadata.truncation, whole.answers.len()), (false, 60));
    // Known now, and still too much for UDP.
    let short = subject.send(&query).await;
    assert!(short.len() <= 512 && Message::from_vec(&short).unwrap().metadata.truncation);
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn a_resolver_without_tcp_is_asked_by_udp() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut message = [0; 512];
        let (length, peer) = udp.recv_from(&mut message).await.unwrap();
        let reply = response(&message[..length], |message| with_address(message, 60, [192, 0, 2, 1]));
        udp.send_to(&reply, peer).await.unwrap();
    });
    let subject = Subject::start(Forwarder::new([address]));
    let reply = subject.send_tcp(&query("www.example.com.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(addresses(&Message::from_vec(&reply).unwrap()).len(), 1);
}

#[tokio::test]
async fn what_was_heard_is_not_asked_again_while_it_holds() {
    let upstream = Upstream::answering(|message| with_address(message, 60, [192, 0, 2, 1])).await;
    let (subject, neighbour) = (Subject::before(&[&upstream]), Subject::before(&[&upstream]));
    for name in ["www.example.com.", "wWW.Example.com."] {
        let reply = subject.ask(name, RecordType::A).await;
        assert_eq!((addresses(&reply).len(), reply.queries[0].name().to_ascii().as_str()), (1, name));
    }
    assert_eq!(upstream.asked(), 1);
    // Another landscape does not learn what this one asked for.
    neighbour.ask("www.example.com.", RecordType::A).await;
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn what_is_one_clients_own_or_holds_for_no_time_is_asked_again() {
    let upstream = Upstream::answering(|message| with_address(message, 60, [192, 0, 2, 1])).await;
    let subject = Subject::before(&[&upstream]);
    let mut query = query("www.example.com.", RecordType::A);
    let mut edns = Edns::new();
    edns.options_mut().insert(EdnsOption::Unknown(10, b"a cookie".to_vec()));
    query.set_edns(edns);
    subject.send(&query.to_vec().unwrap()).await;
    subject.send(&query.to_vec().unwrap()).await;
    assert_eq!(upstream.asked(), 2);

    let upstream = Upstream::answering(|message| with_address(message, 0, [192, 0, 2, 1])).await;
    let subject = Subject::before(&[&upstream]);
    subject.ask("www.example.com.", RecordType::A).await;
    subject.ask("www.example.com.", RecordType::A).await;
    assert_eq!(upstream.asked(), 2);
}

#[tokio::test]
async fn a_dead_a_failing_and_a_silent_resolver_are_passed_over() {
    let dead = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failing = Upstream::answering(|message| message.metadata.response_code = ResponseCode::ServFail).await;
    let silent = Upstream::silent().await;
    let good = Upstream::answering(|message| with_address(message, 60, [192, 0, 2, 1])).await;
    let subject = Subject::start(Forwarder::new([dead, failing.address, silent.address, good.address]));
    let reply = subject.ask("www.example.com.", RecordType::A).await;
    assert_eq!(addresses(&reply).len(), 1);
    assert_eq!((failing.asked(), silent.asked(), good.asked()), (1, 1, 1));
    // The failure is told where there is nothing better.
    let reply = Subject::before(&[&failing]).ask("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn forged_answers_are_ignored() {
    let upstream = Upstream::start(|query, _| {
        let mut wrong_id = response(query, |message| with_address(message, 60, [6, 6, 6, 6]));
        wrong_id[0] ^= 1;
        let wrong_name = response(query, |message| {
            let other = Query::query(Name::from_ascii("other.example.com.").unwrap(), RecordType::A);
            message.queries = vec![other];
            with_address(message, 60, [6, 6, 6, 6]);
        });
        vec![wrong_id, wrong_name, vec![1], response(query, |message| with_address(message, 60, [192, 0, 2, 1]))]
    })
    .await;
    let reply = Subject::before(&[&upstream]).ask("www.example.com.", RecordType::A).await;
    assert_eq!(addresses(&reply), [Ipv4Addr::new(192, 0, 2, 1)]);
}

#[tokio::test]
async fn without_a_resolver_foreign_names_are_refused_at_once() {
    let subject = Subject::before(&[]);
    let begun = Instant::now();
    let reply = subject.ask("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn silent_resolvers_cost_two_seconds_and_bounded_questions_and_our_names_nothing() {
    let upstream = Upstream::silent().await;
    let subject = Subject::before(&[&upstream]);
    let begun = Instant::now();
    let client = subject.client().await;
    for n in 0..300 {
        client.send(&query(&format!("n{n}.example.com."), RecordType::A).to_vec().unwrap()).await.unwrap();
        if n % 20 == 0 {
            assert_eq!(addresses(&subject.ask("api.", RecordType::A).await).len(), 1);
        }
    }
    let mut early = 0;
    for _ in 0..300 {
        let reply = Message::from_vec(&receive(&client).await).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        early += usize::from(begun.elapsed() < Duration::from_millis(1900));
    }
    assert_eq!(early, 300 - 256);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // And then there is room again.
    let begun = Instant::now();
    subject.ask("www.example.com.", RecordType::A).await;
    assert!(begun.elapsed() > Duration::from_secs(1));
}
