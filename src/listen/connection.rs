//! The task of one client connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::Interest;

use super::client::{Client, ClientIo, Phase};
use super::refuse;
use super::thread::Thread;
use crate::proxy::{self, Answer, ErrorCode};

/// How serving ended.
enum End {
    /// hyper is done: the client left, or the last answer is written.
    Done(hyper::Result<()>),
    /// The connection is broken, or its client has left.
    Left,
    /// A deadline has passed.
    Expired,
    /// An idle connection that is no longer wanted.
    Closed,
}

/// Serves a connection to its end.
pub(super) async fn serve(thread: Rc<Thread>, client: Rc<Client>) {
    if client.entry().is_some() {
        // Boxed: an idle public connection is not to be larger for it.
        match Box::pin(proxy::sort(thread.local(), &client)).await {
            proxy::Sorted::Http => {}
            proxy::Sorted::Raw(port, early) => {
                return Box::pin(proxy::relay(thread.local().clone(), client, port, early)).await;
            }
            proxy::Sorted::Refused => return proxy::wire::reset(client.stream()),
        }
    }
    let local = thread.local().clone();
    let most = local.loaded().snapshot.rules.limits.header;
    let early = {
        let service = {
            let client = client.clone();
            // Boxed for each request: hyper keeps room for the future in every connection, and most of
            // them are idle. The allocator hands the same few, warm, blocks out again and again.
            service_fn(move |request| Box::pin(proxy::serve(local.clone(), client.clone(), request)))
        };
        let loaded = thread.local().loaded();
        let mut http = loaded.http.serve_connection(TokioIo::new(ClientIo(client.clone())), service);
        drop(loaded);
        let watched = client.clone();
        // The socket's news wake this task: a half-close or a break while hyper does not read. What the
        // news are is looked up at every turn, which costs a load.
        let mut half = pin!(watched.stream().ready(Interest::PRIORITY | Interest::ERROR));
        let mut broken = pin!(watched.stream().ready(Interest::ERROR));
        let (mut half_watched, mut broken_watched) = (false, false);
        let end = poll_fn(|cx| {
            client.remember(cx.waker());
            if client.news() {
                if client.half_closed() || client.is_broken() {
                    return Poll::Ready(End::Left);
                }
                client.set_half_closed();
            }
            if client.has_left() {
                return Poll::Ready(End::Left);
            }
            if client.may_close() {
                return Poll::Ready(End::Closed);
            }
            if let Poll::Ready(done) = Pin::new(&mut http).poll(cx) {
                return Poll::Ready(End::Done(done));
            }
            if client.expired() && matches!(client.phase(), Phase::Idle | Phase::Header | Phase::Streaming) {
                return Poll::Ready(End::Expired);
            }
            // After hyper's turn, so that what a fresh connection brings is served before it is watched.
            if client.half_closed() {
                if !std::mem::replace(&mut broken_watched, true) && broken.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(End::Left);
                }
            } else if !std::mem::replace(&mut half_watched, true) && half.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
        match end {
            End::Done(Ok(())) => http.into_parts().read_buf,
            End::Done(Err(error)) => return last_words(&client, most, Some(&error), false).await,
            End::Expired => {
                let late = client.phase() == Phase::Header && !client.untouched();
                drop(http);
                return last_words(&client, most, None, late).await;
            }
            End::Closed => {
                drop(http);
                return refuse::part(client.stream()).await;
            }
            End::Left => return,
        }
    };
    match client.take_tunnel() {
        // Broken or over, there is nothing left to say.
        Some(tunnel) => drop(client.until_broken(tunnel.run(client.clone(), early)).await),
        None => last_words(&client, most, None, false).await,
    }
}

/// What the router has to say on a connection whose engine is done, and its end. `most`: the engine's
/// bound of a head.
async fn last_words(client: &Client, most: usize, error: Option<&hyper::Error>, late: bool) {
    let code = match (client.engine_answer(), error) {
        (Some(431), _) => Some(client.too_long(most)),
        (Some(414), _) => Some(ErrorCode::UriTooLong),
        (Some(_), _) if client.unknown_version() => Some(ErrorCode::VersionNotSupported),
        (Some(_), _) => Some(ErrorCode::BadRequest),
        (None, Some(error)) if error.is_parse_version_h2() => Some(ErrorCode::VersionNotSupported),
        _ => late.then_some(ErrorCode::RequestTimeout),
    };
    if let Some(code) = code {
        tracing::debug!(peer = %client.peer(), "a connection ends with {}", code.name());
        client.refused(code);
        if refuse::say(client.stream(), &Answer::from(code).bytes()).is_err() {
            return;
        }
    }
    if code.is_some() || client.unread() {
        refuse::part(client.stream()).await;
    } else {
        // The other side may be gone already, which is fine.
        let _gone = crate::proxy::wire::shut_sending(client.stream());
    }
}
