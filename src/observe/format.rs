//! An [`AccessRecord`] as a line: a JSON object, or the combined log format with what it lacks.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::{HeaderValue, Version};
use serde::Serialize;

use super::clock::Utc;
use super::{AccessRecord, Rfc3339};

/// Longer values are cut: a line is bounded whatever a client sends.
const LONGEST: usize = 2048;

/// Appends the record as a line to `out`.
pub(super) fn line(record: &AccessRecord, json: bool, out: &mut Vec<u8>) {
    if json {
        object(record, out);
    } else {
        out.extend_from_slice(text(record).as_bytes());
    }
    out.push(b'\n');
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    time: Rfc3339,
    client: IpAddr,
    method: &'a str,
    host: Option<String>,
    path: Option<&'a str>,
    protocol: &'static str,
    status: u16,
    duration_ms: f64,
    bytes_in: u64,
    bytes_out: u64,
    landscape: Option<&'a str>,
    service: Option<&'a str>,
    replica: Option<u32>,
    held_ms: f64,
    retries: u32,
    error: Option<&'static str>,
    user_agent: Option<String>,
    request_id: Option<String>,
}

fn object(r: &AccessRecord, out: &mut Vec<u8>) {
    let whole = out.len();
    let json = Json {
        time: Rfc3339(r.at),
        client: r.client,
        method: cut(r.method.as_str()),
        host: lossy(&r.host),
        path: path(r),
        protocol: protocol(r.version),
        status: r.status,
        duration_ms: millis(r.duration),
        bytes_in: r.bytes_in,
        bytes_out: r.bytes_out,
        landscape: r.service.as_ref().map(|s| &*s.landscape),
        service: r.service.as_ref().map(|s| &*s.service),
        replica: r.replica.map(|id| id.ordinal),
        held_ms: millis(r.held),
        retries: r.retries,
        error: r.error,
        user_agent: lossy(&r.user_agent),
        request_id: lossy(&r.request_id),
    };
    // Writing strings and numbers to memory cannot fail; if it ever did, no half line is left.
    if serde_json::to_writer(&mut *out, &json).is_err() {
        out.truncate(whole);
    }
}

fn text(r: &AccessRecord) -> String {
    let service = r.service.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let replica = r.replica.map_or_else(|| "-".to_owned(), |id| id.ordinal.to_string());
    let mut line = format!("{} - - [{}] \"", r.client, Utc::from(r.at).common());
    quote(cut(r.method.as_str()).as_bytes(), &mut line);
    line.push(' ');
    quote(path(r).unwrap_or("-").as_bytes(), &mut line);
    // Writing to a String cannot fail.
    let _ = write!(line, " {}\" {} {} \"-\" \"", protocol(r.version), r.status, r.bytes_out);
    quote(value(&r.user_agent), &mut line);
    line.push_str("\" \"");
    quote(value(&r.host), &mut line);
    let _ = write!(
        line,
        "\" {service} replica={replica} ms={} held={} in={} retries={} error={} id=\"",
        millis(r.duration),
        millis(r.held),
        r.bytes_in,
        r.retries,
        r.error.unwrap_or("-"),
    );
    quote(value(&r.request_id), &mut line);
    line.push('"');
    line
}

/// The path without its query.
fn path(r: &AccessRecord) -> Option<&str> {
    r.path.as_ref().map(|p| cut(p.path()))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds to the microsecond.
fn millis(d: std::time::Duration) -> f64 {
    d.as_micros() as f64 / 1000.0
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

fn value(header: &Option<HeaderValue>) -> &[u8] {
    let bytes = header.as_ref().map_or(&b"-"[..], HeaderValue::as_bytes);
    bytes.get(..LONGEST).unwrap_or(bytes)
}

fn lossy(header: &Option<HeaderValue>) -> Option<String> {
    header.is_some().then(|| String::from_utf8_lossy(value(header)).into_owned())
}

/// What could end the quoted field or the line, or confuse a terminal, becomes `\xHH`.
fn quote(bytes: &[u8], out: &mut String) {
    for &b in bytes {
        match b {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(out, "\\x{b:02x}");
            }
            _ => out.push(char::from(b)),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::ReplicaId;
    use crate::landscape::ServiceKey;
    use http::Method;
    use std::time::{Duration, SystemTime};

    pub(in crate::observe) fn record() -> AccessRecord {
        AccessRecord {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(951_782_400_250),
            duration: Duration::from_micros(12_345),
            client: "192.0.2.7".parse().unwrap(),
            method: Method::GET,
            version: Version::HTTP_11,
            host: Some(HeaderValue::from_static("4711.localhost:8080")),
            path: Some("/api/users?token=secret".parse().unwrap()),
            status: 200,
            bytes_in: 3,
            bytes_out: 1024,
            service: Some(ServiceKey::new("4711", "web")),
            replica: Some(ReplicaId { ordinal: 1, generation: 9 }),
            held: Duration::from_millis(7),
            retries: 1,
            error: None,
            user_agent: Some(HeaderValue::from_bytes(b"evil\" \xff\t\\agent").unwrap()),
            request_id: None,
        }
    }

    fn written(record: &AccessRecord, json: bool) -> String {
        let mut out = Vec::new();
        line(record, json, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_every_field_and_no_query() {
        let text = written(&record(), true);
        let v: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(v["time"], "2000-02-29T00:00:00.250Z");
        assert_eq!(v["path"], "/api/users");
        assert_eq!(v["durationMs"], 12.345);
        assert_eq!(v["heldMs"], 7.0);
        assert_eq!((&v["landscape"], &v["service"], &v["replica"]), (&"4711".into(), &"web".into(), &1.into()));
        assert_eq!(v["error"], serde_json::Value::Null);
        assert!(!text.contains("secret"));
        assert_eq!(text.matches('\n').count(), 1);
    }

    #[test]
    fn text_is_the_combined_format_and_more() {
        assert_eq!(
            written(&record(), false),
            "192.0.2.7 - - [29/Feb/2000:00:00:00 +0000] \"GET /api/users HTTP/1.1\" 200 1024 \"-\" \
             \"evil\\x22 \\xff\\x09\\x5cagent\" \"4711.localhost:8080\" 4711/web replica=1 ms=12.345 held=7 in=3 \
             retries=1 error=- id=\"-\"\n"
        );
    }

    #[test]
    fn a_request_without_anything_is_a_line_too() {
        let bare = AccessRecord {
            host: None,
            path: None,
            service: None,
            replica: None,
            user_agent: None,
            error: Some("bad-request"),
            status: 400,
            ..record()
        };
        assert!(written(&bare, false).contains("\"GET - HTTP/1.1\" 400 1024 \"-\" \"-\" \"-\" - replica=-"));
        assert!(written(&bare, true).contains("\"error\":\"bad-request\""));
    }

    #[test]
    fn long_values_are_cut() {
        let long = "x".repeat(60_000);
        let r = AccessRecord {
            path: Some(format!("/{long}").parse().unwrap()),
            user_agent: Some(HeaderValue::from_str(&long).unwrap()),
            ..record()
        };
        assert!(written(&r, true).len() < 3 * LONGEST && written(&r, false).len() < 3 * LONGEST);
    }
}
