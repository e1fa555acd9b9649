//! Raw TCP through the router's private network beside HAProxy in TCP mode, one data thread each, in one
//! interleaved run: bytes a second and CPU a byte.
//!
//! Both have the same client, in a network namespace behind a bridge, and an application that they reach
//! by loopback: the router's in its replica's namespace, HAProxy's on this machine. Needs root.
//!
//! `ROUNDS` (default 7) and `MIB` (2048, of each transfer) change its length.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use promises::figures::{median, table};
use promises::peers::Peer;
use promises::proc::Tree;
use promises::router::{Router, Service, Setup, free_port, sibling};
use promises::{http, options};

/// Of HAProxy's bytes a second.
const LEAST: f64 = 0.8;

/// The bridge that stands for the one of a landscape. Networks for documentation (RFC 5737) and benchmarks
/// (RFC 2544), which nobody has.
const BRIDGE: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2));
const RANGES: &str = "private: { addresses: 198.18.0.0/24, subnets: [198.19.0.0/24] }";

fn main() -> ExitCode {
    promises::run(run())
}

async fn run() -> Result<()> {
    let rounds = options::count("ROUNDS", 7, 2)?;
    let size = options::count("MIB", 2048, 64)? as u64 * 1024 * 1024;

    let store = Service::sample("store", "--stream on")?;
    let client = Service::sample("client", "")?;
    let inside = format!("store:{}", store.port);
    let route = format!("paths: [{{ port: {}, path: /store, stripPath: true }}]", store.port);
    let mut setup = Setup::new(
        &format!("threads: 1\naccessLog: off\n{RANGES}"),
        "client: { mode: always-on }, store: { mode: always-on }",
        &[store, client],
    );
    // What has a route is asked by HTTP whether it is ready.
    setup.ci = setup.ci.replace(&route, "paths: []");
    let router = Router::start(&setup).await?;
    let measured = measure(&router, inside, rounds, size).await;
    // Ended politely in any case: killed, it leaves its bridge.
    router.stop().await?;
    let ratio = measured?;
    ensure!(ratio >= LEAST || options::quick(), "{ratio:.2} of HAProxy's throughput, not at least {LEAST}");
    Ok(())
}

/// Prints the table, and gives the router's bytes a second as a ratio to HAProxy's.
async fn measure(router: &Router, store: String, rounds: usize, size: u64) -> Result<f64> {
    // The first pull tells whether there is a private network at all.
    let through =
        Side { name: "landscape-router", tree: router.tree(), client: router.http, prefix: "/client", to: store };
    through.pull(1).await.with_context(|| router.last_words())?;

    let ground = Ground::lay()?;
    let (app, port) = (free_port()?, free_port()?.port());
    let _app = Ground::app(Command::new(sibling("sample-app", "SAMPLE_APP_BIN")?).args(["--stream", "on"]), app)?;
    let haproxy = Peer::haproxy_tcp(SocketAddr::from((BRIDGE.0, port)), app).await?;
    let client = SocketAddr::from((BRIDGE.1, 3000));
    let mut inside = ground.inside();
    let _client = Ground::app(inside.arg(sibling("sample-app", "SAMPLE_APP_BIN")?), client)?;
    let beside = Side { name: "HAProxy", tree: haproxy.tree, client, prefix: "", to: haproxy.address.to_string() };
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = beside.pull(1).await {
        ensure!(Instant::now() < deadline, "HAProxy does not forward: {error:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let sides = [beside, through];
    let mut rates = [Vec::new(), Vec::new()];
    let mut costs = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..sides.len() {
            let index = (turn + round) % sides.len();
            let (rate, cost) = sides[index].pull(size).await?;
            rates[index].push(rate);
            costs[index].push(cost);
        }
    }
    let base = (median(&rates[0]), median(&costs[0]));
    let mut rows = Vec::new();
    for (side, (rates, costs)) in sides.iter().zip(rates.iter().zip(&costs)) {
        let (rate, cost) = (median(rates), median(costs));
        rows.push(vec![
            side.name.to_owned(),
            format!("{:.0}", rate / 1e6),
            format!("{:.2}", rate / base.0),
            format!("{:.3}", cost),
            format!("{:.2}", cost / base.1),
        ]);
    }
    table(&["who", "MB/s", "ratio", "CPU ns a byte", "ratio"], &rows);
    Ok(median(&rates[1]) / base.0)
}

/// Someone who passes bytes on, and a client that asks for them.
struct Side {
    name: &'static str,
    tree: Tree,
    client: SocketAddr,
    prefix: &'static str,
    to: String,
}

impl Side {
    /// Bytes a second, and nanoseconds of CPU a byte.
    async fn pull(&self, size: u64) -> Result<(f64, f64)> {
        let before = self.tree.sample()?.cpu_us;
        let ask = http::get("bench.localhost", &format!("{}/pull/{}/{size}", self.prefix, self.to));
        let answer = http::once(self.client, &ask).await?;
        let took = answer.value("ns").with_context(|| format!("{}: {}{}", self.name, answer.head, answer.text()))?;
        let took: f64 = took.parse()?;
        let cpu = self.tree.sample()?.cpu_us - before;
        Ok((size as f64 / took * 1e9, cpu * 1e3 / size as f64))
    }
}

/// A bridge and a namespace behind it, as a landscape has.
struct Ground {
    name: String,
}

/// A program that ends with the bench.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

impl Ground {
    fn lay() -> Result<Self> {
        let ground = Self { name: format!("lrb{}", std::process::id()) };
        let (bridge, near, far) = (&ground.name, format!("{}n", ground.name), format!("{}f", ground.name));
        for line in [
            format!("netns add {bridge}"),
            format!("link add {bridge} type bridge"),
            format!("addr add {}/24 dev {bridge}", BRIDGE.0),
            format!("link set {bridge} up"),
            format!("link add {near} type veth peer name {far} netns {bridge}"),
            format!("link set {near} master {bridge} up"),
            format!("-n {bridge} addr add {}/24 dev {far}", BRIDGE.1),
            format!("-n {bridge} link set {far} up"),
            format!("-n {bridge} link set lo up"),
        ] {
            ground.ip(&line)?;
        }
        Ok(ground)
    }

    fn ip(&self, line: &str) -> Result<()> {
        let done = Command::new("ip").args(line.split(' ')).stderr(Stdio::inherit()).status();
        ensure!(done.context("ip (Debian's iproute2)")?.success(), "ip {line}");
        Ok(())
    }

    /// A command that runs in the namespace.
    fn inside(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command
    }

    fn app(command: &mut Command, at: SocketAddr) -> Result<Ended> {
        let command = command.env("HOST", at.ip().to_string()).env("PORT", at.port().to_string());
        Ok(Ended(command.stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.ip(&format!("link del {}", self.name)).ok();
        self.ip(&format!("netns del {}", self.name)).ok();
    }
}
