//! Every answer that the router makes itself, in one place.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::headers::close_after;
use super::{ErrorCode, page};
use crate::landscape::ServiceKey;

/// The field that carries the code.
pub(super) const ERROR: HeaderName = HeaderName::from_static("x-landscape-error");

/// What a client would rather read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// RFC 9457.
    Problem,
    /// A page for people.
    Html,
    /// A line of text.
    Text,
}

impl Format {
    /// What `Accept` weighs most (RFC 9110, 12.5.1), of equals the first; problem JSON where it names
    /// none of the three.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut best = (Self::Problem, 0);
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        for item in lines.flat_map(|line| line.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let format = match parts.next().unwrap_or_default() {
                media if is_one_of(media, &["text/html", "application/xhtml+xml"]) => Self::Html,
                media if is_one_of(media, &["application/json", "application/problem+json"]) => Self::Problem,
                media if is_one_of(media, &["text/plain", "text/*"]) => Self::Text,
                _ => continue,
            };
            let weight = parts.find_map(weight).unwrap_or(1000);
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }
}

fn is_one_of(media: &str, names: &[&str]) -> bool {
    names.iter().any(|name| media.eq_ignore_ascii_case(name))
}

/// The thousandths of a parameter `q=0.5`; `None` if it is another one.
fn weight(parameter: &str) -> Option<u32> {
    let (name, value) = parameter.split_once('=')?;
    let value = name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))?;
    // A float becomes the nearest number that there is.
    Some((value * 1000.0) as u32)
}

/// An answer of the router.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its code, and with it the status.
    pub code: ErrorCode,
    /// More than the code's own sentence; no internals.
    pub detail: Option<Arc<str>>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The connection ends with it.
    pub close: bool,
}

impl From<ErrorCode> for Answer {
    fn from(code: ErrorCode) -> Self {
        Self { code, detail: None, retry_after: None, close: false }
    }
}

impl Answer {
    /// With more than the code's own sentence.
    pub fn because(code: ErrorCode, detail: impl Into<Arc<str>>) -> Self {
        Self { detail: Some(detail.into()), ..code.into() }
    }

    /// With a time to try again.
    pub fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// As the connection's last answer.
    pub fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// The response. `service` is named in problem JSON where one is known.
    pub fn response(&self, format: Format, service: Option<&ServiceKey>) -> Response<Body> {
        let (kind, text) = match format {
            Format::Problem => ("application/problem+json", self.problem(service)),
            Format::Html => ("text/html; charset=utf-8", page::error(self)),
            Format::Text => ("text/plain; charset=utf-8", format!("{}\n", self.sentence())),
        };
        let mut response = Response::new(Body::full(Bytes::from(text)));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ERROR, HeaderValue::from_static(self.code.name()));
        if format == Format::Html {
            page::protect(headers);
        }
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(after)));
        }
        if self.code.status() == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110, 15.5.6: a 405 names what is allowed.
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        if self.close {
            close_after(headers);
        }
        response
    }

    /// The whole text for people.
    pub fn sentence(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} {detail}", self.code.sentence()),
            None => self.code.sentence().to_owned(),
        }
    }

    fn problem(&self, service: Option<&ServiceKey>) -> String {
        let mut problem = json!({
            "type": format!("urn:landscape-router:{}", self.code.name()),
            "title": self.code.sentence(),
            "status": self.code.status().as_u16(),
            "code": self.code.name(),
        });
        if let Some(detail) = &self.detail {
            problem["detail"] = json!(&**detail);
        }
        if let Some(service) = service {
            problem["landscape"] = json!(&*service.landscape);
            problem["service"] = json!(&*service.service);
        }
        if let Some(after) = self.retry_after {
            problem["retryAfterSeconds"] = json!(seconds(after));
        }
        let mut text = problem.to_string();
        text.push('\n');
        text
    }

    /// The answer as bytes, for a connection on which no request could be read. Ends it.
    pub fn bytes(&self) -> Vec<u8> {
        let (status, body) = (self.code.status(), self.problem(None));
        let retry = self.retry_after.map_or_else(String::new, |after| format!("retry-after: {}\r\n", seconds(after)));
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n{}: {}\r\n\
             {retry}content-length: {}\r\nconnection: close\r\ndate: {}\r\n\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or("Error"),
            ERROR,
            self.code.name(),
            body.len(),
            httpdate::fmt_http_date(std::time::SystemTime::now()),
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

/// Whole seconds, at least one: 0 would invite a storm.
fn seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0 || after.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &'static str) -> Format {
        Format::of(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))]))
    }

    #[test]
    fn the_format_follows_accept() {
        assert_eq!(Format::of(&HeaderMap::new()), Format::Problem);
        assert_eq!(accept("*/*"), Format::Problem);
        assert_eq!(accept("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Format::Html);
        assert_eq!(accept("application/json, text/html"), Format::Problem);
        assert_eq!(accept("text/plain;q=0.5"), Format::Text);
        assert_eq!(accept("image/png"), Format::Problem);
        assert_eq!(accept("text/html;q=0.1, application/json"), Format::Problem);
        assert_eq!(accept("application/json; q=0.5, Text/HTML"), Format::Html);
        assert_eq!(accept("text/html;q=0"), Format::Problem);
        let mut lines = HeaderMap::new();
        lines.append(header::ACCEPT, HeaderValue::from_static("image/png"));
        lines.append(header::ACCEPT, HeaderValue::from_static("text/html"));
        assert_eq!(Format::of(&lines), Format::Html);
    }

    #[test]
    fn every_code_makes_a_whole_answer_in_every_format() {
        for code in ErrorCode::ALL {
            for format in [Format::Problem, Format::Html, Format::Text] {
                let answer = Answer::because(code, "<b>&\"more\"").retry(Duration::from_millis(1500));
                let response = answer.response(format, Some(&ServiceKey::new("4711", "web")));
                assert_eq!(response.status(), code.status());
                assert_eq!(response.headers()[ERROR], code.name());
                assert_eq!(response.headers()["retry-after"], "2");
            }
            let bytes = String::from_utf8(Answer::from(code).bytes()).unwrap();
            let (head, body) = bytes.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"], code.name());
        }
    }

    #[test]
    fn pages_quote_what_others_wrote() {
        let text = page::error(&Answer::because(ErrorCode::StartFailed, "<script>\"'&"));
        assert!(!text.contains("<script>\"") && text.contains("&lt;script&gt;"), "{text}");
    }
}
