//! CPU per request of the whole router, metrics on, beside HAProxy, nginx and a bare Pingora
//! forwarder: one data thread each, all in front of the same application, in one interleaved run. Nobody
//! writes an access log.
//!
//! `ROUNDS` (default 7), `SECONDS` (3) and `CASES` (4, the first ones of the table) change its length. Only ratios carry over to another machine.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use promises::figures::{median, table};
use promises::load::Closed;
use promises::peers::Peer;
use promises::router::{Router, Service, Setup, free_port};
use promises::{http, options};

const HOST: &str = "bench.localhost";

/// Bytes of the answers and connections, in the order of the table.
const CASES: [(&str, usize, usize); 4] = [
    ("64 B, 64 connections", 64, 64),
    ("64 B, 1,000 connections", 64, 1000),
    ("16 KB, 64 connections", 16 * 1024, 64),
    ("1 MB, 16 connections", 1024 * 1024, 16),
];

/// What the router may cost at 64 bytes over 64 connections, as a ratio to each.
const LIMITS: [(&str, f64); 2] = [("HAProxy", 1.1), ("Pingora", 0.8)];

fn main() -> ExitCode {
    promises::run(run())
}

async fn run() -> Result<()> {
    let app = free_port()?.port();
    let service = Service { port: app, ..Service::sample("app", "")? };
    let mut setup = Setup::new("threads: 1\naccessLog: off", "app: { mode: always-on }", &[service]);
    setup.ci = setup.ci.replace("path: /app", "path: /");

    let router = Router::start(&setup).await?;
    let first = http::once(router.http, &http::get(HOST, "/who")).await?;
    let pid = first.value("pid").unwrap_or_default();

    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, app));
    let peers = [
        Peer::haproxy(upstream).await?,
        Peer::running("landscape-router", router.http, router.tree()),
        Peer::pingora(upstream).await?,
        Peer::nginx(upstream).await?,
    ];
    for peer in &peers {
        peer.verify(HOST, &pid).await?;
    }
    println!("Every peer forwards: status, length and content of 64 B, 16 KB and 1 MB are right.\n");

    let rounds = options::count("ROUNDS", 7, 2)?;
    let span = options::seconds("SECONDS", 3, 1)?;
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    let cases = options::count("CASES", CASES.len(), CASES.len())?;
    for (case, &(title, size, connections)) in CASES.iter().take(cases).enumerate() {
        let mut costs = vec![Vec::new(); peers.len()];
        let mut rates = vec![Vec::new(); peers.len()];
        for round in 0..rounds {
            // Each round begins with another peer, so that nobody always follows the same one.
            for turn in 0..peers.len() {
                let index = (turn + round) % peers.len();
                let (cost, rate) = measure(&peers[index], connections, size, span).await?;
                costs[index].push(cost);
                rates[index].push(rate);
            }
        }
        let base = median(&costs[0]);
        for (peer, (costs, rates)) in peers.iter().zip(costs.iter().zip(&rates)) {
            let cost = median(costs);
            rows.push(vec![
                title.to_owned(),
                peer.name.to_owned(),
                format!("{cost:.1}"),
                format!("{:.2}", cost / base),
                format!("{:.0}", median(rates)),
            ]);
        }
        if case == 0 {
            let cost = |name: &str| peers.iter().position(|peer| peer.name == name).map(|at| median(&costs[at]));
            for (name, limit) in LIMITS {
                let (Some(ours), Some(theirs)) = (cost("landscape-router"), cost(name)) else { continue };
                let ratio = ours / theirs;
                broken.extend((ratio > limit).then(|| format!("{ratio:.2} of {name}, not at most {limit}")));
            }
        }
    }
    table(&["case", "who", "CPU µs a request", "ratio to HAProxy", "requests/s"], &rows);
    drop(peers);
    router.stop().await?;
    ensure!(broken.is_empty() || options::quick(), "64 B over 64 connections costs {}", broken.join(" and "));
    Ok(())
}

/// CPU time a request in microseconds, and requests a second.
async fn measure(peer: &Peer, connections: usize, size: usize, span: Duration) -> Result<(f64, f64)> {
    let load = Closed::start(peer.address, HOST, connections, size).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (answered, cpu) = (load.answered()?, peer.tree.sample()?.cpu_us);
    tokio::time::sleep(span).await;
    let answered = (load.answered()? - answered) as f64;
    ensure!(answered > 0.0, "{} answered nothing within {span:?}", peer.name);
    Ok(((peer.tree.sample()?.cpu_us - cpu) / answered, answered / span.as_secs_f64()))
}
