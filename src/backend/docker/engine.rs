//! The connection to the engine: made, lost, and made again.
//!
//! One supervisor task owns it. While the engine answers, the supervisor reads its event stream;
//! an event is only a nudge, the replica's own task then looks for itself. When the stream ends or
//! a ping stays unanswered, the engine is lost; attempts follow with back-off until it is back.
//! Every connection has a number, so that a replica knows when all it believed has to be looked at
//! again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventActor;
use bollard::query_parameters::EventsOptionsBuilder;
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use tokio::sync::{Notify, watch};

use super::clock;
use super::labels::Instance;
use super::trouble::{text, within};

/// The first pause between attempts, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest where the engine is on this machine: an attempt costs next to nothing.
const LOCAL_BACKOFF: Duration = Duration::from_secs(1);
/// How long a ping may take. Pings look for an engine that hangs; they ask for no state.
const PING_LIMIT: Duration = Duration::from_secs(10);
const PING_EVERY: Duration = Duration::from_secs(15);
/// The library's own limit for an answer's head; every call has a closer one of ours, only a stop
/// with a long grace comes near.
const LIBRARY_LIMIT_SECS: u64 = 24 * 3600;

/// A working connection.
#[derive(Clone)]
pub(super) struct Up {
    /// The client.
    pub(super) docker: Docker,
    /// Grows with every connection.
    pub(super) epoch: u64,
    /// Cores that the engine may give away.
    pub(super) cores: f64,
}

/// Whether the engine answers.
#[derive(Clone)]
pub(super) enum Link {
    /// Nothing is known yet.
    Unknown,
    /// It does.
    Up(Up),
    /// It does not, and why.
    Down(String),
}

/// What the supervisor tells.
pub(super) trait Listener: Send + Sync + 'static {
    /// Called before the link is [`Link::Up`] for others.
    fn back(&self, up: &Up) -> impl Future<Output = ()> + Send;
    /// Called after the link is [`Link::Down`] for others.
    fn lost(&self, why: &str);
    /// Something happened to the container with these labels; `died`: it ended.
    fn nudge(&self, labels: &HashMap<String, String>, died: Option<Died>);
}

/// What the event of a container's end says. The engine goes on clearing up for some hundred
/// milliseconds, in which it answers no question about the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Died {
    /// The container's id.
    pub(super) container: String,
    /// Its exit status.
    pub(super) code: i64,
}

impl Died {
    fn of(action: Option<&str>, actor: &EventActor) -> Option<Self> {
        let code = actor.attributes.as_ref()?.get("exitCode")?.parse().ok()?;
        (action == Some("die")).then_some(Self { container: actor.id.clone()?, code })
    }
}

/// The engine, as seen from the tasks that use it.
pub(super) struct Engine {
    address: String,
    link: watch::Sender<Link>,
    doubt: Notify,
}

impl Engine {
    /// An engine that is not connected yet. `host` is `unix://…`, `tcp://…` or `http://…`; without
    /// one the environment's `DOCKER_HOST` or the usual socket.
    pub(super) fn new(host: Option<&str>) -> Self {
        let address = host
            .map(str::to_owned)
            .or_else(|| std::env::var("DOCKER_HOST").ok().filter(|h| !h.is_empty()))
            .unwrap_or_else(|| "unix:///var/run/docker.sock".into());
        Self { address, link: watch::Sender::new(Link::Unknown), doubt: Notify::new() }
    }

