//! The old router's side.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use super::gone;
use super::messages::{ToNew, ToOld};
use super::wire::{self, Wire};
use crate::admin::AdminServer;
use crate::app::backends::Backends;
use crate::app::router::Router;
use crate::app::state::State;
use crate::config::settings::BackendKind;
use crate::descriptors;
use crate::landscape::ServiceKey;
use crate::lifecycle::{Follower, Refusal, StateName};
use crate::listen::Quiet;
use crate::private::ground::user;

/// How long a successor may take from one step to the next.
const STEP: Duration = Duration::from_secs(60);
/// From one look at whether a service is still used to the next.
const LOOK: Duration = Duration::from_millis(50);
/// Streams go on until they end by themselves, or by `timeouts.idle`.
const UNTIL_THE_LAST: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Where a successor announces itself.
#[derive(Debug)]
pub struct Successors {
    listener: Option<UnixListener>,
}

/// A successor that has announced itself.
#[derive(Debug)]
pub struct Successor {
    wire: Wire,
}

/// The admin listener as it is handed over.
pub struct Admin {
    /// The server; it ends with the hand-over.
    pub server: AdminServer,
    /// As configured.
    pub address: SocketAddr,
    /// Its socket.
    pub socket: TcpListener,
}

impl Successors {
    /// Listens at the state folder.
    pub fn listen(state: &Path) -> io::Result<Self> {
        Ok(Self { listener: Some(wire::listen(state)?) })
    }

