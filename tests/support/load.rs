//! A steady, bounded load that counts what fails.

use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::http::{connect, read_answer};

/// Clients that ask one after the other, each on a kept connection, until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// `clients` of them, each a request every `every`.
    pub fn start(at: SocketAddr, host: &str, path: &str, clients: usize, every: Duration) -> Self {
        Self::asking(at, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"), clients, every)
    }

    /// The same with requests that are made once, if anything of them has arrived.
    pub fn posts(at: SocketAddr, host: &str, path: &str, clients: usize, every: Duration) -> Self {
        let ask = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi");
        Self::asking(at, ask, clients, every)
    }

    fn asking(at: SocketAddr, ask: String, clients: usize, every: Duration) -> Self {
        let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..clients)
            .map(|_| {
                let (stop, good, ask) = (stop.clone(), good.clone(), ask.clone());
                std::thread::spawn(move || client(at, &ask, every, &stop, &good))
            })
            .collect();
        Self { stop, good, clients }
    }

    /// Waits until so many more have been answered well.
    pub fn await_more(&self, more: u64) {
        let target = self.good.load(Ordering::Relaxed) + more;
        let deadline = std::time::Instant::now() + super::PATIENCE;
        while self.good.load(Ordering::Relaxed) < target {
            assert!(std::time::Instant::now() < deadline, "the load stands still");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it; how many were answered well, and every failure.
    pub fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
        (self.good.load(Ordering::Relaxed), failures)
    }
}

fn client(at: SocketAddr, ask: &str, every: Duration, stop: &AtomicBool, good: &AtomicU64) -> Vec<String> {
    let mut failures = Vec::new();
    let mut open = None;
    while !stop.load(Ordering::Relaxed) && failures.len() < 20 {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => match connect(at) {
                Ok(stream) => BufReader::new(stream),
                Err(e) => {
                    failures.push(format!("connect: {e}"));
                    continue;
                }
            },
        };
        let answer = connection.get_mut().write_all(ask.as_bytes()).and_then(|()| read_answer(&mut connection));
        match answer {
            Ok(answer) if answer.status == 200 => {
                good.fetch_add(1, Ordering::Relaxed);
                if answer.header("connection").is_none_or(|c| !c.eq_ignore_ascii_case("close")) {
                    open = Some(connection);
                }
            }
            Ok(answer) => failures.push(format!("{} {}", answer.status, answer.text())),
            Err(e) => failures.push(e.to_string()),
        }
        std::thread::sleep(every);
    }
    failures
}
