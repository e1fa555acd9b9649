//! The connection to the API server: there, or lost and waited for.
//!
//! The client makes connections as it needs them; what is kept here is what is known of the other end.
//! A call or a watch that fails raises a suspicion, which one cheap request confirms or not. The same
//! request now and then keeps a connection open, so that a wake does not begin with a handshake.

use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::version::Info;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::connect::{Cluster, connect};
use super::trouble;
use crate::config::settings::KubernetesSettings;

/// The longest that an answer to a call is waited for.
pub(super) const CALL: Duration = Duration::from_secs(10);
/// How often the connection is used though nothing is to be said. Clients close theirs after 90 s.
const KEPT_WARM: Duration = Duration::from_secs(30);
/// How often a lost server is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// How often it is said in the log that a server is still away.
const SAID_AGAIN: Duration = Duration::from_secs(60);
/// How long a server may take to say that it is there.
const HELLO: Duration = Duration::from_secs(3);

/// What is known of the other end.
#[derive(Clone)]
pub(super) enum State {
    /// Nothing yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not: why.
    Lost(String),
}

/// See the module's words.
pub(super) struct Link {
    cluster: watch::Sender<Option<Arc<Cluster>>>,
    state: watch::Sender<State>,
    suspicion: Notify,
    why: Mutex<Option<String>>,
}

impl Link {
    pub(super) fn new() -> Self {
        Self {
            cluster: watch::Sender::new(None),
            state: watch::Sender::new(State::Unknown),
            suspicion: Notify::new(),
            why: Mutex::default(),
        }
    }

    /// The cluster, once it is known which one.
    pub(super) fn now(&self) -> Option<Arc<Cluster>> {
        self.cluster.borrow().clone()
    }