    /// The next one of our own user.
    pub async fn next(&self) -> Successor {
        loop {
            let Some(listener) = &self.listener else { return std::future::pending().await };
            match listener.accept().await {
                Ok((stream, _)) => match Wire::accept(stream) {
                    Ok(wire) => return Successor { wire },
                    Err(e) => tracing::warn!("a take-over was refused: {e}"),
                },
                Err(e) => {
                    tracing::warn!("the take-over socket cannot accept: {e}");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn close(&mut self) {
        self.listener = None;
    }
}

impl Successor {
    /// Hands everything over, to a successor that wants more than to know where we are. Until it asks for
    /// the lives of the services, an error leaves this router as it was.
    pub async fn hand_over(
        self,
        router: &Arc<Router>,
        admin: &mut Option<Admin>,
        state: &mut State,
        successors: &mut Successors,
    ) -> io::Result<Option<Owner>> {
        let mut asked = false;
        loop {
            match timeout(STEP, self.wire.receive::<ToOld>()).await?? {
                Some((ToOld::UserNamespace, _)) => {
                    self.wire.send(&ToNew::UserNamespace, &[user::own()?.as_fd()]).await?;
                    asked = true;
                    continue;
                }
                Some((ToOld::Listeners, _)) => self.listeners(router, admin.as_ref()).await?,
                Some((ToOld::Lives, _)) => break,
                Some((other, _)) => return Err(io::Error::other(format!("unexpected: {other:?}"))),
                None if asked => return Ok(None),
                None => return Err(gone()),
            }
            asked = false;
        }
        let _one = router.applying.lock().await;
        prepared(router).await;
        tracing::info!("a successor takes over");
        let private = router.listeners.private_descriptors()?;
        router.listeners.stop_accepting();
        let followers = router.lifecycle.hand_over().await;
        router.backends.let_go().await;
        if let Some(admin) = admin.take() {
            drop(admin.socket);
            admin.server.shutdown(Duration::ZERO).await;
        }
        successors.close();
        state.unlock();
        for some in private.chunks(descriptors::MOST) {
            let borrowed: Vec<_> = some.iter().map(|(_, socket)| socket.as_fd()).collect();
            let interfaces = some.iter().map(|(interface, _)| interface.clone()).collect();
            self.wire.send(&ToNew::Private(interfaces), &borrowed).await?;
        }
        let names = |which: fn(&Follower) -> bool| {
            followers.iter().filter(|f| which(f)).map(|f| f.service().key().clone()).collect()
        };
        let (used, asleep) = (names(Follower::is_open), names(Follower::is_asleep));
        self.wire.send(&ToNew::Lives { used, asleep }, &[]).await?;
        Ok(Some(Owner { wire: self.wire, followers }))
    }

    async fn listeners(&self, router: &Router, admin: Option<&Admin>) -> io::Result<()> {
        let (http, mut sockets): (Vec<SocketAddr>, Vec<OwnedFd>) = router.listeners.descriptors()?.into_iter().unzip();
        if let Some(admin) = admin {
            sockets.push(admin.socket.try_clone()?.into());
        }
        let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        self.wire.send(&ToNew::Listeners { http, admin: admin.map(|a| a.address) }, &borrowed).await
    }
}

/// Waits until no preparation runs: it would be begun again from its first step.
async fn prepared(router: &Router) {
    let mut told = false;
    while router.lifecycle.all().iter().any(|h| *h.state().borrow() == StateName::Preparing) {
        if !std::mem::replace(&mut told, true) {
            tracing::info!("the take-over waits for a running prepare");
        }
        sleep(LOOK).await;
    }
}

/// The successor, once it owns everything.
pub struct Owner {
    wire: Wire,
    followers: Vec<Follower>,
}

/// What the owner says of one service.
enum News {
    Ready(Vec<(crate::backend::ReplicaId, crate::backend::Addresses)>),
    Failed(Refusal),
}

impl Owner {
    /// Forwards what is left; returns when nothing is, here or at a predecessor that is `accompanied`.
    pub async fn follow(self, router: &Router, accompanied: Option<JoinHandle<()>>) {
        let (say, mut words) = mpsc::unbounded_channel();
        let mut services = HashMap::new();
        for follower in self.followers {
            let (news, inbox) = mpsc::unbounded_channel();
            services.insert(follower.service().key().clone(), news);
            tokio::spawn(follow(follower, say.clone(), inbox));
        }
        drop(say);
        let wire = Arc::new(self.wire);
        let hearing = tokio::spawn(hear(wire.clone(), services));
        let telling = async {
            while let Some(word) = words.recv().await {
                if let Err(e) = wire.send(&word, &[]).await {
                    tracing::warn!("the successor was not told: {e}");
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let all_left = async {
            router.listeners.drain(UNTIL_THE_LAST, Quiet::Kept).await;
            if let Some(accompanied) = accompanied {
                // Its panic would be the end of the predecessor's wishes, too.
                drop(accompanied.await);
            }
        };
        tokio::select! {
            () = all_left => {}
            () = telling => {}
        }
        hearing.abort();
    }
}

/// Passes on what the owner says; when it is gone, the senders are dropped.
async fn hear(wire: Arc<Wire>, services: HashMap<ServiceKey, mpsc::UnboundedSender<News>>) {
    loop {
        let (service, news) = match wire.receive::<ToOld>().await {
            Ok(Some((ToOld::Ready { service, replicas }, _))) => (service, News::Ready(replicas)),
            Ok(Some((ToOld::Failed { service, public, retry_after }, _))) => {
                (service, News::Failed(Refusal::Failed { public, retry_after }))
            }
            Ok(Some((other, _))) => {
                tracing::warn!("unexpected from the successor: {other:?}");
                continue;
            }
            Ok(None) => return tracing::warn!("the successor has gone; what is in flight goes on"),
            Err(e) => return tracing::warn!("the connection to the successor broke: {e}"),
        };
        if let Some(to) = services.get(&service) {
            // A failed send: it follows nobody any more.
            drop(to.send(news));
        }
    }
}

/// One service: asks for what its requests need, and tells when they need nothing.
async fn follow(mut follower: Follower, say: mpsc::UnboundedSender<ToNew>, mut news: mpsc::UnboundedReceiver<News>) {
    let key = follower.service().key().clone();
    let mut look = interval(LOOK);
    // What was held before the take-over has raised its flag already.
    let mut ask = follower.service().held() > 0;
    loop {
        // A failed send: the old router is about to end.
        if std::mem::take(&mut ask) {
            drop(say.send(ToNew::Demand(key.clone())));
        }
        tokio::select! {
            () = follower.asked() => ask = true,
            said = news.recv() => match said {
                Some(News::Ready(replicas)) => follower.open(replicas),
                Some(News::Failed(refusal)) => {
                    follower.refuse(&refusal);
                    drop(say.send(ToNew::Unused(key.clone())));
                }
                None => return follower.shut(),
            },
            _ = look.tick(), if follower.is_open() => {
                if follower.close_if_idle() {
                    drop(say.send(ToNew::Unused(key.clone())));
                }
            }
        }
    }
}

impl Backends {
    /// Leaves every replica to the successor.
    async fn let_go(&self) {
        for kind in [BackendKind::Process, BackendKind::Docker, BackendKind::Kubernetes] {
            if let Some(backend) = self.running(kind) {
                backend.shutdown(false, Duration::ZERO).await;
            }
        }
    }
}
