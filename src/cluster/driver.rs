//! The task that owns the [`Core`]: it tells it what happens and carries out what it says.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use super::core::{Core, Input, Output, Scaled, Timing};
use super::leases::Leases;
use super::members::{Members, differ};
use super::object::Names;
use super::scale::{Place, Workload};
use super::view::News;
use crate::landscape::ServiceKey;
use crate::lifecycle::consent::{Order, Voice, Word};

/// Time passes in steps of this.
const TICK: Duration = Duration::from_millis(500);
/// How long the end may take: what is left runs out by itself.
const END: Duration = Duration::from_secs(3);

/// The API server and a namespace, when they are known.
pub type Connect = Pin<Box<dyn Future<Output = (kube::Client, String)> + Send>>;
/// Tells what a service is in the cluster.
pub type FindWorkload = Box<dyn Fn(&ServiceKey) -> Option<Workload> + Send + Sync>;
/// Tells a service's life.
pub type Tell = Box<dyn Fn(&ServiceKey, Order) + Send + Sync>;

/// What a router needs in order to be one of several.
pub struct ClusterOptions {
    /// Finds the API server, and the namespace of the Leases.
    pub connect: Connect,
    /// The installation.
    pub instance: String,
    /// This router: no other one has this name.
    pub identity: String,
    /// What a service is in the cluster; `None`: nothing of ours, or not known any more.
    pub workload: FindWorkload,
    /// Takes what is to be told to a service's life.
    pub tell: Tell,
    /// Takes which routers there are, where that is known.
    pub members: watch::Sender<Option<Members>>,
}

/// Who the routers are, for people and programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// This one.
    pub identity: String,
    /// Who switches services off, as far as is known.
    pub leader: Option<String>,
    /// Every router whose Lease has not run out.
    pub routers: Vec<Arc<str>>,
    /// Whether this one is the leader.
    pub leads: bool,
    /// This one has not been able to renew its Lease for so long that the others count it as gone.
    pub cut_off: bool,
    /// How often its Lease could not be renewed.
    pub renew_failures: u64,
    /// It has been seen by the others, and has seen them: before that it serves nothing.
    #[serde(skip)]
    pub joined: bool,
}

/// A router as one of several. See the module's words.
pub struct Cluster {
    words: Voice,
    end: mpsc::Sender<oneshot::Sender<()>>,
    status: Arc<ArcSwap<ClusterStatus>>,
}

impl Cluster {
    /// Takes part from now on.
    pub fn start(options: ClusterOptions) -> Self {
        let (words, heard) = mpsc::unbounded_channel();
        let (end, ended) = mpsc::channel(1);
        let status = Arc::new(ArcSwap::from_pointee(ClusterStatus {
            identity: options.identity.clone(),
            cut_off: true,
            ..ClusterStatus::default()
        }));
        tracing::info!(router = %options.identity, "takes part among the routers of {}", options.instance);
        tokio::spawn(drive(options, status.clone(), heard, ended));
        Self { words, end, status }
    }

    /// Where the lives of services say what concerns the others.
    pub fn voice(&self) -> Voice {
        self.words.clone()
    }

    /// Who the routers are.
    pub fn status(&self) -> Arc<ClusterStatus> {
        self.status.load_full()
    }

    /// This router has served its last request: nobody need ask it any more.
    pub async fn end(&self) {
        let (reply, answer) = oneshot::channel();
        if self.end.send(reply).await.is_ok() {
            // Late or lost: then its Lease runs out.
            drop(tokio::time::timeout(END, answer).await);
        }
    }
}

