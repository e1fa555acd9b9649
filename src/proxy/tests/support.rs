//! A router on ephemeral ports, raw clients, scripted upstreams.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::backend::{Addresses, ReplicaId};
use crate::config::settings::{
    BackendKind, HalfClosed, Limits, Mode, Policy, ServiceHold, Sticky, Timeouts, WakeRule, WhenIdle,
};
use crate::landscape::{
    Health, Home, LandscapeSpec, PathRule, PathTarget, Plan, Port, ServiceKey, ServiceSpec, TargetGuard, TargetUrl,
    Workload,
};
use crate::lifecycle::service::ReadySet;
use crate::lifecycle::{Replica, Service};
use crate::listen::{Listeners, Options};
use crate::observe::{AccessLog, RouterStats, ServiceStats};
use crate::proxy::{Called, Endpoint, PrivatePort, PrivatePorts, Rules, Shared, Snapshot, Target, Targets};
use crate::route::{PrefixTree, Route, TableBuilder};

/// Longer than anything should take; a test that waits for it has failed.
pub const LONG: Duration = Duration::from_secs(10);

/// The host of the landscape that every test has.
pub const HOST: &str = "4711.localhost";

pub struct Setup {
    pub rules: Rules,
    pub policy: Policy,
    pub strip: bool,
    pub prefix: &'static str,
    pub target: Option<TargetUrl>,
    pub roots: rustls::RootCertStore,
    pub options: Options,
    pub log: AccessLog,
    /// Landscapes beside the first, which share the domain `shared.example` with it.
    pub others: Vec<(&'static str, SocketAddr)>,
}

pub fn policy() -> Policy {
    Policy {
        mode: Mode::OffWhenUnused,
        idle_after: LONG,
        when_idle: WhenIdle::Stop,
        start_timeout: LONG,
        stop_grace: LONG,
        drain_timeout: LONG,
        backend: BackendKind::Process,
        depends_on: vec![],
        wake: WakeRule::WithLandscape,
        sticky: Sticky::Off,
        hold: ServiceHold {
            max_requests: 100,
            max_bytes: usize::MAX,
            timeout: LONG,
            page_after: Duration::from_millis(50),
            release: 256,
            half_closed: HalfClosed::Leave,
        },
        traffic: Arc::new([]),
        idle_bytes: None,
        attach: None,
        protocols: Vec::new(),
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rules: Rules {
                trusted_proxies: Arc::new([]),
                timeouts: Timeouts {
                    connect: Duration::from_secs(2),
                    header: LONG,
                    response: LONG,
                    idle: Duration::from_secs(60),
                },
                limits: Limits { header: 64 * 1024, headers: 128, body: 1 << 30 },
                keep_header_case: false,
                targets: TargetGuard::default(),
            },
            policy: policy(),
            strip: false,
            prefix: "/",
            target: None,
            roots: rustls::RootCertStore::empty(),
            options: Options { threads: 1, max_connections: 1000 },
            log: AccessLog::off(),
            others: vec![],
        }
    }
}

/// A running router with one landscape of one service.
pub struct Router {
    pub listeners: Listeners,
    pub address: SocketAddr,
    pub service: Arc<Service>,
    pub stats: Arc<RouterStats>,
    current: Arc<ArcSwap<Snapshot>>,
    control: tokio::runtime::Runtime,
}

