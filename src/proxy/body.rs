//! The body of an answer.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Key;
use super::upstream::Upstream;
use super::usage::Usage;

/// See the module's words. It ends its request's [`Usage`] with itself.
pub(crate) struct Body {
    kind: Kind,
    usage: Option<Usage>,
    /// The answer broke off.
    broken: Option<io::Error>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Streamed(Streamed),
}

/// What comes from an upstream, and the connection that it comes over.
struct Streamed {
    incoming: Incoming,
    /// `None` once the answer is complete and the connection given back or given up.
    upstream: Option<Upstream>,
    key: Key,
    announced: Option<u64>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self { kind: Kind::Empty, usage: None, broken: None }
    }

    /// These bytes.
    pub fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(bytes), usage: None, broken: None }
    }

    /// What `upstream` sends. The connection is kept for the next request when all of it came.
    pub(super) fn streamed(
        incoming: Incoming,
        upstream: Upstream,
        key: Key,
        announced: Option<u64>,
        usage: Usage,
    ) -> Self {
        let mut streamed = Streamed { incoming, upstream: Some(upstream), key, announced };
        // A short answer is complete with its head: its connection is free at once.
        streamed.give_back(&usage);
        let kind = if streamed.upstream.is_none() && streamed.incoming.is_end_stream() {
            Kind::Empty
        } else {
            Kind::Streamed(streamed)
        };
        Self { kind, usage: Some(usage), broken: None }
    }

    /// Lets the request end with this body.
    pub(super) fn ending(mut self, usage: Usage) -> Self {
        self.usage = Some(usage);
        self
    }

    #[cfg(test)]
    pub(super) fn into_text(self) -> Option<String> {
        match self.kind {
            Kind::Full(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        }
    }
}

impl Streamed {
    /// Gives the connection back if the exchange is complete.
    fn give_back(&mut self, usage: &Usage) {
        if let Some(upstream) = self.upstream.take_if(|u| u.is_reusable()) {
            usage.local().pool().put(self.key, upstream, Instant::now(), self.announced);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, usage: &Usage) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Whatever the connection brings, it brings while it is driven here, so its channel to the
        // body needs nobody to wake.
        let mut silent = Context::from_waker(Waker::noop());
        let mut take = |incoming: &mut Incoming| Pin::new(incoming).poll_frame(&mut silent);
        let mut frame = match &self.upstream {
            Some(upstream) => upstream.quietly(|| take(&mut self.incoming)),
            None => take(&mut self.incoming),
        };
        if frame.is_pending()
            && let Some(upstream) = &mut self.upstream
        {
            let ended = upstream.drive(cx).is_ready();
            frame = upstream.quietly(|| take(&mut self.incoming));
            if frame.is_pending() {
                if ended {
                    // Its end reaches the body, whose channel it closes.
                    self.upstream = None;
                    frame = take(&mut self.incoming);
                } else {
                    upstream.acknowledge();
                }
            }
        }
        let over = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.incoming.is_end_stream(),
            _ => false,
        };
        if over && self.upstream.is_some() {
            self.give_back(usage);
        }
        frame
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match (&mut this.kind, &mut this.usage) {
            (Kind::Full(bytes), _) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            (Kind::Streamed(streamed), Some(usage)) => match streamed.poll(cx, usage) {
                Poll::Pending if usage.client().expired() => {
                    // Breaking off tells the client that something is missing.
                    Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
                }
                frame => frame.map_err(io::Error::other),
            },
            _ => Poll::Ready(None),
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(usage)) = (&frame, &mut this.usage)
            && let Some(data) = frame.data_ref()
        {
            usage.sent(data.len());
            usage.client().touch();
        }
        match frame {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    super::headers::forward_trailers(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                // hyper drops what it has buffered when a body fails. It flushes when a body has
                // nothing to give, so it is told first that this one has not: the client gets what came.
                this.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Streamed(streamed) => streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Streamed(streamed) => streamed.incoming.size_hint(),
        }
    }
}
