//! Probes against small servers of this process.

use std::sync::atomic::Ordering::SeqCst;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use std::net::SocketAddr;

use super::*;
use crate::backend::*;
use crate::config::settings::BackendKind;
use crate::landscape::ServiceKey;
use crate::lifecycle::fixtures;

const PATIENCE: Duration = Duration::from_secs(20);

/// Every socket belongs to its replica, or to this holder.
#[derive(Default)]
struct Owner {
    holder: Option<String>,
    asked: AtomicUsize,
    /// It listens on the declared number whatever it is mapped to.
    insists: bool,
}

#[async_trait]
impl Backend for Owner {
    fn kind(&self) -> BackendKind {
        BackendKind::Process
    }
    fn abilities(&self) -> Abilities {
        Abilities { pause: false, local: true, shared_ports: false }
    }
    fn runnable(&self, _: &ServiceSpec) -> Result<(), String> {
        Ok(())
    }
    async fn adopt(&self) -> Result<Vec<Found>, BackendError> {
        Ok(Vec::new())
    }
    fn apply(&self, _: Want) {}
    async fn run_job(&self, _: Job, _: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Failure> {
        Ok(())
    }
    async fn owns_listener(&self, _: &ServiceKey, _: ReplicaId, _: &Door) -> Result<(), String> {
        self.asked.fetch_add(1, SeqCst);
        self.holder.clone().map_or(Ok(()), Err)
    }
    async fn ignores_mapping(&self, _: &ServiceKey, _: ReplicaId, port: u16) -> Option<String> {
        self.insists.then(|| format!("it insists on {port}"))
    }
    async fn logs(&self, _: &ServiceKey, _: LogQuery) -> Result<mpsc::Receiver<LogLine>, BackendError> {
        Ok(mpsc::channel(1).1)
    }
    async fn shutdown(&self, _: bool, _: Duration) {}
}

/// Answers with these statuses, one a connection, the last one for ever; remembers what was asked.
fn serve(listener: TcpListener, statuses: &'static [&'static str]) -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let seen = asked.clone();
    tokio::spawn(async move {
        for n in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut head = vec![0; 1024];
            let Ok(length) = stream.read(&mut head).await else { continue };
            seen.lock().push(String::from_utf8_lossy(&head[..length]).into_owned());
            let status = statuses[n.min(statuses.len() - 1)];
            drop(stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await);
        }
    });
    asked
}

fn target(at: SocketAddr, health: Health, owner: &Arc<Owner>) -> Target {
    let mut spec = fixtures::spec("web", 1, 1);
    spec.health = health;
    Target {
        spec: Arc::new(spec),
        id: ReplicaId { ordinal: 0, generation: 1 },
        addresses: Addresses::new(vec![(3000, at), (9000, SocketAddr::new(at.ip(), 1))]),
        backend: owner.clone(),
    }
}

async fn listen(at: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn until_ready(target: &Target) -> (Start, Vec<String>) {
    let problems = Mutex::new(Vec::new());
    let prober = Prober::default();
    let start = tokio::time::timeout(PATIENCE, prober.until_ready(target, &|p| problems.lock().push(p))).await.unwrap();
    assert_eq!(prober.starting.load(SeqCst), 0, "it is not a starting one any more");
    (start, problems.into_inner())
}

#[tokio::test]
async fn without_an_endpoint_any_answer_below_500_is_ready() {
    let (listener, at) = listen("127.0.0.1:0").await;
    let asked = serve(listener, &["503 Not Yet", "500 Oh", "404 Not Found"]);
    let owner = Arc::default();
    let (start, problems) = until_ready(&target(at, Health::Default, &owner)).await;
    assert!(matches!(start, Start::Ready(_)));
    assert_eq!(
        problems,
        [
            "GET / at port 3000 answers 503, below 500 is healthy",
            "GET / at port 3000 answers 500, below 500 is healthy",
        ]
    );
    assert!(asked.lock()[0].starts_with("GET / HTTP/1.1\r\nHost: localhost:3000\r\n"));
    assert_eq!(owner.asked.load(SeqCst), 1, "the owner is looked up once");
}

#[tokio::test]
async fn an_endpoint_is_healthy_from_200_to_399_and_redirects_are_not_followed() {
    let (listener, at) = listen("127.0.0.1:0").await;
    let asked = serve(listener, &["404 Not Found", "302 Found"]);
    let health = Health::Http { port: 3000, path: "/ready?x=1".to_owned(), tls: false };
    let (start, problems) = until_ready(&target(at, health, &Arc::default())).await;
    assert!(matches!(start, Start::Ready(_)));
    assert_eq!((problems.len(), asked.lock().len()), (1, 2));
    assert!(asked.lock()[1].starts_with("GET /ready?x=1 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn another_programs_socket_is_not_asked_anything() {
    let (listener, at) = listen("127.0.0.1:0").await;
    let asked = serve(listener, &["200 OK"]);
    let owner = Arc::new(Owner { holder: Some("nginx (pid 7)".to_owned()), ..Owner::default() });
    let (start, _) = until_ready(&target(at, Health::Default, &owner)).await;
    assert_eq!(start, Start::TakenBy("nginx (pid 7)".to_owned()));
    assert!(asked.lock().iter().all(String::is_empty));
}

#[tokio::test]
async fn one_that_insists_on_a_port_it_was_not_given_is_not_waited_for() {
    let (listener, at) = listen("127.0.0.1:0").await;
    drop(listener);
    let owner = Arc::new(Owner { insists: true, ..Owner::default() });
    let (start, problems) = until_ready(&target(at, Health::Default, &owner)).await;
    assert_eq!(start, Start::TakenBy("it insists on 3000".to_owned()));
    assert!(problems[0].contains("does not accept"), "{problems:?}");
}

#[tokio::test]
async fn what_listens_later_is_found_and_what_listens_on_ipv6_alone_too() {
    // Where this machine has no IPv6 loopback there is nothing to find.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let six = listener.local_addr().unwrap();
    drop(listener);
    let at = SocketAddr::from(([127, 0, 0, 1], six.port()));
    let later = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(30)).await;
        TcpListener::bind(six).await.unwrap()
    });
    let (start, problems) = until_ready(&target(at, Health::Tcp { port: 3000 }, &Arc::default())).await;
    let Start::Ready(addresses) = start else { panic!("{start:?}") };
    assert_eq!(addresses.of(3000), Some(Door::at(six)));
    assert!(addresses.of(9000).unwrap().address.is_ipv6(), "its other ports are at the same address");
    assert!(problems[0].contains("does not accept"), "{problems:?}");
    drop(later.await);
}

#[tokio::test]
async fn a_ready_replica_that_fails_is_told_why() {
    let (listener, at) = listen("127.0.0.1:0").await;
    serve(listener, &["200 OK", "500 Oh"]);
    let target = target(at, Health::Default, &Arc::default());
    let prober = Prober::default();
    prober.check(&target).await.unwrap();
    assert_eq!(prober.check(&target).await.unwrap_err(), "GET / at port 3000 answers 500, below 500 is healthy");
}