impl Router {
    pub fn new(setup: Setup) -> Self {
        let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let key = ServiceKey::new("4711", "web");
        let service = Service::with(
            key.clone(),
            Arc::new(ServiceStats::default()),
            setup.policy.hold.clone(),
            crate::lifecycle::GateBudget::new(usize::MAX, usize::MAX),
        );
        let to = match &setup.target {
            Some(url) => PathTarget::Url(url.clone()),
            None => PathTarget::Port(3000),
        };
        let spec = landscape(&key, setup.prefix, setup.strip, to);
        let policy = Arc::new(setup.policy);
        let mut table = TableBuilder::new("localhost");
        table.landscape(&spec, |spec, to| {
            let target = match to {
                PathTarget::Port(port) => Target::Replicas { service: service.clone(), port: *port },
                PathTarget::Url(url) => Target::Url(url.clone()),
            };
            Endpoint::new(spec.key.clone(), service.stats().clone(), policy.clone(), target)
        });
        table.invalid("bad".into(), "never was good");
        let mut shared = vec!["4711"];
        for (id, address) in &setup.others {
            let key = ServiceKey::new(*id, "web");
            let other = Service::new(key.clone(), Arc::new(ServiceStats::default()));
            let replica = Replica::new(ReplicaId { ordinal: 0, generation: 1 }, Addresses::new(vec![(3000, *address)]));
            {
                let _entered = control.enter();
                other.publish(ReadySet { replicas: vec![Arc::new(replica)] });
            }
            table.landscape(&landscape(&key, "/", false, PathTarget::Port(3000)), |spec, _| {
                let target = Target::Replicas { service: other.clone(), port: 3000 };
                Endpoint::new(spec.key.clone(), other.stats().clone(), policy.clone(), target)
            });
            shared.push(id);
        }
        table.domain("shared.example", &[("/", shared)]);
        let to = Target::Replicas { service: service.clone(), port: 3000 };
        let to = Endpoint::new(key.clone(), service.stats().clone(), policy.clone(), to);
        let mut private = PrivatePorts::default();
        let port = private_port(&key, service.stats().clone(), to);
        let called = Called { name: "ws-server-4711-web".into(), port: 3000 };
        private.by_name.entry(key.landscape.clone()).or_default().insert(called, Arc::new(port));
        let snapshot = Snapshot { table: table.build().unwrap(), private, rules: setup.rules };
        let current = Arc::new(ArcSwap::from_pointee(snapshot));
        let stats = Arc::new(RouterStats::default());
        let shared = Shared {
            stats: stats.clone(),
            log: setup.log,
            targets: Targets::new(control.handle().clone(), setup.roots).unwrap(),
        };
        let listeners = Listeners::start(setup.options, shared, current.clone()).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let address = listeners.serve(listeners.open(&[any], Vec::new()).unwrap())[0];
        Self { listeners, address, service, stats, current, control }
    }

    /// With one ready replica at `address`.
    pub fn before(address: SocketAddr, setup: Setup) -> Self {
        let router = Self::new(setup);
        router.ready(&[address]);
        router
    }

    /// These are the ready replicas from now on.
    pub fn ready(&self, addresses: &[SocketAddr]) -> Vec<Arc<Replica>> {
        static GENERATION: AtomicUsize = AtomicUsize::new(1);
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed) as u64;
        let replicas: Vec<_> = (0..)
            .zip(addresses)
            .map(|(ordinal, a)| {
                Arc::new(Replica::new(ReplicaId { ordinal, generation }, Addresses::new(vec![(3000, *a)])))
            })
            .collect();
        let _entered = self.control.enter();
        self.service.publish(ReadySet { replicas: replicas.clone() });
        replicas
    }

    pub fn control(&self) -> &tokio::runtime::Handle {
        self.control.handle()
    }

    pub fn current(&self) -> Arc<ArcSwap<Snapshot>> {
        self.current.clone()
    }

    /// Listens on exactly these; the addresses as bound.
    pub fn listen(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        self.listeners.serve(self.listeners.open(addresses, Vec::new()).unwrap())
    }

    pub fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// One request on a connection of its own, and the whole answer.
    pub fn ask(&self, request: &str) -> Answer {
        let mut client = self.client();
        client.send(request);
        client.answer()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.control.block_on(future)
    }
}

/// The private port 3000 of a service.
fn private_port(key: &ServiceKey, stats: Arc<ServiceStats>, target: Arc<Endpoint>) -> PrivatePort {
    let mut paths = PrefixTree::default();
    let route = Route {
        target,
        landscape: key.landscape.clone(),
        service: key.service.clone(),
        to: PathTarget::Port(3000),
        prefix: Some("/".into()),
        strip: 0,
    };
    assert!(paths.insert("/", route).is_ok());
    PrivatePort { key: key.clone(), stats, protocol: None, paths, idle: LONG }
}

fn landscape(key: &ServiceKey, prefix: &str, strip: bool, to: PathTarget) -> LandscapeSpec {
    let home = Arc::new(Home::new(key.landscape.clone(), "", "localhost", PathBuf::from("/nowhere")));
    let spec = ServiceSpec {
        key: key.clone(),
        home: home.clone(),
        workload: match to {
            PathTarget::Port(_) => Workload::Reactive { steps: vec![], base: None },
            PathTarget::Url(_) => Workload::Headless,
        },
        plan: Plan { id: "default".into(), cpu: 1.0, memory: 1 << 30, max_replicas: 10 },
        replicas: 1,
        health: Health::Default,
        ports: vec![Port { number: 3000, public: false }],
        primary_port: 3000,
        paths: vec![PathRule { prefix: prefix.into(), strip, to }],
        env: Default::default(),
        user: None,
        group: None,
        mounts: vec![],
    };
    LandscapeSpec {
        home,
        prepare: vec![],
        test: vec![],
        services: [(key.service.clone(), Arc::new(spec))].into_iter().collect(),
    }
}