    /// Waits until it is known which cluster.
    pub(super) async fn known(&self) -> Option<Arc<Cluster>> {
        let mut cluster = self.cluster.subscribe();
        cluster.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// What is known of it.
    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until it answers.
    pub(super) async fn up(&self) {
        let mut state = self.state.subscribe();
        if state.wait_for(|s| matches!(s, State::Up)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A call got no answer: whether the server is there is found out.
    pub(super) fn suspect(&self, why: String) {
        *self.why.lock() = Some(why);
        self.suspicion.notify_one();
    }

    /// Connects, and tells of every change for as long as the backend lives.
    pub(super) async fn supervise(&self, settings: KubernetesSettings, tell: impl Fn(&State)) {
        let mut log = Log::default();
        let cluster = loop {
            match connect(&settings, None).await {
                Ok(cluster) => break Arc::new(cluster),
                Err(why) => {
                    log.lost(&why, Instant::now());
                    self.become_(State::Lost(why), &tell);
                }
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        self.cluster.send_replace(Some(cluster.clone()));
        loop {
            // What was suspected until now, this finds out.
            let suspected = self.suspicion.notified();
            match hello(&cluster).await {
                Ok(()) => {
                    log.back();
                    self.become_(State::Up, &tell);
                    tokio::select! {
                        () = tokio::time::sleep(KEPT_WARM) => {}
                        () = suspected => {}
                    }
                }
                Err(why) => {
                    log.lost(&why, Instant::now());
                    self.become_(State::Lost(why), &tell);
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    fn become_(&self, state: State, tell: &impl Fn(&State)) {
        let same = match (&*self.state.borrow(), &state) {
            (State::Up, State::Up) => true,
            (State::Lost(before), State::Lost(now)) => before == now,
            _ => false,
        };
        if !same {
            self.state.send_replace(state.clone());
            tell(&state);
        }
    }
}

/// What is said of a server's absence: its beginning, and then that it lasts.
#[derive(Default)]
struct Log {
    /// When it was said last.
    said: Option<Instant>,
    /// Tries since then.
    tries: u32,
}

impl Log {
    fn lost(&mut self, why: &str, now: Instant) {
        self.tries += 1;
        let Some(tries) = self.due(now) else { return };
        match tries {
            None => tracing::warn!("the Kubernetes cluster cannot be reached: {why}"),
            Some(tries) => tracing::warn!(tries, "the Kubernetes cluster can still not be reached: {why}"),
        }
    }

    /// Whether it is to be said now; after so many tries if it was said before.
    fn due(&mut self, now: Instant) -> Option<Option<u32>> {
        let again = self.said.is_some();
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < SAID_AGAIN) {
            return None;
        }
        self.said = Some(now);
        let tries = std::mem::take(&mut self.tries);
        Some(again.then_some(tries))
    }

    fn back(&mut self) {
        if std::mem::take(self).said.is_some() {
            tracing::info!("the Kubernetes cluster answers");
        }
    }
}

/// Why nothing was answered.
enum Silence {
    /// The connection broke, or there is none.
    Broken(String),
    /// It takes too long, or somebody on the way says that it is not there.
    Other(String),
}

/// Whether the API server answers. One that refuses answers, too.
async fn hello(cluster: &Cluster) -> Result<(), String> {
    let answer = match ask(cluster).await {
        // One that was kept open may have been closed by the other end, and nobody had noticed.
        Err(Silence::Broken(_)) => ask(cluster).await,
        answer => answer,
    };
    answer.map_err(|(Silence::Broken(why) | Silence::Other(why))| why)
}

async fn ask(cluster: &Cluster) -> Result<(), Silence> {
    let why = |error: &kube::Error| format!("{}: {}", cluster.url, trouble::text(error));
    match tokio::time::timeout(HELLO, cluster.client.apiserver_version()).await {
        Ok(Ok(version)) => {
            if is_too_old(&version) {
                TOO_OLD.call_once(|| {
                    tracing::warn!("services' pods take Kubernetes 1.30 or newer, and this is {}", version.git_version)
                });
            }
            Ok(())
        }
        Ok(Err(error)) if !trouble::is_away(&error) => Ok(()),
        Ok(Err(error @ kube::Error::Api(_))) => Err(Silence::Other(why(&error))),
        Ok(Err(error)) => Err(Silence::Broken(why(&error))),
        Err(_) => Err(Silence::Other(format!("{} does not answer", cluster.url))),
    }
}

/// Told once.
static TOO_OLD: Once = Once::new();

/// Whether it does not know `preStop.sleep`.
fn is_too_old(version: &Info) -> bool {
    let number = |text: &str| text.trim_end_matches('+').parse().unwrap_or(u32::MAX);
    (number(&version.major), number(&version.minor)) < (1, 30)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::backend::kubernetes::manifest::fixtures::settings;

    /// An API server that answers one request on each connection, and closes at the next.
    async fn answers_once(listener: TcpListener, connections: watch::Sender<usize>) {
        while let Ok((stream, _)) = listener.accept().await {
            connections.send_modify(|n| *n += 1);
            tokio::spawn(answer_once(stream));
        }
    }

    async fn answer_once(mut stream: TcpStream) {
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
            let n = stream.read(&mut buffer).await.unwrap();
            seen.extend_from_slice(&buffer[..n]);
        }
        let body = r#"{"major":"1","minor":"33"}"#;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length";
        stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
        // The next one is not answered.
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
    }

    async fn cluster(listener: &TcpListener) -> (tempfile::TempDir, Cluster) {
        // The tests' binary has no main that does so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let at = listener.local_addr().unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{ name: c, cluster: {{ server: 'http://{at}' }} }}]\n\
             users: [{{ name: u, user: {{}} }}]\n\
             contexts: [{{ name: c, context: {{ cluster: c, user: u }} }}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let settings = KubernetesSettings { kubeconfig: Some(path), ..settings() };
        (folder, connect(&settings, None).await.unwrap())
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_meanwhile_is_no_loss() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_folder, cluster) = cluster(&listener).await;
        let connections = watch::Sender::new(0);
        let count = connections.subscribe();
        let server = tokio::spawn(answers_once(listener, connections));
        assert_eq!(hello(&cluster).await, Ok(()));
        assert_eq!(hello(&cluster).await, Ok(()), "another connection is made");
        assert_eq!(*count.borrow(), 2, "the first one was used again");
        server.abort();
        let _ = server.await;
        hello(&cluster).await.unwrap_err();
    }

    #[test]
    fn a_server_that_knows_no_pause_before_an_end_is_too_old() {
        let of = |major: &str, minor: &str| Info { major: major.into(), minor: minor.into(), ..Info::default() };
        assert!(is_too_old(&of("1", "29")) && is_too_old(&of("1", "28+")));
        assert!(!is_too_old(&of("1", "30")) && !is_too_old(&of("1", "36+")) && !is_too_old(&of("", "")));
    }

    #[test]
    fn an_absence_is_said_once_a_minute() {
        let begin = Instant::now();
        let mut log = Log::default();
        let mut said = Vec::new();
        for half in 0..300u32 {
            log.tries += 1;
            said.extend(log.due(begin + LOOK_AGAIN * half).map(|tries| (half, tries)));
        }
        assert_eq!(said, [(0, None), (120, Some(120)), (240, Some(120))]);
        log.back();
        log.tries += 1;
        assert_eq!(log.due(begin + LOOK_AGAIN * 301), Some(None), "the next one is another one");
    }
}
