//! Resident memory of an idle keep-alive connection and of a held request, connection included.
//!
//! Measured as the slope between two amounts, so that what the process needs anyway does not count.
//! `CONNECTIONS` (default 5000) changes the second amount; the first is a tenth of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use promises::figures::table;
use promises::http::{self, Connection};
use promises::load::expect;
use promises::options;
use promises::router::{Router, Service, Setup};

const HOST: &str = "bench.localhost";

/// KiB that each may cost.
const IDLE_LIMIT: f64 = 24.0;
const HELD_LIMIT: f64 = 32.0;

fn main() -> ExitCode {
    promises::run(run())
}

async fn run() -> Result<()> {
    let many = options::count("CONNECTIONS", 5000, 1000)?;
    let idle = idle(many).await?;
    let held = held(many).await?;
    let row = |what: &str, kib: f64, limit: f64| vec![what.to_owned(), format!("{kib:.1}"), format!("{limit}")];
    let rows = [row("idle keep-alive connection", idle, IDLE_LIMIT), row("held request", held, HELD_LIMIT)];
    table(&["what", "KiB each", "at most"], &rows);
    ensure!(idle <= IDLE_LIMIT, "an idle connection costs {idle:.1} KiB");
    ensure!(held <= HELD_LIMIT, "a held request costs {held:.1} KiB");
    Ok(())
}

async fn idle(many: usize) -> Result<f64> {
    let mut setup = Setup::new("threads: 1", "app: { mode: always-on }", &[Service::sample("app", "")?]);
    setup.listen = "maxConnections: 9000, ".to_owned();
    let router = Router::start(&setup).await?;
    let mut connections = Vec::with_capacity(many);
    let mut few = 0;
    for number in 1..=many {
        let mut connection = Connection::open(router.http).await?;
        let answer =
            connection.ask(&http::get(HOST, "/app/bytes/64"), true).await.map_err(http::Failure::into_error)?;
        expect(&answer, 64)?;
        connections.push(connection);
        if number == many / 10 {
            few = settled(&router).await?;
        }
    }
    let all = settled(&router).await?;
    router.stop().await?;
    Ok(slope(few, all, many))
}

async fn held(many: usize) -> Result<f64> {
    // Never listens: whoever asks is held until the deadline, long after we have measured.
    let sleeper = Service { command: "exec sleep 600".to_owned(), ..Service::sample("app", "")? };
    let hold = "threads: 1\nhold: { maxRequests: 10000, timeout: 5m, perService: { maxRequests: 10000 } }";
    let mut setup = Setup::new(hold, "", &[sleeper]);
    setup.listen = "maxConnections: 9000, ".to_owned();
    let router = Router::start(&setup).await?;
    let mut connections = Vec::with_capacity(many);
    let mut few = 0;
    for number in 1..=many {
        let mut connection = Connection::open(router.http).await?;
        connection.send(&http::get(HOST, "/app/")).await?;
        connections.push(connection);
        if number == many / 10 {
            until_held(&router, number).await?;
            few = settled(&router).await?;
        }
    }
    until_held(&router, many).await?;
    let all = settled(&router).await?;
    drop(connections);
    // Those who left have to free their places.
    until_held(&router, 0).await?;
    router.stop().await?;
    Ok(slope(few, all, many))
}

async fn until_held(router: &Router, wanted: usize) -> Result<()> {
    for _ in 0..1000 {
        if router.metric("landscape_router_held_requests", &["service=\"app\""]).await? == wanted as f64 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let found = router.metric("landscape_router_held_requests", &[]).await?;
    Err(anyhow::anyhow!("{found} requests are held, not {wanted}")).context(router.last_words())
}

/// Resident KiB of the router's process once it has not changed for half a second.
async fn settled(router: &Router) -> Result<u64> {
    let mut last = 0;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = router.tree().sample()?.rss_kib;
        if now.abs_diff(last) < 64 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

fn slope(few: u64, all: u64, many: usize) -> f64 {
    all.saturating_sub(few) as f64 / (many - many / 10) as f64
}
