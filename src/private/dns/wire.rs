//! Finding one's way in a DNS message without taking it apart (RFC 1035, section 4.1). Whatever the bytes
//! are, nothing here panics: what is cut short or crooked is `None`.

/// Every message begins with this much: id, flags, and how many questions, answers, authorities and
/// additionals follow.
pub const HEADER: usize = 12;

/// RFC 1035, section 4.1.1, and RFC 6895.
pub mod rcode {
    pub const NO_ERROR: u8 = 0;
    pub const FORMAT_ERROR: u8 = 1;
    pub const SERVER_FAILURE: u8 = 2;
    pub const NO_SUCH_NAME: u8 = 3;
    pub const NOT_IMPLEMENTED: u8 = 4;
    pub const REFUSED: u8 = 5;
}

/// Record types that mean something to a relay.
pub mod kind {
    pub const SOA: u16 = 6;
    pub const SIG: u16 = 24;
    pub const OPT: u16 = 41;
    pub const TSIG: u16 = 250;
}

const ID: std::ops::Range<usize> = 0..2;
const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;

pub fn is_response(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & RESPONSE != 0)
}

pub fn opcode(message: &[u8]) -> u8 {
    message.get(2).map_or(0, |flags| (flags & OPCODE) >> 3)
}

pub fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & TRUNCATED != 0)
}

pub fn response_code(message: &[u8]) -> u8 {
    message.get(3).map_or(0, |flags| flags & 0x0f)
}

/// How many questions the message says it has.
pub fn questions(message: &[u8]) -> u16 {
    u16_at(message, 4).unwrap_or(0)
}

/// How many answers the message says it has.
pub fn answers(message: &[u8]) -> u16 {
    u16_at(message, 6).unwrap_or(0)
}

/// Gives `message` this id.
pub fn set_id(message: &mut [u8], id: [u8; 2]) {
    if let Some(place) = message.get_mut(ID) {
        place.copy_from_slice(&id);
    }
}

pub fn id(message: &[u8]) -> Option<[u8; 2]> {
    message.get(ID)?.try_into().ok()
}

