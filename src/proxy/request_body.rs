//! A client's body on its way to the upstream.

use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::listen::{Client, Phase};

/// See the module's words.
#[derive(Debug, Default)]
pub(super) struct RequestBody(Option<Streamed>);

#[derive(Debug)]
struct Streamed {
    incoming: Incoming,
    client: Rc<Client>,
    left: u64,
    over: bool,
}

/// Why a request's body did not reach its end.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It is longer than allowed.
    TooLarge,
    /// The client broke it off.
    Broken(hyper::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the request's body is too large"),
            Self::Broken(e) => write!(f, "the client broke its body off: {e}"),
        }
    }
}

impl std::error::Error for BodyError {}

impl RequestBody {
    /// A body of at most `limit` bytes.
    pub fn new(incoming: Incoming, client: &Rc<Client>, limit: u64) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        Self(Some(Streamed { incoming, client: client.clone(), left: limit, over: false }))
    }

    /// Whether there is nothing to send: such a request can be sent again.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl Streamed {
    /// The deadline for the answer runs from the body's end.
    fn end(&mut self) {
        if !self.over {
            self.over = true;
            self.client.body_over();
            if self.client.phase() == Phase::Streaming && !self.client.answer_begun() {
                self.client.enter(Phase::Waiting);
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let mut frame = match ready!(Pin::new(&mut body.incoming).poll_frame(cx)) {
            None => {
                body.end();
                return Poll::Ready(None);
            }
            Some(Err(e)) => {
                body.client.set_body_broken();
                return Poll::Ready(Some(Err(BodyError::Broken(e))));
            }
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            let n = data.len() as u64;
            body.client.add_bytes_in(n);
            match body.left.checked_sub(n) {
                Some(left) => body.left = left,
                None => {
                    body.client.set_body_over_limit();
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
            }
        } else if let Some(trailers) = frame.trailers_mut() {
            super::headers::forward_trailers(trailers);
        }
        if body.incoming.is_end_stream() {
            body.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.incoming.size_hint())
    }
}