/// Waits for something that happens on another thread.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < LONG, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// A client that writes and reads bytes.
pub struct Client {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// A field's value; several lines are joined.
    pub fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn error(&self) -> String {
        self.field("x-landscape-error").unwrap_or_default()
    }
}

pub fn field(head: &str, name: &str) -> Option<String> {
    let values: Vec<&str> = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

impl Client {
    pub fn to(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    /// On a connection that somebody else made.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    fn more(&mut self) -> bool {
        let mut buf = [0; 65536];
        let n =
            self.stream.read(&mut buf).unwrap_or_else(|e| panic!("reading an answer: {e}; so far {:?}", self.so_far()));
        self.read.extend_from_slice(&buf[..n]);
        n > 0
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.read[..self.read.len().min(2000)]).into_owned()
    }

    pub fn head(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.more(), "closed before a head: {:?}", self.so_far());
        }
    }

    pub fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.read.len() < n {
            assert!(self.more(), "closed early: {:?}", self.so_far());
        }
        self.read.drain(..n).collect()
    }

    pub fn line(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.read, b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return String::from_utf8(line).unwrap();
            }
            assert!(self.more(), "closed early: {:?}", self.so_far());
        }
    }

    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.read)
    }

    /// Whether the other side has closed, without a further byte.
    pub fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more()
    }

    pub fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(self.line().trim(), 16).unwrap();
        let data = self.exactly(size);
        if size > 0 {
            self.line();
        }
        data
    }

    /// A whole answer to something other than HEAD.
    pub fn answer(&mut self) -> Answer {
        let head = self.head();
        let status = status(&head);
        let body = if matches!(status, 204 | 304 | 100..=199) {
            Vec::new()
        } else if let Some(length) = field(&head, "content-length") {
            self.exactly(length.parse().unwrap())
        } else if field(&head, "transfer-encoding").is_some() {
            let mut body = Vec::new();
            loop {
                let chunk = self.chunk();
                if chunk.is_empty() {
                    break;
                }
                body.extend(chunk);
            }
            while self.line() != "\r\n" {}
            body
        } else {
            self.rest()
        };
        Answer { status, head, body }
    }
}

pub fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {head:?}")).parse().unwrap()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

/// An upstream: a script a connection, each on a thread of its own.
pub struct Upstream {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// `script` gets each connection with its number, from 0.
    pub fn new(script: impl Fn(&mut Client, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (script, counted) = (Arc::new(script), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (script, number) = (script.clone(), counted.fetch_add(1, Ordering::Relaxed));
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(LONG * 2)).unwrap();
                    let mut client = Client { stream, read: Vec::new() };
                    script(&mut client, number);
                });
            }
        });
        Self { address, connections }
    }

    /// Answers every request: `answer` gets the head and the body that its framing says.
    pub fn answering(answer: impl Fn(&str, &[u8]) -> String + Send + Sync + 'static) -> Self {
        Self::new(move |client, _| {
            while let Some(head) = client.request() {
                let body = client.request_body(&head);
                client.send(answer(&head, &body));
            }
        })
    }

    /// Answers every request with its own head as the body.
    pub fn echo() -> Self {
        Self::answering(|head, body| {
            let all = format!("{head}{}", String::from_utf8_lossy(body));
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{all}", all.len())
        })
    }

    pub fn count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Client {
    /// The next request's head, as an upstream reads it; `None` at the end.
    pub fn request(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            let mut buf = [0; 65536];
            match self.stream.read(&mut buf) {
                Ok(n) if n > 0 => self.read.extend_from_slice(&buf[..n]),
                _ => return None,
            }
        }
    }

    pub fn request_body(&mut self, head: &str) -> Vec<u8> {
        if let Some(length) = field(head, "content-length") {
            return self.exactly(length.parse().unwrap());
        }
        if field(head, "transfer-encoding").is_none() {
            return Vec::new();
        }
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk();
            if chunk.is_empty() {
                break;
            }
            body.extend(chunk);
        }
        while self.line() != "\r\n" {}
        body
    }
}