/// The bytes of the one question: name, type and class. `None` for more or fewer questions, and for a name
/// with a pointer, which in the first name of a message can only point nowhere.
pub fn question(message: &[u8]) -> Option<&[u8]> {
    if questions(message) != 1 {
        return None;
    }
    let mut at = HEADER;
    loop {
        match *message.get(at)? {
            0 => return message.get(HEADER..at + 5),
            length @ 1..64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// Whether `response` answers `query`: its id, and its question in whichever case. A refusal may come
/// without the question (RFC 2136 and old servers that know no EDNS).
pub fn answers_to(response: &[u8], query: &[u8]) -> bool {
    if response.len() < HEADER || !is_response(response) || id(response) != id(query) {
        return false;
    }
    match (question(response), question(query)) {
        (Some(theirs), Some(ours)) => theirs.eq_ignore_ascii_case(ours),
        (None, _) => questions(response) == 0 && response_code(response) != rcode::NO_ERROR,
        _ => false,
    }
}

/// Makes `response`, given to the same question in another spelling or at another time, the one to `query`.
pub fn adopt(response: &mut [u8], query: &[u8]) {
    if let Some(id) = id(query) {
        set_id(response, id);
    }
    if let (Some(theirs), Some(ours)) = (question(response).map(<[u8]>::len), question(query))
        && theirs == ours.len()
    {
        response[HEADER..HEADER + theirs].copy_from_slice(ours);
    }
}

/// A response without records: to `query`, with this code and, if it can be read, its question.
pub fn refusal(query: &[u8], code: u8) -> Vec<u8> {
    let mut response = vec![0; HEADER];
    set_id(&mut response, id(query).unwrap_or_default());
    response[2] = RESPONSE | query.get(2).map_or(0, |flags| flags & (OPCODE | RECURSION_DESIRED));
    response[3] = code;
    if let Some(question) = question(query) {
        response[5] = 1;
        response.extend_from_slice(question);
    }
    response
}

/// `response` itself if it has at most `limit` bytes, else its head and question marked as cut short, so
/// that the one who asked comes again by TCP.
pub fn fit(response: Vec<u8>, limit: usize) -> Vec<u8> {
    if response.len() <= limit {
        return response;
    }
    let mut short = response[..HEADER.min(response.len())].to_vec();
    short[2] |= TRUNCATED;
    short[4..].fill(0);
    if let Some(question) = question(&response) {
        short[5] = 1;
        short.extend_from_slice(question);
    }
    short
}

/// One record of a message.
pub struct Record<'a> {
    pub kind: u16,
    /// Where the four bytes of `ttl` are.
    pub ttl_at: usize,
    pub ttl: u32,
    pub data: &'a [u8],
}

/// All records of a message with one question, or `None` if it cannot be walked to the end.
pub fn records(message: &[u8]) -> Option<Vec<Record<'_>>> {
    let count: usize = [6, 8, 10].iter().map(|at| u16_at(message, *at).map_or(0, usize::from)).sum();
    let mut at = HEADER + question(message)?.len();
    let mut records = Vec::new();
    for _ in 0..count {
        at = name_end(message, at)?;
        let length = usize::from(u16_at(message, at + 8)?);
        records.push(Record {
            kind: u16_at(message, at)?,
            ttl_at: at + 4,
            ttl: u32_at(message, at + 4)?,
            data: message.get(at + 10..at + 10 + length)?,
        });
        at += 10 + length;
    }
    Some(records)
}

/// How long the name that begins at `at` is, to where it ends or its pointer does.
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..64 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

/// The number in network order at `at`.
pub fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query() -> Vec<u8> {
        let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        query.extend_from_slice(b"\x03wWw\x07example\x00\x00\x01\x00\x01");
        query
    }

    /// `www.example A` with one answer that points back to the question.
    fn response() -> Vec<u8> {
        let mut response = query();
        response[2] |= RESPONSE;
        response[7] = 1;
        response.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\x01\x02\x03\x04");
        response
    }

    #[test]
    fn records_are_found_behind_the_question() {
        let response = response();
        let records = records(&response).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].kind, records[0].ttl, records[0].data), (1, 300, &[1u8, 2, 3, 4][..]));
        assert_eq!(u32_at(&response, records[0].ttl_at), Some(300));
    }

    #[test]
    fn a_response_belongs_to_its_id_and_question() {
        assert!(answers_to(&response(), &query()));
        let mut other = response();
        other[0] ^= 1;
        assert!(!answers_to(&other, &query()));
        let mut other = response();
        other[14] = b'v';
        assert!(!answers_to(&other, &query()));
        assert!(!answers_to(&query(), &query()), "a query answers nothing");
        let mut bare = response()[..HEADER].to_vec();
        bare[5] = 0;
        assert!(!answers_to(&bare, &query()), "no question, no answer");
        bare[3] = rcode::FORMAT_ERROR;
        assert!(answers_to(&bare, &query()));
    }

    #[test]
    fn an_adopted_response_has_the_spelling_of_the_question() {
        let mut query = query();
        query[0..2].copy_from_slice(&[1, 2]);
        query[13..16].copy_from_slice(b"WwW");
        let mut response = response();
        adopt(&mut response, &query);
        assert_eq!(id(&response), Some([1, 2]));
        assert_eq!(question(&response), question(&query));
    }

    #[test]
    fn what_does_not_fit_is_cut_to_the_question() {
        let short = fit(response(), 40);
        assert!(is_truncated(&short) && answers_to(&short, &query()));
        assert_eq!(records(&short).map(|records| records.len()), Some(0));
        assert_eq!(fit(response(), 512), response());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0..64usize) {
            let _ = (question(&bytes), records(&bytes).map(|r| r.len()), answers_to(&bytes, &query()));
            let _ = refusal(&bytes, rcode::FORMAT_ERROR);
            if bytes.len() >= HEADER {
                let _ = fit(bytes.clone(), 20);
            }
            adopt(&mut bytes, &query());
            let _ = records(&response()[..cut.min(response().len())]).map(|r| r.len());
        }
    }
}