async fn drive(
    options: ClusterOptions,
    status: Arc<ArcSwap<ClusterStatus>>,
    words: mpsc::UnboundedReceiver<(ServiceKey, Word)>,
    mut end: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let ClusterOptions { connect, instance, identity, workload, tell, members } = options;
    let (client, namespace) = tokio::select! {
        found = connect => found,
        // Nobody has heard of it.
        _ = end.recv() => return,
    };
    let leases = Leases::new(client.clone(), &namespace, &instance);
    let (news, seen) = mpsc::unbounded_channel();
    let (done, answers) = mpsc::unbounded_channel();
    let driver = Driver {
        core: Core::new(&instance, &identity, Timing::default(), fastrand::u64(..), Instant::now()),
        place: Place { client, leases: leases.clone(), namespace, marks: Names::of(&instance).marks },
        workload,
        tell,
        done,
        status,
        members,
    };
    let watch = tokio::spawn(leases.watch(news));
    driver.run(words, seen, answers, end).await;
    watch.abort();
}

struct Driver {
    core: Core,
    place: Place,
    workload: FindWorkload,
    tell: Tell,
    done: mpsc::UnboundedSender<Input>,
    status: Arc<ArcSwap<ClusterStatus>>,
    members: watch::Sender<Option<Members>>,
}

impl Driver {
    async fn run(
        mut self,
        mut words: mpsc::UnboundedReceiver<(ServiceKey, Word)>,
        mut news: mpsc::UnboundedReceiver<News>,
        mut answers: mpsc::UnboundedReceiver<Input>,
        mut end: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ending: Option<oneshot::Sender<()>> = None;
        while !self.core.is_over() {
            let input = tokio::select! {
                // What the API server says before what is decided on it.
                biased;
                Some(news) = news.recv() => Input::News(news),
                Some(answer) = answers.recv() => answer,
                Some((key, word)) = words.recv() => {
                    self.core.hear(key, word);
                    // One look at all of them.
                    while let Ok((key, word)) = words.try_recv() {
                        self.core.hear(key, word);
                    }
                    Input::Tick
                }
                Some(reply) = end.recv(), if ending.is_none() => {
                    ending = Some(reply);
                    Input::End
                }
                _ = tick.tick() => Input::Tick,
            };
            self.take(input);
        }
        if let Some(reply) = ending {
            // Who asked may have left.
            let _left = reply.send(());
        }
    }

    fn take(&mut self, input: Input) {
        let now = Instant::now();
        for output in self.core.on(input, now) {
            match output {
                Output::Write(write) => {
                    let (leases, done) = (self.place.leases.clone(), self.done.clone());
                    tokio::spawn(async move {
                        let result = leases.write(&write).await;
                        // A failed send: the router has ended.
                        drop(done.send(Input::Wrote(write.slot, result)));
                    });
                }
                Output::Tell(key, order) => (self.tell)(&key, order),
                Output::ScaleDown(key, token) => {
                    let (place, done) = (self.place.clone(), self.done.clone());
                    let workload = (self.workload)(&key);
                    tokio::spawn(async move {
                        let scaled = match workload {
                            Some(workload) => place.scale_down(workload, &key, token).await,
                            // It has left the configuration meanwhile, which has its own end.
                            None => Scaled::Overruled,
                        };
                        drop(done.send(Input::Scaled(key, token, scaled)));
                    });
                }
            }
        }
        self.show(now);
    }

    fn show(&self, now: Instant) {
        let members = self.core.members(now);
        self.members.send_if_modified(|known| {
            let differs = differ(known.as_ref(), members.as_ref());
            *known = members;
            differs
        });
        let before = self.status.load();
        let status = ClusterStatus {
            identity: before.identity.clone(),
            leader: self.core.leader().map(str::to_owned),
            routers: self.core.routers(),
            leads: self.core.is_leader(now),
            cut_off: self.core.is_cut_off(now),
            renew_failures: self.core.failures(),
            joined: self.core.has_joined(),
        };
        if **before == status {
            return;
        }
        if before.leads != status.leads {
            let what = if status.leads { "leads the routers" } else { "no longer leads the routers" };
            tracing::info!(router = %status.identity, "{what}");
        }
        if before.routers != status.routers {
            tracing::info!(routers = ?status.routers, "these routers are there");
        }
        if before.cut_off != status.cut_off && status.cut_off {
            tracing::warn!("the Lease of this router has run out: what is known is served on, nothing is switched off");
        }
        self.status.store(Arc::new(status));
    }
}
