//! The cold path: a request waits for a replica.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};

use super::answer::Answer;
use super::body::Body;
use super::usage::Usage;
use super::{ErrorCode, page};
use crate::config::settings::HalfClosed;
use crate::lifecycle::{Demand, Held, Refusal, Service};
use crate::listen::{Client, Phase};

/// Until the loading page without script asks again.
const PAGE_AGAIN: Duration = Duration::from_secs(2);

/// Why a request was not given a replica.
pub(super) enum NotHeld {
    /// The router answers.
    Answer(Answer),
    /// A page, or what a traffic rule says, and the code that it stands for.
    Page(Box<http::Response<Body>>, ErrorCode),
}

/// While it lives, a half-close of the client means that it left. The connection's own task watches.
struct Watched(Rc<Client>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.leaves_by_half_close(false);
    }
}

/// Waits in the service's gate. Dropping the future, which the connection's task does when the client
/// leaves, frees the place.
pub(super) async fn hold(
    service: &Arc<Service>,
    usage: &mut Usage,
    half_closed: HalfClosed,
    demand: Demand,
) -> Result<Held, NotHeld> {
    let client = usage.client().clone();
    client.enter(Phase::Busy);
    client.leaves_by_half_close(half_closed == HalfClosed::Leave);
    let _watched = Watched(client);
    let mut held = pin!(service.hold(demand));
    // What is refused or served at once was not held.
    let result = match poll_fn(|cx| Poll::Ready(held.as_mut().poll(cx))).await {
        Poll::Ready(result) => result,
        Poll::Pending => {
            usage.hold_begins();
            let result = held.await;
            usage.hold_ends();
            result
        }
    };
    result.map_err(|refusal| match refusal {
        Refusal::Overflow { retry_after } => NotHeld::Answer(Answer::from(ErrorCode::HoldFull).retry(retry_after)),
        Refusal::Deadline { retry_after } => NotHeld::Answer(Answer::from(ErrorCode::HoldTimeout).retry(retry_after)),
        Refusal::Failed { public, retry_after } => {
            NotHeld::Answer(Answer::because(ErrorCode::StartFailed, public).retry(retry_after))
        }
        Refusal::Page => NotHeld::Page(Box::new(page::loading(service, PAGE_AGAIN)), ErrorCode::Starting),
        Refusal::NotRunnable => NotHeld::Answer(ErrorCode::NotRunnable.into()),
        Refusal::Removed => NotHeld::Answer(ErrorCode::Removed.into()),
        Refusal::ShuttingDown => {
            NotHeld::Answer(Answer::from(ErrorCode::ShuttingDown).retry(Duration::from_secs(1)).closing())
        }
    })
}

/// What is buffered of a request while it is held: its head. Its body waits in the client.
pub(super) fn buffered<B>(request: &Request<B>) -> usize {
    let fields: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let target = request.uri().path_and_query().map_or(1, |p| p.as_str().len());
    request.method().as_str().len() + target + fields + 12
}

/// Whether a browser shows what it gets to a person: the loading page is for these alone.
pub(super) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
    let html = |v: &HeaderValue| {
        v.as_bytes().split(|b| *b == b',').any(|item| {
            let media = item.split(|b| *b == b';').next().unwrap_or_default();
            media.trim_ascii().eq_ignore_ascii_case(b"text/html")
        })
    };
    *method == Method::GET
        && !headers.contains_key(header::UPGRADE)
        && headers.get(MODE).is_none_or(|mode| mode == "navigate")
        && headers.get_all(header::ACCEPT).iter().any(html)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn navigations_are_told_from_everything_else() {
        let ask = |method: Method, fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            is_navigation(&method, &headers)
        };
        let browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        assert!(ask(Method::GET, &[browser]));
        assert!(ask(Method::GET, &[browser, ("sec-fetch-mode", "navigate")]));
        assert!(!ask(Method::GET, &[browser, ("sec-fetch-mode", "cors")]));
        assert!(!ask(Method::GET, &[browser, ("upgrade", "websocket")]));
        assert!(!ask(Method::HEAD, &[browser]));
        assert!(!ask(Method::POST, &[browser]));
        assert!(!ask(Method::GET, &[("accept", "*/*")]));
        assert!(!ask(Method::GET, &[("accept", "application/json")]));
    }
}
