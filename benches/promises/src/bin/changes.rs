//! A steady rate of requests while things change: routes, a service's environment (rolling), a
//! listener that comes and goes, a replica that is killed, a router that takes over. None may fail.
//!
//! `RATE` (default 400) is the number of requests a second.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use promises::figures::table;
use promises::http::{self, Answer, Connection};
use promises::load::Steady;
use promises::options;
use promises::router::{Router, Service, Setup, ci, free_port};
use rustix::process::{Pid, Signal, kill_process};

const HOST: &str = "bench.localhost";
const CLIENTS: usize = 40;

/// How long a change may take to be seen.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    promises::run(run())
}

async fn run() -> Result<()> {
    let app = Service { replicas: 3, ..Service::sample("app", "--boot 200")? };
    let setup = Setup::new("", "app: { mode: always-on }", std::slice::from_ref(&app));
    let mut bench = Bench { router: Router::start(&setup).await?, setup, app, rows: Vec::new(), failed: 0 };
    bench.until(3, |answer| answer.value("replica")).await.context("three replicas")?;

    let load = bench.load(Methods::Any)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.judge("nothing changes", load).await?;

    let load = bench.load(Methods::Any)?;
    bench.routes().await?;
    bench.judge("a route comes and goes", load).await?;

    let load = bench.load(Methods::Any)?;
    bench.environment().await?;
    bench.judge("a service's env changes", load).await?;

    let load = bench.load(Methods::Any)?;
    bench.listener().await?;
    bench.judge("a listener comes and goes", load).await?;

    // Only what may be repeated: a POST that had reached the killed replica is lost with it.
    let load = bench.load(Methods::Repeatable)?;
    bench.kill().await?;
    bench.judge("one of three replicas is killed", load).await?;

    let load = bench.load(Methods::Any)?;
    bench.router.take_over().await?;
    bench.judge("another router takes over", load).await?;

    table(&["while", "requests", "failed", "idle connections reopened"], &bench.rows);
    ensure!(bench.failed == 0, "{} requests failed\n{}", bench.failed, bench.router.last_words());
    bench.router.stop().await
}

struct Bench {
    router: Router,
    setup: Setup,
    app: Service,
    rows: Vec<Vec<String>>,
    failed: u64,
}

enum Methods {
    Any,
    Repeatable,
}

impl Bench {
    fn load(&self, methods: Methods) -> Result<Steady> {
        let rate = options::count("RATE", 400, 100)?;
        let mut requests = vec![http::get(HOST, "/app/"), http::get(HOST, "/app/slow/30")];
        if matches!(methods, Methods::Any) {
            requests.push(http::post(HOST, "/app/", b"a body"));
        }
        let period = Duration::from_secs_f64(CLIENTS as f64 / rate as f64);
        Ok(Steady::start(self.router.http, &requests, CLIENTS, period, sound))
    }

    async fn judge(&mut self, title: &str, load: Steady) -> Result<()> {
        // What a change breaks late belongs to it as well.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let tally = load.finish().await?;
        let (answered, failed) = (tally.answered.get(), tally.failed.get());
        let row =
            [title.to_owned(), (answered + failed).to_string(), failed.to_string(), tally.reopened.get().to_string()];
        self.rows.push(row.into());
        self.failed += failed;
        for complaint in tally.complaints.borrow().iter() {
            println!("{title}: {complaint}");
        }
        Ok(())
    }

    async fn routes(&self) -> Result<()> {
        let extra = Service::sample("extra", "")?;
        self.router.write_ci(&ci(&[self.app.clone(), extra]))?;
        self.until_status("/extra/", 200).await?;
        self.router.write_ci(&ci(std::slice::from_ref(&self.app)))?;
        self.until_status("/extra/", 404).await
    }

    async fn environment(&mut self) -> Result<()> {
        self.app.word = "second".to_owned();
        self.router.write_ci(&ci(std::slice::from_ref(&self.app)))?;
        let renewed =
            |answer: &Answer| answer.value("replica").filter(|_| answer.value("word").as_deref() == Some("second"));
        self.until(3, renewed).await
    }

    async fn listener(&self) -> Result<()> {
        let second = free_port()?;
        self.router.write_router(&[self.router.http, second], &self.setup)?;
        let deadline = Instant::now() + PATIENCE;
        let mut guest = loop {
            match Connection::open(second).await {
                Ok(connection) => break connection,
                Err(error) => ensure!(Instant::now() < deadline, "the listener never came: {error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // Under way on the listener that goes: it has to be answered all the same.
        let guest = tokio::task::spawn_local(async move { guest.ask(&http::get(HOST, "/app/slow/1500"), true).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.router.write_router(&[self.router.http], &self.setup)?;
        while Connection::open(second).await.is_ok() {
            ensure!(Instant::now() < deadline, "the listener never went");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let answer = guest.await?.map_err(http::Failure::into_error).context("on the listener that went")?;
        sound(&answer)
    }

    async fn kill(&self) -> Result<()> {
        let answer = http::once(self.router.http, &http::get(HOST, "/app/")).await?;
        let pid: i32 = answer.value("pid").context("no pid")?.parse()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        kill_process(Pid::from_raw(pid).context("no pid")?, Signal::KILL)?;
        let pid = pid.to_string();
        let others =
            move |answer: &Answer| answer.value("replica").filter(|_| answer.value("pid").as_ref() != Some(&pid));
        self.until(3, others).await
    }

    /// Asks until so many different values were seen.
    async fn until(&self, different: usize, value: impl Fn(&Answer) -> Option<String>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < different {
            ensure!(Instant::now() < deadline, "only {seen:?} within {} s", PATIENCE.as_secs());
            let answer = http::once(self.router.http, &http::get(HOST, "/app/")).await?;
            seen.extend(value(&answer));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn until_status(&self, path: &str, status: u16) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = http::once(self.router.http, &http::get(HOST, path)).await?;
            if answer.status == status {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{path} answers {} and not {status}", answer.status);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn sound(answer: &Answer) -> Result<()> {
    if answer.status != 200 {
        bail!("{}{}", answer.head, answer.text());
    }
    answer.value("pid").map(drop).context("not the sample application's answer")
}
