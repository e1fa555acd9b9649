//! The listener: bounded in connections, header and time; ends when told.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Desk, problem};
use super::guard::Guard;
use super::patient::Patient;
use super::problem::Problem;
use super::{Model, Token};

/// Connections at a time.
const CONNECTIONS: usize = 256;
/// Of which so many may follow logs or events, so that they never keep health checks out.
const STREAMS: usize = 128;
/// For a whole header, and between two requests.
const HEADER: Duration = Duration::from_secs(10);
/// From a request to the head of its answer.
const ANSWER: Duration = Duration::from_secs(60);
/// For a client to read the next part of its answer.
const UNREAD: Duration = Duration::from_secs(30);
/// Bytes of a header.
const HEADER_BYTES: usize = 16 * 1024;
/// Header fields.
const HEADER_FIELDS: usize = 64;

/// A running admin listener.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl AdminServer {
    /// Serves `model` on `listener`, on the runtime that this is called in.
    pub fn start(listener: TcpListener, model: Arc<dyn Model>, token: Token) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let desk = Desk {
            model,
            guard: Arc::new(Guard::new(address, token)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            closing: closing.clone(),
        };
        tasks.spawn(accept(listener, desk, tasks.clone()));
        Ok(Self { address, closing, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, ends streams, finishes what is being answered, at most for `deadline`.
    pub async fn shutdown(self, deadline: Duration) {
        self.closing.cancel();
        self.tasks.close();
        if timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::debug!(left = self.tasks.len(), "admin connections did not end in time");
        }
    }
}

async fn accept(listener: TcpListener, desk: Desk, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = desk.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match places.clone().try_acquire_owned() {
                Ok(place) => drop(tasks.spawn(serve(stream, desk.clone(), place))),
                // Closed at once: whoever has taken all places gets no answer from us.
                Err(_) => drop(stream),
            },
            // Out of descriptors, or the client is gone already: neither may spin this loop.
            Err(e) => {
                tracing::warn!("the admin listener cannot accept: {e}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, desk: Desk, place: OwnedSemaphorePermit) {
    let _place = place;
    let Ok(local) = stream.local_addr() else { return };
    // Events are small and wanted at once; without the option they are only later.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let desk = desk.clone();
        async move {
            let late = || {
                let detail = "The router did not answer in time; look at its log.";
                problem(&Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", detail))
            };
            let answer = timeout(ANSWER, desk.answer(&request, local.ip())).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|_| late()))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADER_FIELDS)
        .serve_connection(TokioIo::new(Patient::new(stream, UNREAD)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = desk.closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        tracing::debug!("an admin connection ended: {e}");
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
pub(crate) mod tests;
