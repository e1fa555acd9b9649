//! Whole lifecycles around an in-memory backend whose replicas are listeners in this process.

mod changes;
mod scaled;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::*;
use crate::backend::*;
use crate::config::settings::{BackendKind, Mode, Policy};
use crate::landscape::{LandscapeSpec, RunDigest, ServiceKey, ServiceSpec};

const PATIENCE: Duration = Duration::from_secs(20);
/// A step that does not end by itself.
const HANGS: &str = "sleep infinity";

struct Running {
    task: AbortHandle,
    address: SocketAddr,
    digest: RunDigest,
}

/// Replicas are listeners; what they do is set before they start.
struct Fake {
    kind: BackendKind,
    to: Observer,
    running: Arc<Mutex<BTreeMap<(ServiceKey, ReplicaId), Running>>>,
    starts: AtomicUsize,
    jobs: AtomicUsize,
    jobs_now: AtomicUsize,
    exits: bool,
    job_takes: Duration,
    stop_takes: Duration,
    unreachable: AtomicUsize,
    scaled: Option<u32>,
}

impl Fake {
    fn connected(life: &Lifecycle, change: impl FnOnce(&mut Self)) -> Arc<Self> {
        let (to, observations) = mpsc::unbounded_channel();
        let mut fake = Self {
            kind: BackendKind::Process,
            to,
            running: Arc::default(),
            starts: AtomicUsize::new(0),
            jobs: AtomicUsize::new(0),
            jobs_now: AtomicUsize::new(0),
            exits: false,
            job_takes: Duration::from_millis(20),
            stop_takes: Duration::from_millis(20),
            unreachable: AtomicUsize::new(0),
            scaled: None,
        };
        change(&mut fake);
        let fake = Arc::new(fake);
        life.connect(fake.clone(), observations);
        fake
    }

    fn see(&self, service: &ServiceKey, seen: Seen) {
        drop(self.to.send(Observation { service: service.clone(), seen }));
    }

    fn start(&self, service: &ServiceKey, w: &WantReplica) {
        self.starts.fetch_add(1, SeqCst);
        if self.exits {
            return self.see(service, Seen::Ended(w.id, fixtures::exited()));
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                drop(listener.accept().await);
            }
        });
        let running = Running { task: task.abort_handle(), address, digest: w.spec.run_digest() };
        self.running.lock().insert((service.clone(), w.id), running);
        self.see(service, Seen::Running(w.id, Addresses::new(vec![(3000, address)])));
    }
}

#[async_trait]
impl Backend for Fake {
    fn kind(&self) -> BackendKind {
        self.kind
    }
    fn abilities(&self) -> Abilities {
        Abilities { pause: false, local: true, shared_ports: true }
    }
    fn runnable(&self, _: &ServiceSpec) -> Result<(), String> {
        Ok(())
    }
    async fn adopt(&self) -> Result<Vec<Found>, BackendError> {
        if self.unreachable.load(SeqCst) > 0 {
            self.unreachable.fetch_sub(1, SeqCst);
            return Err(BackendError::Unreachable("no engine".to_owned()));
        }
        let found = self.running.lock();
        let found = found.iter().map(|((service, id), r)| Found {
            service: service.clone(),
            id: *id,
            digest: r.digest.clone(),
            goal: Some(Goal::Run),
            addresses: Addresses::new(vec![(3000, r.address)]),
            since: std::time::SystemTime::now(),
        });
        Ok(found.collect())
    }
    fn scaled(&self, _: &ServiceKey) -> Option<u32> {
        self.scaled
    }
    fn apply(&self, want: Want) {
        let known: Vec<_> = self.running.lock().keys().filter(|(s, _)| *s == want.service).cloned().collect();
        for key in known.iter().filter(|(_, id)| !want.replicas.iter().any(|w| w.id == *id)) {
            let Some(r) = self.running.lock().remove(key) else { continue };
            r.task.abort();
            let (to, takes, (service, id)) = (self.to.clone(), self.stop_takes, key.clone());
            tokio::spawn(async move {
                tokio::time::sleep(takes).await;
                drop(to.send(Observation { service, seen: Seen::Stopped(id) }));
            });
        }
        for w in want.replicas.iter().filter(|w| !known.iter().any(|(_, id)| *id == w.id)) {
            self.start(&want.service, w);
        }
    }
    async fn run_job(&self, job: Job, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Failure> {
        self.jobs.fetch_add(1, SeqCst);
        let others = self.jobs_now.fetch_add(1, SeqCst);
        assert_eq!(others, 0, "two preparations of one landscape at the same time");
        progress(Progress { text: "step 1".to_owned(), fraction: None });
        let result = if job.landscape.prepare.iter().any(|s| s.command == HANGS) {
            job.called_off.cancelled().await;
            // Its processes need a moment to end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(fixtures::exited())
        } else {
            tokio::time::sleep(self.job_takes).await;
            Ok(())
        };
        self.jobs_now.fetch_sub(1, SeqCst);
        result
    }
    async fn owns_listener(&self, _: &ServiceKey, _: ReplicaId, _: &Door) -> Result<(), String> {
        Ok(())
    }
    async fn logs(&self, _: &ServiceKey, _: LogQuery) -> Result<mpsc::Receiver<LogLine>, BackendError> {
        Ok(mpsc::channel(1).1)
    }
    async fn shutdown(&self, _: bool, _: Duration) {}
}

struct Router {
    life: Lifecycle,
    backend: Arc<Fake>,
    _state: tempfile::TempDir,
}

impl Router {
    fn new(change: impl FnOnce(&mut Fake)) -> Self {
        let state = tempfile::tempdir().unwrap();
        let life = Lifecycle::new(LifecycleSettings {
            state: state.path().to_owned(),
            budget: GateBudget::new(10_000, 1 << 28),
            paused_memory: u64::MAX,
        });
        let backend = Fake::connected(&life, change);
        Self { life, backend, _state: state }
    }

