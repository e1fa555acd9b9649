//! Wiring: builds the whole process from a configuration, and takes it apart again.
//!
//! [`run`] reads the configuration, claims the state folder, binds every socket, starts the backends
//! and the life cycles, publishes the routes, and only then serves. Two runtimes: the data threads of
//! [`crate::listen`] forward requests; everything else runs on the control runtime made here.

mod backends;
mod cluster;
mod model;
mod names;
mod private;
mod router;
mod routes;
mod signals;
mod standing;
pub mod state;
pub mod takeover;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use crate::admin::token::Places;
use crate::admin::{AdminServer, EventLog};
use crate::backend::process;
use crate::config::settings::{BackendKind, Namespaces, Settings};
use crate::config::watch::Watch;
use crate::config::{self, Purpose};
use crate::lifecycle::{GateBudget, LifeEvent, Lifecycle, LifecycleSettings};
use crate::listen::{Listeners, Options, Quiet};
use crate::observe::logging::{self, LogFormat};
use crate::observe::{AccessLogWriter, Metrics, RouterStats};
use crate::proxy::{PrivatePorts, Rules, Shared, Snapshot, Targets};
use crate::route::Table;

use backends::Backends;
use cluster::Seat;
use router::Router;
use signals::{Signal, Signals};
use standing::Standing;
use state::State;
use takeover::{Admin, Inherited, Predecessor, Successors};

/// How long the admin API may still answer once everything else has ended.
const ADMIN_END: Duration = Duration::from_secs(1);

/// What kept the router from starting, as it is told to people.
type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// Runs a router until it is told to end; the exit code.
pub fn run(config: PathBuf, take_over: bool, log: LogFormat) -> ExitCode {
    if let Err(e) = logging::init(log) {
        eprintln!("landscape-router: {e}");
        return ExitCode::FAILURE;
    }
    let standing = Standing::take(&config, take_over);
    if let Err(e) = process::harden() {
        tracing::warn!("the process could not be hardened: {e}");
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.worker_threads(2).thread_name("control").enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            tracing::error!("no runtime could be started: {e}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match start(config, take_over, standing).await {
            Ok(running) => running.serve().await,
            Err(e) => {
                tracing::error!("{e}");
                ExitCode::FAILURE
            }
        }
    });
    // Nothing that still runs is waited for: what had to end has ended.
    runtime.shutdown_background();
    code
}

/// A router that serves, and what only its main loop needs.
struct Running {
    router: Arc<Router>,
    admin: Option<Admin>,
    state: State,
    signals: Signals,
    changes: mpsc::Receiver<()>,
    successors: Successors,
    predecessor: Option<Predecessor>,
}

