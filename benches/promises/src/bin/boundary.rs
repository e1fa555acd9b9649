//! Random requests around the idle boundary: the service falls asleep about as often as it is asked,
//! in every phase of falling asleep. No request may fail.
//!
//! `MINUTES` (default 10; QUICK: `SECONDS`, 20) changes its length.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use promises::http::{self, Answer, Connection, Failure};
use promises::load::Tally;
use promises::options;
use promises::router::{Router, Service, Setup};

const IDLE_AFTER: Duration = Duration::from_millis(300);
const SERVICES: usize = 4;

fn main() -> ExitCode {
    promises::run(run())
}

async fn run() -> Result<()> {
    let span = options::seconds("SECONDS", 600, 20)?;
    let services = (0..SERVICES).map(|number| {
        // Different boots, so that demand meets starts, serving and stops in different ratios.
        Service::sample(&format!("app{number}"), &format!("--boot {}", number * 60))
    });
    let services = services.collect::<Result<Vec<_>>>()?;
    let idle = format!("defaults: {{ idleAfter: {}ms, stopGrace: 2s }}", IDLE_AFTER.as_millis());
    let router = Router::start(&Setup::new(&idle, "", &services)).await?;
    let (tally, cold) = (Rc::new(Tally::default()), Rc::new(Cell::new(0_u64)));
    let end = Instant::now() + span;
    let mut clients = Vec::new();
    for number in 0..SERVICES {
        // Two clients a service: one keeps its connection, one does not.
        for keep in [true, false] {
            let (tally, cold) = (Rc::clone(&tally), Rc::clone(&cold));
            let visitor = Visitor { to: router.http, path: format!("/app{number}/"), keep, connection: None, tally };
            clients.push(tokio::task::spawn_local(visitor.run(end, cold)));
        }
    }
    for client in clients {
        client.await?;
    }
    let failed = tally.failed.get();
    println!(
        "{} requests in {} s around an idleAfter of {} ms: {} woke a service, {failed} failed.",
        tally.answered.get() + failed,
        span.as_secs(),
        IDLE_AFTER.as_millis(),
        cold.get()
    );
    for complaint in tally.complaints.borrow().iter() {
        println!("  {complaint}");
    }
    ensure!(failed == 0, "{failed} requests failed\n{}", router.last_words());
    ensure!(cold.get() > 0, "nothing ever fell asleep: this measured nothing");
    router.stop().await
}

struct Visitor {
    to: std::net::SocketAddr,
    path: String,
    keep: bool,
    connection: Option<Connection>,
    tally: Rc<Tally>,
}

impl Visitor {
    async fn run(mut self, end: Instant, cold: Rc<Cell<u64>>) {
        while Instant::now() < end {
            // Two clients share a service; together they come about once an idleAfter.
            tokio::time::sleep(IDLE_AFTER.mul_f64(fastrand::f64() * 4.0)).await;
            let outcome = self.visit().await;
            if outcome.as_ref().is_ok_and(|answer| answer.header("x-landscape-cold-start").is_some()) {
                cold.set(cold.get() + 1);
            }
            self.tally.count(outcome.and_then(|answer| self.judge(&answer)));
        }
    }

    async fn visit(&mut self) -> Result<Answer> {
        let body = b"some bytes that have to arrive";
        let request = match fastrand::u8(0..3) {
            0 => http::post("bench.localhost", &self.path, body),
            1 => http::get("bench.localhost", &format!("{}slow/{}", self.path, fastrand::u64(0..400))),
            _ => http::get("bench.localhost", &self.path),
        };
        if let Some(mut connection) = self.connection.take() {
            match connection.ask(&request, true).await {
                Ok(answer) => return Ok(self.keep(connection, answer)),
                Err(Failure::Stale) => {}
                Err(Failure::Broken(error)) => return Err(error),
            }
        }
        let mut connection = Connection::open(self.to).await?;
        let answer = connection.ask(&request, true).await.map_err(Failure::into_error);
        Ok(self.keep(connection, answer.with_context(|| self.path.clone())?))
    }

    fn keep(&mut self, connection: Connection, answer: Answer) -> Answer {
        self.connection = (self.keep && answer.reusable).then_some(connection);
        answer
    }

    fn judge(&self, answer: &Answer) -> Result<()> {
        ensure!(answer.status == 200, "{}: {}{}", self.path, answer.head, answer.text());
        let received = answer.value("received").context("not the sample application's answer")?;
        ensure!(received == "0" || received == "30", "{received} bytes of the body arrived");
        Ok(())
    }
}
