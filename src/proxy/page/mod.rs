//! Pages for people: the loading page and error pages. Nothing in them comes from elsewhere, and
//! their policy forbids it.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::ErrorCode;
use super::answer::{Answer, ERROR};
use super::body::Body;
use crate::lifecycle::Service;
use crate::lifecycle::status::StateName;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("loading.js");

/// What the loading page's script asks for: such a request is answered by the router, is not
/// forwarded, and is no use.
pub(super) const STATUS: &str = "application/vnd.landscape-router.status+json";

/// Only our own style and script, and questions to the page's own host.
static POLICY: LazyLock<Option<HeaderValue>> = LazyLock::new(|| {
    let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    // Base64 and the words above are always a valid field value.
    HeaderValue::from_str(&policy).ok()
});

/// Adds the policy of our pages to an answer.
pub(super) fn protect(headers: &mut HeaderMap) {
    if let Some(policy) = &*POLICY {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

fn page(title: &str, head: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{head}</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Text as HTML shows it.
fn quoted(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The page of an answer that is an error.
pub(super) fn error(answer: &Answer) -> String {
    let status = answer.code.status();
    let again = match answer.retry_after {
        Some(after) => format!("<p>It can be tried again in {} s.</p>\n", after.as_secs().max(1)),
        None => String::new(),
    };
    let detail = answer.detail.as_deref().map_or_else(String::new, |d| format!("<p>{}</p>\n", quoted(d)));
    let body = format!(
        "<div class=\"status\" aria-hidden=\"true\">{}</div>\n<h1>{}</h1>\n{detail}{again}<small><code>{}</code></small>\n",
        status.as_u16(),
        answer.code.sentence(),
        answer.code.name(),
    );
    page(status.canonical_reason().unwrap_or("Error"), "", &body)
}

/// How far a service is, for the loading page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    ready: bool,
    failed: bool,
    asleep: bool,
    text: String,
    fraction: Option<f32>,
    retry_after_seconds: Option<u64>,
}

fn progress(service: &Service) -> Progress {
    let status = service.status();
    let slow = status.progress.as_ref();
    let failed = status.state == StateName::Failed;
    let failure = status.last_failure.as_ref().filter(|_| failed);
    let text = match (status.state, slow, failure) {
        (_, _, Some(last)) => last.failure.public.clone(),
        (_, Some(slow), _) => slow.text.clone(),
        (StateName::Preparing, ..) => "Preparing the workspace …".into(),
        (StateName::Starting, ..) => "Starting the service …".into(),
        (StateName::Stopping | StateName::Draining, ..) => "Waiting for the last run to end …".into(),
        (StateName::Ready, ..) => "Ready.".into(),
        (StateName::Off, ..) => "Waking the service …".into(),
        (StateName::Failed, ..) => "The start failed.".into(),
    };
    Progress {
        ready: service.is_ready(),
        failed,
        asleep: status.state == StateName::Off,
        text,
        fraction: slow.and_then(|p| p.fraction),
        retry_after_seconds: failure.and_then(|f| f.retry_in_ms).map(|ms| ms.div_ceil(1000)),
    }
}

/// What the loading page's script gets.
pub(super) fn status(service: &Service) -> Response<Body> {
    // A struct of plain fields always has a JSON form.
    let text = serde_json::to_string(&progress(service)).unwrap_or_default();
    let mut response = Response::new(Body::full(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(STATUS));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The loading page of a service.
pub(super) fn loading(service: &Service, retry_after: Duration) -> Response<Body> {
    let now = progress(service);
    let seconds = retry_after.as_secs().max(1);
    let head = format!("<noscript><meta http-equiv=\"refresh\" content=\"{seconds}\"></noscript>\n");
    let bar = match now.fraction {
        Some(fraction) => {
            format!("<progress id=\"bar\" aria-label=\"Progress\" max=\"1\" value=\"{fraction:.3}\"></progress>\n")
        }
        None => "<progress id=\"bar\" aria-label=\"Progress\" max=\"1\" hidden></progress>\n".into(),
    };
    let body = format!(
        "<div class=\"dots\" id=\"dots\" aria-hidden=\"true\"><i></i><i></i><i></i></div>\n\
         <h1 id=\"title\">Workspace server is starting</h1>\n\
         <p id=\"say\" role=\"status\" aria-live=\"polite\">{}</p>\n{bar}\
         <small><code>{}</code> · <span id=\"took\">0 s</span></small>\n<script>{SCRIPT}</script>\n",
        quoted(&now.text),
        quoted(&service.key().service),
    );
    let text = page("Workspace server is starting", &head, &body);
    let mut response = Response::new(Body::full(Bytes::from(text)));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    headers.insert(ERROR, HeaderValue::from_static(ErrorCode::Starting.name()));
    protect(headers);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::landscape::ServiceKey;

    #[test]
    fn the_loading_page_needs_nothing_from_elsewhere() {
        let service = Service::new(ServiceKey::new("4711", "web"), Default::default());
        let response = loading(&service, Duration::from_secs(2));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "2");
        let Some(text) = response.into_body().into_text() else { panic!("a full body") };
        assert!(text.contains("Workspace server is starting"));
        assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("src="), "{text}");
    }

    #[test]
    fn the_policy_names_the_style_and_the_script() {
        let mut headers = HeaderMap::new();
        protect(&mut headers);
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert_eq!(policy.matches("sha256-").count(), 2, "{policy}");
    }
}
