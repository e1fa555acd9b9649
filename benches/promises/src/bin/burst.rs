//! 9,000 requests at once to a cold service: one start, each answered. And with the bound at 1,000:
//! as many answered, the rest 503 with Retry-After at once.
//!
//! `REQUESTS` (default 9000) changes their number.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use promises::figures::percentile;
use promises::http::{self, Answer, Connection};
use promises::options;
use promises::router::{Router, Service, Setup, raise_descriptors};

const BOUND: usize = 1000;

/// Longer than it takes to send everything: whoever is refused has to be refused before this.
const BOOT: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    promises::run(run())
}

async fn run() -> Result<()> {
    raise_descriptors()?;
    let requests = options::count("REQUESTS", 9000, 2000)?;
    let all = Burst::run(requests, 10_000).await?;
    all.report("room for all");
    ensure!(all.starts == 1, "{} starts instead of one", all.starts);
    ensure!(all.served == requests, "{} of {requests} were served", all.served);

    let some = Burst::run(requests, BOUND).await?;
    some.report("room for 1,000");
    ensure!(some.starts == 1, "{} starts instead of one", some.starts);
    ensure!(some.served == BOUND, "{} were served, not {BOUND}", some.served);
    ensure!(some.refused == requests - BOUND, "{} were refused, not {}", some.refused, requests - BOUND);
    let slowest = percentile(&some.refusals, 1.0);
    ensure!(slowest < BOOT.as_secs_f64() * 1e3 / 2.0, "the last refusal took {slowest:.0} ms: it waited for something");
    Ok(())
}

struct Burst {
    requests: usize,
    starts: usize,
    served: usize,
    refused: usize,
    /// Milliseconds until each refusal, from the request's own sending.
    refusals: Vec<f64>,
    whole: Duration,
}

impl Burst {
    async fn run(requests: usize, bound: usize) -> Result<Self> {
        let marks = tempfile::tempdir()?;
        let starts = marks.path().join("starts");
        let options = format!("--boot {} --starts '{}'", BOOT.as_millis(), starts.display());
        let hold = format!("hold: {{ maxRequests: 10000, timeout: 60s, perService: {{ maxRequests: {bound} }} }}");
        let mut setup = Setup::new(&hold, "", &[Service::sample("app", &options)?]);
        setup.listen = "maxConnections: 9500, ".to_owned();
        let router = Router::start(&setup).await?;
        // Connected first, so that the requests themselves come as close together as can be.
        let mut connections = Vec::with_capacity(requests);
        for _ in 0..requests {
            connections.push(Connection::open(router.http).await?);
        }
        let begin = Instant::now();
        let clients: Vec<_> = connections.into_iter().map(|one| tokio::task::spawn_local(ask(one))).collect();
        let mut burst =
            Self { requests, starts: 0, served: 0, refused: 0, refusals: Vec::new(), whole: Duration::ZERO };
        for client in clients {
            let (answer, took) = client.await?.with_context(|| router.last_words())?;
            match answer.status {
                200 => burst.served += 1,
                503 => {
                    ensure!(answer.header("retry-after").is_some(), "a refusal without Retry-After: {}", answer.head);
                    burst.refused += 1;
                    burst.refusals.push(took.as_secs_f64() * 1e3);
                }
                _ => anyhow::bail!("an unexpected answer: {}{}", answer.head, answer.text()),
            }
        }
        burst.whole = begin.elapsed();
        burst.starts = fs::read_to_string(&starts)?.lines().count();
        router.stop().await?;
        Ok(burst)
    }

    fn report(&self, title: &str) {
        let Self { requests, starts, served, refused, refusals, whole } = self;
        print!("{requests} at once, {title}: {starts} start, {served} served, {refused} refused");
        if !refusals.is_empty() {
            print!(" (median {:.0} ms, last {:.0} ms)", percentile(refusals, 0.5), percentile(refusals, 1.0));
        }
        println!("; all answered after {:.1} s, {:.1} s of them the boot.", whole.as_secs_f64(), BOOT.as_secs_f64());
    }
}

async fn ask(mut connection: Connection) -> Result<(Answer, Duration)> {
    let begin = Instant::now();
    let answer = connection.ask(&http::get("bench.localhost", "/app/"), true).await;
    Ok((answer.map_err(http::Failure::into_error)?, begin.elapsed()))
}