async fn start(config: PathBuf, take_over: bool, standing: Standing) -> Result<Running, Refusal> {
    let signals = Signals::listen()?;
    let file = config.clone();
    let loaded = tokio::task::spawn_blocking(move || config::load(&file, Purpose::Run { previous: None })).await?;
    loaded.mistakes.iter().for_each(router::log);
    let sound = !loaded.has_errors(false);
    let Some(settings) = loaded.settings else {
        return Err(format!(
            "{} cannot be used; `landscape-router check` shows each mistake in its line",
            config.display()
        )
        .into());
    };
    let settings = Arc::new(settings);

    // What can fail comes before the predecessor gives anything up.
    let mut state = State::open(&settings.state)?;
    let mut predecessor = if take_over { Predecessor::find(state.path()).await? } else { None };
    if predecessor.is_none() {
        state.lock()?;
    }
    if let Some(mistake) = tokio::task::spawn_blocking(move || loaded.good.keep()).await? {
        router::log(&mistake);
    }
    let mut inherited = match &predecessor {
        Some(predecessor) => predecessor.listeners().await?,
        None => Inherited::default(),
    };
    let admin_socket = admin_socket(&settings, &mut inherited)?;
    let stats = Arc::new(RouterStats::default());
    stats.began(sound);
    let access_log = AccessLogWriter::start(settings.access_log.as_ref(), stats.access_log_dropped.clone())?;
    let rules = Rules::new(&settings, Vec::new(), None, None);
    let current =
        Arc::new(ArcSwap::from_pointee(Snapshot { table: Table::default(), private: PrivatePorts::default(), rules }));
    let targets = Targets::with_native_roots(Handle::current())?;
    let shared = Shared { stats: stats.clone(), log: access_log.log(), targets };
    let options = Options { threads: settings.listen.threads, max_connections: settings.listen.max_connections };
    let listeners = Arc::new(Listeners::start(options, shared, current.clone())?);
    let opened = listeners.open(&settings.listen.http, inherited.http)?;

    let survey = private::survey(&settings, &standing).await;
    let mut inherited_private = Vec::new();
    if let Some(predecessor) = &mut predecessor {
        predecessor.take_lives().await?;
        inherited_private = predecessor.take_private();
        state.lock()?;
    }
    let inherited_names = names::inherited(&mut inherited_private);
    let budget = GateBudget::new(settings.hold.max_requests, settings.hold.max_bytes);
    let lifecycle = Lifecycle::new(LifecycleSettings {
        state: state.path().to_owned(),
        budget: budget.clone(),
        paused_memory: settings.paused_memory,
    });
    let neighbours = lifecycle.neighbours().clone();
    let footing = (standing, survey);
    let private = private::start(&settings, footing, &state, listeners.clone(), neighbours, inherited_private).await;
    let seat = Seat::take();
    let names = names::ClusterNames::start(&settings, &seat, listeners.clone(), inherited_names).await?;
    let backends = Backends::start(&settings, state.instance(), &lifecycle, private.as_ref(), seat)?;
    let router = Arc::new(Router {
        health: Mutex::new(router::health(&config, sound, loaded.mistakes.iter().map(ToString::to_string).collect())),
        config,
        settings: ArcSwap::new(settings.clone()),
        lifecycle,
        backends,
        private,
        names,
        budget,
        current,
        listeners,
        admin: admin_socket.as_ref().map(|(_, socket)| socket.local_addr()).transpose()?,
        access_log: Mutex::new(access_log),
        stats: stats.clone(),
        events: EventLog::default(),
        metrics: ArcSwapOption::empty(),
        served: ArcSwap::from_pointee(HashMap::new()),
        watch: Mutex::default(),
        serving: AtomicBool::new(false),
        ending: AtomicBool::new(false),
        applying: tokio::sync::Mutex::default(),
    });
    router.metrics.store(Some(Arc::new(Metrics::new(stats, router.clone())?)));
    tokio::spawn(forward(router.lifecycle.events(), Arc::downgrade(&router)));
    router.begin(&settings, opened).await?;
    if let Some(predecessor) = &predecessor {
        predecessor.claim(&router.lifecycle);
    }

    let (changed, changes) = mpsc::channel(1);
    let tell = move || {
        // Full: a reload is waited for already.
        let _ = changed.try_send(());
    };
    *router.watch.lock() = Some(Watch::start(loaded.files, tell)?);
    let admin = match admin_socket {
        Some((address, socket)) => Some(serve_admin(address, socket, &router)?),
        None => None,
    };
    let successors = Successors::listen(state.path())?;
    router.serving.store(true, Ordering::Release);
    for address in router.listeners.addresses() {
        tracing::info!("listening on http://{address}");
    }
    if policies(&settings).any(|p| p.backend == BackendKind::Process) {
        let apart = router.private.as_ref().is_some_and(|p| p.network().is_some())
            && settings.process.namespaces != Namespaces::Off;
        tracing::warn!("{}", process::trust_notice(apart));
    }
    let services = router.served.load().len();
    tracing::info!("ready: {} landscapes, {services} services", settings.landscapes.len());
    Ok(Running { router, admin, state, signals, changes, successors, predecessor })
}

fn admin_socket(settings: &Settings, inherited: &mut Inherited) -> Result<Option<(SocketAddr, TcpListener)>, Refusal> {
    let Some(address) = settings.listen.admin else { return Ok(None) };
    let socket = match inherited.admin(address) {
        Some(socket) => socket,
        None => TcpListener::bind(address).map_err(|e| {
            format!("listen.admin: {address} cannot be bound: {e}; choose another port, or `admin: off`")
        })?,
    };
    socket.set_nonblocking(true)?;
    Ok(Some((address, socket)))
}