    fn setup(&self, spec: ServiceSpec, policy: Policy, landscape: Arc<LandscapeSpec>) -> ServiceSetup {
        ServiceSetup {
            spec: Arc::new(spec),
            policy: Arc::new(policy),
            landscape,
            backend: self.backend.clone(),
            voice: None,
        }
    }

    fn web(&self, policy: Policy) -> Arc<Service> {
        self.life.configure(vec![self.setup(fixtures::spec("web", 1, 1), policy, fixtures::landscape(&[]))]);
        self.handle("web").service().clone()
    }

    fn handle(&self, name: &str) -> Handle {
        self.life.get(&ServiceKey::new("4711", name)).unwrap()
    }

    async fn until(&self, name: &str, wanted: StateName) {
        let mut state = self.handle(name).state();
        tokio::time::timeout(PATIENCE, state.wait_for(|s| *s == wanted)).await.unwrap().unwrap();
    }

    fn starts(&self) -> usize {
        self.backend.starts.load(SeqCst)
    }
}

/// Until it is so; panics when it takes too long.
async fn until(mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "it does not become so");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn demand() -> Demand {
    Demand { bytes: 100, ..Demand::of(Use::Counts) }
}

fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = fixtures::policy();
    change(&mut policy);
    policy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_request_gets_a_replica_and_the_next_one_at_once() {
    let r = Router::new(|_| {});
    let web = r.web(fixtures::policy());
    assert!(web.try_lease(Use::Counts, None).is_none());
    let held = web.hold(demand()).await.unwrap();
    assert!(held.waited > Duration::ZERO);
    held.lease.report(Outcome::Answered);
    let address = held.lease.door(3000).unwrap().address;
    tokio::net::TcpStream::connect(address).await.unwrap();
    assert!(web.try_lease(Use::Counts, None).is_some());
    assert_eq!((r.starts(), web.held(), web.in_flight()), (1, 0, 1));
    drop(held);
    let status = web.status();
    assert_eq!((status.state, status.in_flight, status.replicas.len()), (StateName::Ready, 0, 1));
    assert!(status.seconds_until_sleep.unwrap() > 50.0);
    assert!(serde_json::to_string(&status).unwrap().contains("\"secondsUntilSleep\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_thousand_simultaneous_requests_are_one_start_and_all_are_answered() {
    let r = Router::new(|_| {});
    let web = r.web(policy(|p| p.hold.max_requests = 9000));
    let all: Vec<_> = (0..9000)
        .map(|_| {
            let web = web.clone();
            tokio::spawn(async move {
                let held = web.hold(demand()).await.map_err(|r| format!("{r:?}"))?;
                held.lease.report(Outcome::Answered);
                Ok::<_, String>(())
            })
        })
        .collect();
    for one in all {
        tokio::time::timeout(PATIENCE, one).await.unwrap().unwrap().unwrap();
    }
    assert_eq!((r.starts(), web.held(), web.in_flight()), (1, 0, 0));
    assert!(web.try_lease(Use::Counts, None).is_some(), "the gate is open again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gate_has_no_place_for_is_refused_at_once() {
    let r = Router::new(|f| f.unreachable = AtomicUsize::new(usize::MAX));
    let web = r.web(policy(|p| p.hold.max_requests = 2));
    let wait = |web: Arc<Service>| tokio::spawn(async move { web.hold(demand()).await.map(drop) });
    let held = [wait(web.clone()), wait(web.clone())];
    until(|| web.held() == 2).await;
    assert!(matches!(web.hold(demand()).await, Err(Refusal::Overflow { .. })));
    held[0].abort();
    until(|| web.held() == 1).await;
    let third = wait(web.clone());
    until(|| web.held() == 2).await;
    assert!(!third.is_finished(), "the one that left gave its place back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_gets_the_page_and_an_api_call_its_deadline() {
    let r = Router::new(|f| f.unreachable = AtomicUsize::new(usize::MAX));
    let web = r.web(policy(|p| {
        p.hold.page_after = Duration::from_millis(5);
        p.hold.timeout = Duration::from_millis(50);
    }));
    assert_eq!(web.hold(Demand { page: true, ..demand() }).await.unwrap_err(), Refusal::Page);
    assert!(matches!(web.hold(demand()).await.unwrap_err(), Refusal::Deadline { .. }));
    assert_eq!(web.held(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_has_spent_before_is_of_its_deadline() {
    let r = Router::new(|f| f.unreachable = AtomicUsize::new(usize::MAX));
    let web = r.web(policy(|p| p.hold.timeout = 2 * PATIENCE));
    let late = Demand { waited: 2 * PATIENCE, ..demand() };
    let refusal = tokio::time::timeout(PATIENCE, web.hold(late)).await.unwrap().unwrap_err();
    assert!(matches!(refusal, Refusal::Deadline { .. }), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_answers_waiting_clients_at_once_with_the_reason() {
    let r = Router::new(|f| f.exits = true);
    let web = r.web(fixtures::policy());
    for _ in 0..3 {
        let begin = Instant::now();
        let Err(Refusal::Failed { public, .. }) = web.hold(demand()).await else { panic!("it cannot start") };
        assert_eq!(public, "The service exited right after its start.");
        assert!(begin.elapsed() < Duration::from_secs(5), "long before the deadline");
    }
    assert_eq!(r.starts(), 1);
    let failure = web.status().last_failure.unwrap();
    assert_eq!(failure.failure.detail, "exit status 3");
    assert!(failure.retry_in_ms.is_some());
    let error = r.handle("web").wake_and_wait(PATIENCE).await.unwrap_err();
    assert_eq!(error, CommandError::Failed("exit status 3".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_it_stops_and_a_request_while_it_stops_starts_it_again() {
    let r = Router::new(|f| f.stop_takes = Duration::from_millis(300));
    let web = r.web(policy(|p| p.idle_after = Duration::from_millis(50)));
    drop(web.hold(demand()).await.unwrap());
    r.until("web", StateName::Stopping).await;
    let held = web.hold(demand()).await.unwrap();
    assert_eq!(r.starts(), 2);
    drop(held);
    r.until("web", StateName::Off).await;
    assert!(r.backend.running.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn around_the_idle_boundary_no_request_fails() {
    let r = Router::new(|f| f.stop_takes = Duration::from_millis(1));
    let web = r.web(policy(|p| p.idle_after = Duration::from_millis(3)));
    for n in 0..300u64 {
        let lease = match web.try_lease(Use::Counts, None) {
            Some(lease) => lease,
            None => web.hold(demand()).await.unwrap().lease,
        };
        let address = lease.door(3000).unwrap().address;
        tokio::net::TcpStream::connect(address).await.unwrap();
        drop(lease);
        tokio::time::sleep(Duration::from_micros(2_000 + n % 20 * 150)).await;
    }
    assert!(r.starts() > 1, "it did sleep between");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stopped_listening_is_left_out_before_anyone_else_meets_it() {
    let r = Router::new(|_| {});
    let web = r.web(fixtures::policy());
    let held = web.hold(demand()).await.unwrap();
    let first = held.lease.replica().uid;
    // It dies without the backend telling.
    let (key, dead) = r.backend.running.lock().pop_first().unwrap();
    dead.task.abort();
    until(|| std::net::TcpStream::connect(dead.address).is_err()).await;
    held.lease.report(Outcome::ConnectFailed);
    assert!(web.try_lease(Use::Counts, None).is_none());
    let again = tokio::spawn({
        let web = web.clone();
        async move { web.hold(Demand { failed: Some(first), ..demand() }).await }
    });
    until(|| web.held() == 1).await;
    r.backend.see(&key.0, Seen::Ended(key.1, fixtures::exited()));
    let again = tokio::time::timeout(PATIENCE, again).await.unwrap().unwrap().unwrap();
    assert_ne!(again.lease.replica().uid, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepare_runs_once_for_all_services_and_once_for_all_routers() {
    let r = Router::new(|_| {});
    let always = || policy(|p| p.mode = Mode::AlwaysOn);
    let landscape = fixtures::landscape(&["make"]);
    let both = |l: &Arc<LandscapeSpec>| {
        let one = |name| r.setup(fixtures::spec(name, 1, 1), always(), l.clone());
        vec![one("api"), one("web")]
    };
    r.life.configure(both(&landscape));
    r.until("web", StateName::Ready).await;
    r.until("api", StateName::Ready).await;
    assert_eq!(r.backend.jobs.load(SeqCst), 1);
    r.life.configure(vec![]);
    until(|| r.backend.running.lock().is_empty()).await;
    r.life.configure(both(&landscape));
    r.until("web", StateName::Ready).await;
    assert_eq!(r.backend.jobs.load(SeqCst), 1, "the mark is in the state folder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dependency_wakes_and_sleeps_with_who_needs_it() {
    let r = Router::new(|_| {});
    let web = policy(|p| {
        p.depends_on = vec!["db".into()];
        p.idle_after = Duration::from_millis(300);
    });
    let mut db = fixtures::spec("db", 1, 1);
    db.paths.clear();
    r.life.configure(vec![
        r.setup(fixtures::spec("web", 1, 1), web.clone(), fixtures::landscape(&[])),
        r.setup(db, policy(|p| p.idle_after = Duration::from_millis(1)), fixtures::landscape(&[])),
    ]);
    drop(r.handle("web").service().hold(demand()).await.unwrap());
    r.until("db", StateName::Ready).await;
    assert!(r.handle("db").status().why.iter().any(|w| matches!(w, Why::NeededBy { .. })));
    r.until("web", StateName::Off).await;
    r.until("db", StateName::Off).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_router_adopts_what_runs_and_stops_what_is_not_configured() {
    let r = Router::new(|f| f.unreachable = AtomicUsize::new(1));
    // What an earlier router left.
    let spec = fixtures::spec("web", 1, 1);
    let id = ReplicaId { ordinal: 0, generation: 7 };
    for (name, spec) in [("web", spec.clone()), ("gone", fixtures::spec("gone", 1, 1))] {
        let key = ServiceKey::new("4711", name);
        r.backend.start(&key, &WantReplica { id, spec: Arc::new(spec), goal: Goal::Run });
    }
    let web = r.web(fixtures::policy());
    let held = web.hold(demand()).await.unwrap();
    assert_eq!(held.lease.replica().id, id);
    assert_eq!(r.starts(), 2, "only the two of the earlier router");
    until(|| r.backend.running.lock().len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepare_again_is_told_as_the_landscapes_events() {
    let r = Router::new(|_| {});
    r.life.configure(vec![r.setup(fixtures::spec("web", 1, 1), fixtures::policy(), fixtures::landscape(&["make"]))]);
    let mut events = r.life.events();
    let backend: Arc<dyn Backend> = r.backend.clone();
    r.life.prepare("4711", &backend, true).await.unwrap().unwrap();
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let (None, What::Progress { progress }) = (event.service, event.what) {
            told.push(progress.text);
        }
    }
    assert_eq!(told, ["step 1", "prepare is done"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_do_what_they_say() {
    let r = Router::new(|_| {});
    let web = r.web(fixtures::policy());
    let handle = r.handle("web");
    let mut events = r.life.events();
    handle.wake_and_wait(PATIENCE).await.unwrap();
    handle.command(Command::Pin).await.unwrap();
    assert!(handle.status().why.contains(&Why::Pinned));
    assert_eq!(handle.command(Command::Sleep).await, Err(CommandError::Pinned));
    handle.command(Command::Unpin).await.unwrap();
    handle.command(Command::Sleep).await.unwrap();
    r.until("web", StateName::Off).await;
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.extend(match event.what {
            What::Start { cause, .. } | What::Stop { cause, .. } => Some(cause),
            _ => None,
        });
    }
    assert_eq!(told, [Cause::Operator, Cause::Operator]);
    r.life.shutdown(|_| true).await;
    assert!(matches!(web.hold(demand()).await, Err(Refusal::ShuttingDown)));
    assert_eq!(handle.command(Command::Wake).await, Err(CommandError::Gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_joining_and_publishing() {
    // Without an actor: one task publishes and unpublishes as fast as it can, others come and go.
    let service = Service::new(ServiceKey::new("4711", "web"), Arc::default());
    let replica = || Arc::new(Replica::new(ReplicaId { ordinal: 0, generation: 1 }, Addresses::default()));
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                for n in 0..500 {
                    if n % 7 == 0 {
                        // One that leaves at once.
                        drop(tokio::time::timeout(Duration::ZERO, service.hold(demand())).await);
                    }
                    drop(service.hold(demand()).await.unwrap());
                }
            })
        })
        .collect();
    let all = async {
        for w in waiters {
            w.await.unwrap();
        }
    };
    tokio::pin!(all);
    let begin = Instant::now();
    loop {
        service.publish(ReadySet { replicas: vec![replica()] });
        service.publish(ReadySet::default());
        tokio::select! {
            () = &mut all => break,
            () = tokio::task::yield_now() => assert!(begin.elapsed() < PATIENCE, "a waiter was forgotten"),
        }
    }
    assert_eq!((service.held(), service.budget.requests(), service.budget.bytes()), (0, 0, 0));
}
