//! An answer with more fields than the HTTP engine has room for is read a second time.
//!
//! hyper's own room, for 100 fields, is on its stack. A larger one it takes from the heap and fills anew for every
//! answer, which costs 0.4 µs for 256 fields and 5 µs for 4,096 on a machine where the whole exchange takes 1.3 µs of it.
//! So the many answers that fit do not pay for the few that do not: those are left unread where they lie, in its
//! buffer, and a second engine with more room begins with them. It has to believe that it sent the request.

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::{Asker, Broken, LONGEST_HEAD, RequestBody, Upstream, engine};

/// The most fields of an answer: what the longest head holds of usual ones. `http`'s maps end at 24,576.
const MOST_FIELDS: usize = 4096;

impl Upstream {
    /// The answer to a request of this method, which `error` says is too large.
    pub(super) async fn reread(
        &mut self,
        method: Method,
        error: hyper::Error,
        asker: &impl Asker,
    ) -> Result<Response<Incoming>, Broken> {
        let Some(moving) = self.moving.take() else { return Err(Broken::Died(error)) };
        let parts = moving.into_parts();
        let mut io = parts.io.into_inner();
        // Too many bytes, or not for the first time.
        if parts.read_buf.len() >= LONGEST_HEAD || self.last {
            return Err(Broken::Died(error));
        }
        io.left = parts.read_buf;
        let Ok((send, moving)) = engine(self.keep_case).max_headers(MOST_FIELDS).handshake(TokioIo::new(io)).await
        else {
            return Err(Broken::Died(error));
        };
        (self.send, self.moving, self.ended) = (send, Some(Box::new(moving)), false);
        // What is left of the request's body went with the first engine; and the next answer is more
        // likely one that fits.
        self.last = true;
        let mut request = Request::new(RequestBody::default());
        *request.method_mut() = method;
        self.meter.void.set(true);
        self.meter.sent.set(false);
        let answer = self.answer_to(request, &mut None, asker).await;
        self.meter.void.set(false);
        match answer {
            Err(Broken::Unsent) => Err(Broken::Died(error)),
            answer => answer,
        }
    }
}
