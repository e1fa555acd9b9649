//! What the router adds to a cold start: from the moment the application can accept its first
//! connection, and from the moment it does, to the first byte at the client.
//!
//! The application tells both moments in its answer, on the clock that we read too. `STARTS` (default
//! 200) changes the number of starts for each of the boots of 0, 100 ms and 1 s.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use promises::figures::{median, percentile, table};
use promises::proc::monotonic_ns;
use promises::router::{Router, Service, Setup};
use promises::{http, options};

const BOOTS: [u64; 3] = [0, 100, 1000];

/// Milliseconds from the first accept to the first byte.
const MEDIAN_LIMIT: f64 = 5.0;
const P99_LIMIT: f64 = 20.0;

fn main() -> ExitCode {
    promises::run(run())
}

async fn run() -> Result<()> {
    let starts = options::count("STARTS", 200, 10)?;
    let mut services = Vec::new();
    for boot in BOOTS {
        services.push(Service::sample(&format!("boot{boot}"), &format!("--boot {boot}"))?);
    }
    let router = Router::start(&Setup::new("defaults: { idleAfter: 100ms }", "", &services)).await?;
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for boot in BOOTS {
        let cold = Series::take(&router, &format!("boot{boot}"), starts).await.context(router.last_words())?;
        for (from, overheads) in [("accepts", &cold.accepted), ("listens", &cold.listening)] {
            let figures = [median(overheads), percentile(overheads, 0.99), percentile(overheads, 1.0)];
            let mut row = vec![format!("{boot} ms"), from.to_owned()];
            row.extend(figures.map(|figure| format!("{figure:.2}")));
            row.push(format!("{:.1}", median(&cold.whole)));
            rows.push(row);
        }
        let (middle, tail) = (median(&cold.accepted), percentile(&cold.accepted, 0.99));
        if middle > MEDIAN_LIMIT || tail > P99_LIMIT {
            broken.push(format!("{middle:.1} ms (p99 {tail:.1} ms) at {boot} ms of boot"));
        }
    }
    println!("{starts} cold starts each, milliseconds to the client's first byte, from the moment the application\n");
    table(&["boot", "first", "median", "p99", "worst", "whole request, median"], &rows);
    router.stop().await?;
    ensure!(broken.is_empty(), "the overhead is {}", broken.join(", "));
    Ok(())
}

#[derive(Default)]
struct Series {
    accepted: Vec<f64>,
    listening: Vec<f64>,
    whole: Vec<f64>,
}

impl Series {
    async fn take(router: &Router, service: &str, starts: usize) -> Result<Self> {
        let request = http::get("bench.localhost", &format!("/{service}/"));
        let mut series = Self::default();
        for _ in 0..starts {
            router.until_state(service, "off").await?;
            // Off the beat of the idle clock, which would otherwise give every start the same phase.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..50))).await;
            let sent = monotonic_ns();
            let answer = http::once(router.http, &request).await?;
            ensure!(answer.status == 200, "status {}: {}{}", answer.status, answer.head, answer.text());
            ensure!(answer.header("x-landscape-cold-start") == Some("true"), "not a cold start: {}", answer.head);
            let since = |key: &str| -> Result<f64> {
                let then: u64 = answer.value(key).context("not the sample application's answer")?.parse()?;
                Ok(answer.first_byte_ns.saturating_sub(then) as f64 / 1e6)
            };
            series.accepted.push(since("accepted")?);
            series.listening.push(since("listening")?);
            series.whole.push((answer.first_byte_ns - sent) as f64 / 1e6);
        }
        Ok(series)
    }
}
