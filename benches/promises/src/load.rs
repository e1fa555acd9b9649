//! Many clients at once.
//!
//! All of it runs on one thread: counters are cells, and the load costs the machine one core at most.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use tokio::task::JoinHandle;

use crate::http::{self, Answer, Connection, Failure};

/// Clients that each send the next request when the last one is answered, on one connection each.
#[derive(Debug)]
pub struct Closed {
    clients: Vec<JoinHandle<()>>,
    tally: Rc<Tally>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered as expected.
    pub answered: Cell<u64>,
    /// Not.
    pub failed: Cell<u64>,
    /// Keep-alive connections that were closed while idle, the request tried again on a fresh one.
    pub reopened: Cell<u64>,
    /// The first few failures, in words.
    pub complaints: RefCell<Vec<String>>,
}

impl Tally {
    /// Counts an answer, or a failure with its words.
    pub fn count(&self, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.answered.set(self.answered.get() + 1),
            Err(error) => {
                self.failed.set(self.failed.get() + 1);
                if self.complaints.borrow().len() < 5 {
                    self.complaints.borrow_mut().push(format!("{error:#}"));
                }
            }
        }
    }
}

impl Closed {
    /// Opens the connections and starts the load: `GET /bytes/<size>`.
    pub async fn start(to: SocketAddr, host: &str, connections: usize, size: usize) -> Result<Self> {
        let tally = Rc::new(Tally::default());
        let request: Rc<[u8]> = http::get(host, &format!("/bytes/{size}")).into();
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            let mut connection = Connection::open(to).await?;
            let (tally, request) = (Rc::clone(&tally), Rc::clone(&request));
            clients.push(tokio::task::spawn_local(async move {
                loop {
                    let outcome = connection.ask(&request, false).await.map_err(Failure::into_error);
                    let broken = outcome.is_err();
                    tally.count(outcome.and_then(|answer| expect(&answer, size)));
                    if broken {
                        break;
                    }
                }
            }));
        }
        Ok(Self { clients, tally })
    }

    /// How many requests were answered so far; an error as soon as one was not.
    pub fn answered(&self) -> Result<u64> {
        if let Some(complaint) = self.tally.complaints.borrow().first() {
            bail!("{complaint}");
        }
        Ok(self.tally.answered.get())
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}

/// Status 200 and the right length.
pub fn expect(answer: &Answer, length: usize) -> Result<()> {
    ensure!(answer.status == 200, "status {}: {}", answer.status, answer.head);
    ensure!(answer.length == length, "{} bytes instead of {length}", answer.length);
    Ok(())
}

/// Requests at a steady rate, whatever becomes of them: half of the clients keep their connection,
/// half open one for each request.
#[derive(Debug)]
pub struct Steady {
    clients: Vec<JoinHandle<()>>,
    tally: Rc<Tally>,
    stop: Rc<Cell<bool>>,
}

impl Steady {
    /// Starts `clients` of them, each with one request every `period`; `ok` judges the answers.
    pub fn start(
        to: SocketAddr,
        requests: &[Vec<u8>],
        clients: usize,
        period: Duration,
        ok: fn(&Answer) -> Result<()>,
    ) -> Self {
        let (tally, stop) = (Rc::new(Tally::default()), Rc::new(Cell::new(false)));
        let start = |index: usize| {
            let client = Client { to, keep: index.is_multiple_of(2), connection: None, tally: Rc::clone(&tally), ok };
            let (stop, requests) = (Rc::clone(&stop), requests.to_vec());
            tokio::task::spawn_local(async move {
                // Spread over the period, so that the load is even.
                tokio::time::sleep(period.mul_f64(index as f64 / clients as f64)).await;
                client.run(&requests, period, &stop).await;
            })
        };
        let clients = (0..clients).map(start).collect();
        Self { clients, tally, stop }
    }

    /// Lets every request be answered and ends.
    pub async fn finish(self) -> Result<Rc<Tally>> {
        self.stop.set(true);
        for client in self.clients {
            client.await?;
        }
        Ok(self.tally)
    }
}

struct Client {
    to: SocketAddr,
    keep: bool,
    connection: Option<Connection>,
    tally: Rc<Tally>,
    ok: fn(&Answer) -> Result<()>,
}

impl Client {
    async fn run(mut self, requests: &[Vec<u8>], period: Duration, stop: &Cell<bool>) {
        let mut clock = tokio::time::interval(period);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for request in requests.iter().cycle() {
            clock.tick().await;
            if stop.get() {
                return;
            }
            let outcome = self.ask(request).await.and_then(|answer| (self.ok)(&answer));
            self.tally.count(outcome);
        }
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        if let Some(mut connection) = self.connection.take() {
            match connection.ask(request, true).await {
                Ok(answer) => return Ok(self.keep(connection, answer)),
                Err(Failure::Stale) => self.tally.reopened.set(self.tally.reopened.get() + 1),
                Err(Failure::Broken(error)) => return Err(error),
            }
        }
        let mut connection = Connection::open(self.to).await?;
        let answer = connection.ask(request, true).await.map_err(Failure::into_error)?;
        Ok(self.keep(connection, answer))
    }

    fn keep(&mut self, connection: Connection, answer: Answer) -> Answer {
        self.connection = (self.keep && answer.reusable).then_some(connection);
        answer
    }
}
