//! The connection to the API server: there, or lost and waited for.
//!
//! The client makes connections as it needs them; what is kept here is what is known of the other end.
//! A call or a watch that fails raises a suspicion, which one cheap request confirms or not. The same
//! request now and then keeps a connection open, so that a wake does not begin with a handshake.

use std::sync::Arc;
use std::time::Duration;

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
        let cluster = loop {
            match connect(&settings, None).await {
                Ok(cluster) => break Arc::new(cluster),
                Err(why) => self.become_(State::Lost(why), &tell),
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        };
        self.cluster.send_replace(Some(cluster.clone()));
        loop {
            // What was suspected until now, this finds out.
            let suspected = self.suspicion.notified();
            match hello(&cluster).await {
                Ok(()) => {
                    self.become_(State::Up, &tell);
                    tokio::select! {
                        () = tokio::time::sleep(KEPT_WARM) => {}
                        () = suspected => {}
                    }
                }
                Err(why) => {
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

/// Whether the API server answers. One that refuses answers, too.
async fn hello(cluster: &Cluster) -> Result<(), String> {
    match tokio::time::timeout(HELLO, cluster.client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if !trouble::is_away(&error) => Ok(()),
        Ok(Err(error)) => Err(format!("{}: {}", cluster.url, trouble::text(&error))),
        Err(_) => Err(format!("{} does not answer", cluster.url)),
    }
}