fn serve_admin(address: SocketAddr, socket: TcpListener, router: &Arc<Router>) -> Result<Admin, Refusal> {
    let port = socket.local_addr()?.port();
    let (token, file) = Places::of_user().establish(port)?;
    let listener = tokio::net::TcpListener::from_std(socket.try_clone()?)?;
    let server = AdminServer::start(listener, router.clone(), token)?;
    tracing::info!("admin API on http://{}, its token in {}", server.address(), file.display());
    Ok(Admin { server, address, socket })
}

/// Passes what happens to services on to those who watch.
async fn forward(mut events: broadcast::Receiver<LifeEvent>, router: std::sync::Weak<Router>) {
    loop {
        match events.recv().await {
            Ok(event) => match router.upgrade() {
                Some(router) => router.events.publish(Some(event.landscape.clone()), &event),
                None => return,
            },
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "events were not told");
                if let Some(router) = router.upgrade() {
                    router.events.gap();
                }
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

impl Running {
    async fn serve(mut self) -> ExitCode {
        let accompanied = self.predecessor.take().map(|p| tokio::spawn(p.accompany(self.router.clone())));
        loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    Signal::End => break,
                    Signal::Reload => {
                        self.router.access_log.lock().reopen();
                        self.router.reload().await;
                    }
                },
                Some(()) = self.changes.recv() => { self.router.reload().await; }
                successor = self.successors.next() => {
                    match successor.hand_over(&self.router, &mut self.admin, &mut self.state, &mut self.successors).await {
                        Ok(Some(owner)) => return self.follow(owner, accompanied).await,
                        Ok(None) => {}
                        Err(e) => tracing::warn!("a take-over came to nothing, this router goes on: {e}"),
                    }
                }
            }
        }
        self.end().await
    }

    /// Ends: not ready, no new connections, what is in flight goes on until its deadline.
    async fn end(self) -> ExitCode {
        tracing::info!("ending: requests in flight may finish");
        self.router.ending.store(true, Ordering::Release);
        let router = &self.router;
        let settings = router.settings.load_full();
        *router.watch.lock() = None;
        let deadline = drain_timeout(&settings);
        let mut signals = self.signals;
        let orderly = async {
            // First, for nobody can be led to a port that is closed, or to a life that has ended.
            if let Some(names) = &router.names {
                names.end(router.backends.is_alone()).await;
            }
            router.backends.leave_nothing(&settings);
            let stops = |kind| Backends::end_with_router(kind, &settings);
            tokio::join!(router.listeners.drain(deadline, Quiet::Ended), router.lifecycle.shutdown(stops));
            if let Some(routers) = router.backends.routers() {
                routers.end().await;
            }
            router.backends.shutdown(&settings, stop_grace(&settings)).await;
            if let Some(private) = &router.private {
                private.end(!Backends::end_with_router(BackendKind::Docker, &settings)).await;
            }
            if let Some(admin) = self.admin {
                admin.server.shutdown(ADMIN_END).await;
            }
        };
        let code = tokio::select! {
            () = orderly => ExitCode::SUCCESS,
            () = signals.end() => {
                tracing::warn!("told to end a second time: not waiting any longer");
                ExitCode::FAILURE
            }
        };
        tracing::info!("ended");
        code
    }

    /// Forwards what is left after a take-over, and ends.
    /// A predecessor that still forwards is accompanied to its end: what it uses counts as used here.
    async fn follow(self, owner: takeover::Owner, accompanied: Option<JoinHandle<()>>) -> ExitCode {
        tracing::info!("taken over: what is in flight goes on here, everything new is the successor's");
        self.router.ending.store(true, Ordering::Release);
        *self.router.watch.lock() = None;
        let mut signals = self.signals;
        tokio::select! {
            () = owner.follow(&self.router, accompanied) => tracing::info!("ended: nothing is left to forward"),
            () = signals.end() => tracing::warn!("told to end: not waiting any longer"),
        }
        ExitCode::SUCCESS
    }
}

/// The longest that any service lets its requests go on.
fn drain_timeout(settings: &Settings) -> Duration {
    policies(settings).map(|p| p.drain_timeout).max().unwrap_or(Duration::from_secs(30))
}

fn stop_grace(settings: &Settings) -> Duration {
    policies(settings).map(|p| p.stop_grace).max().unwrap_or(Duration::from_secs(10))
}

fn policies(settings: &Settings) -> impl Iterator<Item = &Arc<crate::config::settings::Policy>> {
    settings.landscapes.iter().flat_map(|l| &l.policies).map(|(_, policy)| policy)
}