    /// Whether the engine runs on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.address.starts_with("unix://")
    }

    /// The connection, as soon as there is one.
    pub(super) async fn up(&self) -> Up {
        let mut link = self.link.subscribe();
        loop {
            if let Link::Up(up) = &*link.borrow_and_update() {
                return up.clone();
            }
            // The sender lives in `self`.
            let _ = link.changed().await;
        }
    }

    /// The connection if there is one, an error if there is none, once the first attempt is over.
    pub(super) async fn up_now(&self) -> Result<Up, String> {
        let mut link = self.link.subscribe();
        loop {
            match &*link.borrow_and_update() {
                Link::Up(up) => return Ok(up.clone()),
                Link::Down(why) => return Err(why.clone()),
                Link::Unknown => {}
            }
            let _ = link.changed().await;
        }
    }

    /// Why the engine is lost; `None` while it answers or nothing is known.
    pub(super) fn down(&self) -> Option<String> {
        match &*self.link.borrow() {
            Link::Down(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// Returns when the connection is another one than `epoch`, or none.
    pub(super) async fn changed_since(&self, epoch: u64) {
        let mut link = self.link.subscribe();
        let other = |l: &Link| !matches!(l, Link::Up(up) if up.epoch == epoch);
        let _ = link.wait_for(other).await;
    }

    /// A call got no answer: the supervisor looks whether the engine is there.
    pub(super) fn suspect(&self) {
        self.doubt.notify_one();
    }

    /// Connects, listens, reconnects; never returns.
    pub(super) async fn supervise<L: Listener>(self: Arc<Self>, instance: Instance, listener: Arc<L>) {
        let mut epoch = 0;
        let mut pause = BACKOFF.0;
        loop {
            let why = match self.connect(epoch + 1).await {
                Ok((up, since)) => {
                    epoch += 1;
                    pause = BACKOFF.0;
                    tracing::info!(engine = %self.address, "connected to the Docker engine");
                    listener.back(&up).await;
                    self.link.send_replace(Link::Up(up.clone()));
                    self.listen(&up, since, &instance, &*listener).await
                }
                Err(why) => why,
            };
            let why = format!("the Docker engine at {} does not answer: {why}", self.address);
            let known = self.down().is_some();
            self.link.send_replace(Link::Down(why.clone()));
            if !known {
                tracing::warn!("{why}; trying again until it does");
                listener.lost(&why);
            }
            // Jitter, so that several routers do not knock at the same instants.
            tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() * 0.5)).await;
            pause = (pause * 2).min(if self.is_local() { LOCAL_BACKOFF } else { BACKOFF.1 });
        }
    }

    /// A connection, and the engine's own time just before it: events are read from there on.
    async fn connect(&self, epoch: u64) -> Result<(Up, String), String> {
        let docker = self.client().map_err(|e| text(&e))?;
        let docker = within(PING_LIMIT, docker.negotiate_version()).await.map_err(|e| text(&e))?;
        let info = within(PING_LIMIT, docker.info()).await.map_err(|e| text(&e))?;
        let now = info.system_time.as_deref().and_then(clock::parse).unwrap_or_else(std::time::SystemTime::now);
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        let cores = info.ncpu.filter(|n| *n > 0).map_or(1.0, |n| n as f64);
        Ok((Up { docker, epoch, cores }, since))
    }

    fn client(&self) -> Result<Docker, bollard::errors::Error> {
        let address = &self.address;
        if address.starts_with("unix://") {
            return Docker::connect_with_unix(address, LIBRARY_LIMIT_SECS, API_DEFAULT_VERSION);
        }
        if address.starts_with("tcp://") || address.starts_with("http://") {
            return Docker::connect_with_http(address, LIBRARY_LIMIT_SECS, API_DEFAULT_VERSION);
        }
        Err(bollard::errors::Error::UnsupportedURISchemeError { uri: address.clone() })
    }

    /// Reads events until the engine is lost; says why.
    async fn listen<L: Listener>(&self, up: &Up, since: String, instance: &Instance, listener: &L) -> String {
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![instance.filter()]),
            (
                "event".to_owned(),
                ["start", "die", "oom", "pause", "unpause", "destroy", "health_status"].map(str::to_owned).to_vec(),
            ),
        ]);
        let options = EventsOptionsBuilder::default().since(&since).filters(&filters).build();
        let mut events = Box::pin(up.docker.events(Some(options)));
        let read = async {
            loop {
                match events.next().await {
                    Some(Ok(event)) => {
                        let Some(actor) = event.actor else { continue };
                        let died = Died::of(event.action.as_deref(), &actor);
                        if let Some(labels) = actor.attributes {
                            listener.nudge(&labels, died);
                        }
                    }
                    Some(Err(error)) => return text(&error),
                    None => return "its event stream ended".into(),
                }
            }
        };
        tokio::select! {
            why = read => why,
            why = self.ping(up) => why,
        }
    }

    /// Pings now and then, and at once on a doubt; returns why when a ping fails.
    async fn ping(&self, up: &Up) -> String {
        loop {
            // A doubt and a pause's end lead to the same ping.
            let _ = tokio::time::timeout(PING_EVERY, self.doubt.notified()).await;
            if let Err(error) = within(PING_LIMIT, up.docker.ping()).await {
                return text(&error);
            }
        }
    }
}
