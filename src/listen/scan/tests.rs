//! Heads, bodies and versions, whole and in pieces.

use super::Scan;
use proptest::prelude::*;

fn fed(parts: &[&str]) -> Scan {
    let mut scan = Scan::new();
    for part in parts {
        scan.feed(&mut part.as_bytes().to_owned());
    }
    scan
}

/// Which of the heads have both framings.
fn both(parts: &[&str]) -> Vec<bool> {
    let mut scan = fed(parts);
    (0..scan.ended).map(|_| scan.take()).collect()
}

const BOTH: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTRANSFER-encoding: chunked\r\n\r\n";

#[test]
fn both_framings_are_seen_however_the_bytes_are_split() {
    assert_eq!(both(&[BOTH]), [true]);
    for at in 0..BOTH.len() {
        assert_eq!(both(&[&BOTH[..at], &BOTH[at..]]), [true], "{at}");
    }
    assert_eq!(both(&["POST / HTTP/1.1\nTransfer-Encoding:x\nContent-Length:1\n\n"]), [true]);
}

#[test]
fn pipelined_heads_are_found_behind_every_kind_of_body() {
    for before in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\nHost: a\n\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:  4 \r\n\r\n\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\n\r\n\r\n\r\n0A \r\n0123456789\r\n000\r\nA: b\r\n\r\n",
    ] {
        let all = format!("{before}{BOTH}");
        for at in 0..all.len() {
            assert_eq!(both(&[&all[..at], &all[at..]]), [false, true], "{at} of {all:?}");
        }
        let bytes: Vec<String> = all.chars().map(String::from).collect();
        assert_eq!(both(&bytes.iter().map(String::as_str).collect::<Vec<_>>()), [false, true], "{all:?}");
    }
}

proptest! {
    /// What is found does not depend on how the bytes were read.
    #[test]
    fn anything_may_be_split_anywhere(
        parts in prop::collection::vec(prop::sample::select(PIECES), 0..60),
        cuts in prop::collection::vec(1..20usize, 1..40),
    ) {
        let all = parts.concat();
        let mut split = Scan::new();
        let (mut bytes, mut from) = (all.clone().into_bytes(), 0);
        for cut in cuts.iter().cycle() {
            if from == bytes.len() {
                break;
            }
            let to = (from + cut).min(bytes.len());
            split.feed(&mut bytes[from..to]);
            from = to;
        }
        let whole = fed(&[&all]);
        prop_assert_eq!((whole.ended, whole.both, whole.amid()), (split.ended, split.both, split.amid()));
    }
}

const PIECES: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a HTTP/1.2",
    "HTTP/2.0",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "Host: a\r\n",
    "Content-Length: 3\r\n",
    "content-length:",
    "12",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\nA: b\r\n\r\n",
    "a;x=y",
    "abc",
    "ffffffffffffffff",
    "x",
];

#[test]
fn bodies_and_other_names_do_not_count() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(both(&[head, "10\r\nContent-Length: 4\r\n"]), [false]);
    assert_eq!(both(&[&format!("\r\n{head}content-length: 4\r\n")]), [false]);
    assert_eq!(both(&["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 4\r\n\r\n"]), [false]);
    assert_eq!(both(&["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Lengthy: 4\r\n\r\n"]), [false]);
}

#[test]
fn framing_that_is_refused_is_not_followed() {
    for head in ["Content-Length: 5x", "Content-Length: +5", "Content-Length:", "Content-Length: 5, 5"] {
        let scan = fed(&[&format!("POST / HTTP/1.1\r\n{head}\r\n\r\nGET / HTTP/1.1\r\n\r\n")]);
        assert_eq!((scan.ended, scan.ahead(), scan.amid()), (1, false, false), "{head}");
    }
    let scan = fed(&["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"]);
    assert!(!scan.amid());
}

#[test]
fn what_came_ahead_is_known() {
    let mut scan = fed(&["POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"]);
    assert!(scan.ahead() && scan.amid());
    scan.take();
    assert!(!scan.ahead() && scan.amid());
    scan.feed(&mut [b'c']);
    assert!(!scan.ahead() && !scan.amid());
    scan.feed(&mut [b'G']);
    assert!(scan.ahead() && scan.amid());
}

#[test]
fn a_long_request_line_is_told_from_long_fields() {
    let seen = |parts: &[&str]| fed(parts).long_line(50);
    let target = "x".repeat(50);
    assert_eq!(seen(&["\r\nGET ", "/", &target]), Some(true));
    assert_eq!(seen(&[&format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n")]), Some(true));
    assert_eq!(seen(&[&target, &target]), Some(false));
    assert_eq!(seen(&["GET / HTTP/1.1\r\nHost: ", &target]), None);
}

#[test]
fn a_higher_minor_version_becomes_the_highest_that_is_known() {
    let seen = |text: &str, at: usize| {
        let mut scan = Scan::new();
        let mut bytes = text.as_bytes().to_owned();
        let (one, two) = bytes.split_at_mut(at);
        scan.feed(one);
        scan.feed(two);
        assert!(!scan.unknown_version(), "{text:?}");
        String::from_utf8(bytes).unwrap()
    };
    for (sent, gets) in [
        ("GET / HTTP/1.2\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n\r\n"),
        ("GET / HTTP/1.9\n\n", "GET / HTTP/1.1\n\n"),
        ("GET / HTTP/1.0\r\nA: b HTTP/1.2\r\n\r\n", "GET / HTTP/1.0\r\nA: b HTTP/1.2\r\n\r\n"),
        ("GET /HTTP/1.23 HTTP/1.1\r\n\r\n", "GET /HTTP/1.23 HTTP/1.1\r\n\r\n"),
        ("GET /?a=HTTP/1.2 HTTP/1.1\r\n\r\n", "GET /?a=HTTP/1.2 HTTP/1.1\r\n\r\n"),
    ] {
        for at in 0..sent.len() {
            assert_eq!(seen(sent, at), gets, "{at}");
        }
    }
}

#[test]
fn another_major_version_is_told_of_the_head_that_has_it() {
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/0.9"] {
        let mut scan = fed(&[&format!("GET / HTTP/1.1\r\n\r\nGET / {version}\r\n\r\n")]);
        assert!(!scan.unknown_version());
        scan.take();
        assert!(scan.unknown_version(), "{version}");
    }
    assert!(fed(&["GET / HTTP/2.0"]).unknown_version());
    for other in ["GET / HTTP/1.1", "GET / HTTP/x.0", "GET / http/2.0", "GET /HTTP/2.0", "GET / HTTP/2.0 HTTP/1.1"] {
        assert!(!fed(&[other, "\r\n"]).unknown_version(), "{other}");
    }
}
