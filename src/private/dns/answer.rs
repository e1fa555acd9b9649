//! A message comes in; what is to be done with it? No IO: what is ours is answered from the [`Zone`], what
//! is no question is refused, the rest is [`Verdict::Ask`].

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_server::net::xfer::Protocol;
use hickory_server::proto::op::{Edns, LowerQuery, Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, PTR, SOA};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_server::proto::serialize::binary::BinEncoder;
use hickory_server::server::Request;
use hickory_server::zone_handler::MessageResponseBuilder;

use super::wire::{self, rcode};
use crate::private::names::{self, Found, Zone};

/// How long, in seconds, our answers hold: a reload is seen by everyone within that time.
const TTL: u32 = 1;

/// The largest response by UDP that we ask for: fits every link without fragments (DNS flag day 2020).
const MAX_UDP: u16 = 1232;

/// What is to be done with a message.
pub enum Verdict {
    /// Send this back.
    Reply(Vec<u8>),
    /// Ask an upstream resolver.
    Ask(Box<Question>),
    /// Not even worth a refusal.
    Drop,
}

/// A question that somebody else has the answer to.
pub struct Question(Request);

impl Question {
    /// The message as it came.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Whether it came by TCP, and so is to be asked by TCP.
    pub fn by_tcp(&self) -> bool {
        self.0.protocol() == Protocol::Tcp
    }

    /// The most bytes that the one who asked can take.
    pub fn limit(&self) -> usize {
        limit(&self.0).into()
    }

    /// Whether its answer is anyone's: options of EDNS (a cookie, the client's network) or a signature make
    /// it one client's own.
    pub fn is_plain(&self) -> bool {
        self.0.additionals.is_empty()
            && self.0.signature.is_none()
            && self.0.edns.as_ref().is_none_or(|edns| edns.options().options.is_empty())
    }

    /// "I could not find out", for a question that nobody answered.
    pub fn failed(&self) -> Vec<u8> {
        respond(&self.0, ResponseCode::ServFail, &[], None)
    }

    /// "I do not do that", for a question that there is nobody to ask for.
    pub fn refused(&self) -> Vec<u8> {
        respond(&self.0, ResponseCode::Refused, &[], None)
    }
}

/// Judges `message`, that came from `peer` by `protocol`.
pub fn judge(message: Vec<u8>, peer: SocketAddr, protocol: Protocol, zone: &Zone) -> Verdict {
    // A response is never answered: two servers would go on for ever.
    if message.len() < wire::HEADER || wire::is_response(&message) {
        return Verdict::Drop;
    }
    if wire::opcode(&message) != 0 {
        return Verdict::Reply(wire::refusal(&message, rcode::NOT_IMPLEMENTED));
    }
    if wire::question(&message).is_none() {
        return Verdict::Reply(wire::refusal(&message, rcode::FORMAT_ERROR));
    }
    let malformed = wire::refusal(&message, rcode::FORMAT_ERROR);
    let Ok(request) = Request::from_bytes(message, peer, protocol) else { return Verdict::Reply(malformed) };
    let [query] = request.queries.queries() else { return Verdict::Reply(malformed) };
    if let Some(code) = objection(&request, query) {
        return Verdict::Reply(respond(&request, code, &[], None));
    }
    match own(&request, query, zone) {
        Some(reply) => Verdict::Reply(reply),
        None => Verdict::Ask(Box::new(Question(request))),
    }
}

/// Why a well-formed question is none that we answer or send on.
fn objection(request: &Request, query: &LowerQuery) -> Option<ResponseCode> {
    if request.version() > 0 {
        return Some(ResponseCode::BADVERS);
    }
    if query.query_class() != DNSClass::IN {
        return Some(ResponseCode::Refused);
    }
    match query.query_type() {
        RecordType::AXFR | RecordType::IXFR => Some(ResponseCode::Refused),
        RecordType::OPT | RecordType::TSIG => Some(ResponseCode::FormErr),
        _ => None,
    }
}

/// The response to a question that is ours to answer.
fn own(request: &Request, query: &LowerQuery, zone: &Zone) -> Option<Vec<u8>> {
    let spelled = query.original().name();
    let name = spelled.to_ascii().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let data = match zone.answer(name) {
        Found::Address(address) => vec![RData::A(A(address))],
        Found::Name(target) => match Name::from_ascii(target + ".") {
            Ok(target) => vec![RData::PTR(PTR(target))],
            Err(_) => Vec::new(),
        },
        Found::Empty if name == names::DOMAIN => vec![RData::SOA(soa_data())],
        Found::Empty => Vec::new(),
        // RFC 6761, section 6.3: never asked of anyone.
        Found::Foreign if spelled.is_localhost() => {
            vec![RData::A(A(Ipv4Addr::LOCALHOST)), RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))]
        }
        Found::Foreign => return None,
        Found::Missing => return Some(respond(request, ResponseCode::NXDomain, &[], authority(name, zone, false))),
    };
    let asked = query.query_type();
    let records: Vec<Record> = data
        .into_iter()
        .filter(|data| asked == data.record_type() || asked == RecordType::ANY)
        .map(|data| Record::from_rdata(spelled.clone(), TTL, data))
        .collect();
    let soa = if records.is_empty() { authority(name, zone, true) } else { None };
    Some(respond(request, ResponseCode::NoError, &records, soa))
}

/// The SOA that goes with "there is none", and tells for how long to believe it (RFC 2308). Its owner is the
/// zone that `name` is in; a single label that is there is a zone of its own, one that is not would be the
/// root's.
fn authority(name: &str, zone: &Zone, exists: bool) -> Option<Record> {
    let owner = match name.rsplit_once('.') {
        None if exists => name.to_owned(),
        None => String::new(),
        Some((_, names::DOMAIN)) => names::DOMAIN.to_owned(),
        Some((_, "arpa")) => {
            let octets = zone.range().network().octets();
            let whole = usize::from(zone.range().prefix_len() / 8);
            octets[..whole].iter().fold("in-addr.arpa".to_owned(), |below, octet| format!("{octet}.{below}"))
        }
        Some((_, last)) => last.to_owned(),
    };
    Some(Record::from_rdata(Name::from_ascii(owner + ".").ok()?, TTL, RData::SOA(soa_data())))
}

/// Numbers of secondary servers mean nothing, there are no transfers.
fn soa_data() -> SOA {
    let name = |text: &str| Name::from_ascii(text).unwrap_or_else(|_| Name::root());
    SOA::new(name("workspaces."), name("hostmaster.workspaces."), 1, 3600, 600, 86_400, TTL)
}

/// Writes the response to `request`.
fn respond(request: &Request, code: ResponseCode, answers: &[Record], soa: Option<Record>) -> Vec<u8> {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = code;
    metadata.authoritative = !answers.is_empty() || soa.is_some();
    metadata.recursion_available = true;
    let edns = request.edns.as_ref().map(|theirs| {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP).set_dnssec_ok(theirs.flags().dnssec_ok);
        edns
    });
    let mut builder = MessageResponseBuilder::from_message_request(request);
    if let Some(edns) = &edns {
        builder.edns(edns);
    }
    let mut bytes = Vec::with_capacity(256);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit(request));
    match builder.build(metadata, answers, [], &soa, []).destructive_emit(&mut encoder) {
        Ok(_) => bytes,
        Err(_) => wire::refusal(request.as_slice(), rcode::SERVER_FAILURE),
    }
}

fn limit(request: &Request) -> u16 {
    if request.protocol() == Protocol::Udp { request.max_payload() } else { u16::MAX }
}
