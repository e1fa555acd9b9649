//! What all parts of the backend share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::commons::Commons;
use super::core::{Core, Event};
use super::keeper::{Keeper, Timers, Word};
use super::left_over::{LeftOver, LeftOvers};
use super::link::{Link, State};
use super::mirror::{Kept, List, Mirror};
use super::objects::{Landscapes, Writer};
use super::strangers::Strangers;
use crate::backend::book::Book;
use crate::backend::{Observation, Observer, Seen};
use crate::config::settings::{Attach, AttachKind, KubernetesSettings};
use crate::landscape::{LandscapeId, ServiceKey};

/// Applied or removed at a time: a start with a thousand services does not flood the API server.
const AT_ONCE: usize = 16;
/// Of a service that nobody configured.
const GRACE: Duration = Duration::from_secs(10);

/// See the module's words.
pub(super) struct Shared {
    pub(super) settings: ArcSwap<KubernetesSettings>,
    pub(super) link: Link,
    pub(super) mirror: Mutex<Mirror>,
    pub(super) landscapes: Arc<Landscapes>,
    pub(super) slots: Semaphore,
    /// What was there at the start has been told.
    pub(super) adopted: AtomicBool,
    /// A list was completed, or a service is done with.
    pub(super) news: Notify,
    pub(super) strangers: Strangers,
    pub(super) commons: Commons,
    pub(super) left_overs: LeftOvers,
    configured: Mutex<HashSet<LandscapeId>>,
    books: Mutex<HashMap<LandscapeId, Arc<Book>>>,
    observer: Observer,
    tasks: Mutex<JoinSet<()>>,
}

fn called(attach: &Attach) -> String {
    let kind = match attach.kind {
        AttachKind::Deployment => "Deployment",
        AttachKind::StatefulSet => "StatefulSet",
    };
    format!("the {kind} {}", attach.name)
}

impl Shared {
    pub(super) fn new(settings: KubernetesSettings, observer: Observer) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            link: Link::new(),
            mirror: Mutex::default(),
            landscapes: Arc::default(),
            slots: Semaphore::new(AT_ONCE),
            adopted: AtomicBool::new(false),
            news: Notify::new(),
            strangers: Strangers::default(),
            commons: Commons::default(),
            left_overs: LeftOvers::default(),
            configured: Mutex::default(),
            books: Mutex::default(),
            observer,
            tasks: Mutex::default(),
        }
    }

    /// Tells the life cycle.
    pub(super) fn see(&self, service: &ServiceKey, seen: Seen) {
        // It may have ended before us.
        let _ = self.observer.send(Observation { service: service.clone(), seen });
    }

    /// What writes to the cluster, once it is known which one.
    pub(super) fn writer(&self) -> Option<Writer> {
        let cluster = self.link.now()?;
        Some(Writer { cluster, settings: self.settings.load_full(), landscapes: self.landscapes.clone() })
    }

    /// A task that ends with the backend.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }

    /// Ends every task where it stands.
    pub(super) fn abort(&self) {
        self.mirror.lock().closed = true;
        self.tasks.lock().abort_all();
    }

    /// The lines of a landscape's jobs.
    pub(super) fn job_book(&self, landscape: &LandscapeId) -> Arc<Book> {
        self.books.lock().entry(landscape.clone()).or_default().clone()
    }

    /// Says something to the keeper of a service, which begins with that if there is none.
    pub(super) fn say(self: &Arc<Self>, key: &ServiceKey, attach: Option<&Attach>, word: Word) {
        let mut mirror = self.mirror.lock();
        if mirror.closed {
            return;
        }
        if let Some(kept) = mirror.kept.get(key) {
            if let Err(mpsc::error::SendError(word)) = kept.words.send(word) {
                // It has just ended.
                mirror.remove(key);
                self.begin(&mut mirror, key, attach, word);
            }
            return;
        }
        self.begin(&mut mirror, key, attach, word);
    }

    fn begin(self: &Arc<Self>, mirror: &mut Mirror, key: &ServiceKey, attach: Option<&Attach>, word: Word) {
        let (words, heard) = mpsc::unbounded_channel();
        let (say_sources, sources) = watch::channel(Vec::new());
        let (say_scaled, scaled) = watch::channel(None);
        let keeper = Keeper {
            shared: self.clone(),
            key: key.clone(),
            attach: attach.cloned(),
            core: Core::new(attach.is_some()).called(attach.map(called).unwrap_or_default()).shared(),
            words: heard,
            answers: words.downgrade(),
            sources: say_sources,
            scaled: say_scaled,
            grace: GRACE,
            timers: Timers::default(),
        };
        let list = attach.map_or(List::Own, |a| List::Attached(self.namespace_of(a)));
        if let state @ State::Lost(_) = self.link.state() {
            let _ = words.send(Word::Link(state));
        }
        let _ = words.send(word);
        mirror.add(key.clone(), Kept { words, sources, scaled, attach: attach.cloned(), list });
        self.spawn(keeper.run());
    }

    /// Where an attached workload is; `""`: in the namespace that the way to the cluster names.
    pub(super) fn namespace_of(&self, attach: &Attach) -> String {
        attach.namespace.clone().or_else(|| self.settings.load().namespace.clone()).unwrap_or_default()
    }

    /// The state of the connection has changed.
    pub(super) fn tell_link(&self, state: &State) {
        for kept in self.mirror.lock().kept.values() {
            let _ = kept.words.send(Word::Link(state.clone()));
        }
        self.news.notify_waiters();
    }

    /// Keepers may end from now on: each looks at itself.
    pub(super) fn see_who_is_done(&self) {
        for kept in self.mirror.lock().kept.values() {
            let _ = kept.words.send(Word::Event(Event::Retry));
        }
    }

    /// Says which landscapes there are.
    pub(super) fn configured(&self, landscapes: HashSet<LandscapeId>) {
        self.books.lock().retain(|id, _| landscapes.contains(id));
        *self.configured.lock() = landscapes;
    }

    /// Whether another workload stands for it.
    pub(super) fn is_attached(&self, key: &ServiceKey) -> bool {
        self.mirror.lock().kept.get(key).is_some_and(|kept| kept.attach.is_some())
    }

    /// Whether it is in the configuration.
    pub(super) fn is_configured(&self, landscape: &LandscapeId) -> bool {
        self.configured.lock().contains(landscape)
    }

    /// A service's keeper has nothing left to do: whether it may end. With the last one of a landscape that
    /// left the configuration the rest of the landscape goes.
    pub(super) fn is_over(self: &Arc<Self>, key: &ServiceKey) -> bool {
        if !self.adopted.load(Ordering::Acquire) {
            return false;
        }
        let last = {
            let mut mirror = self.mirror.lock();
            mirror.remove(key);
            !mirror.kept.keys().any(|other| other.landscape == key.landscape)
        };
        self.news.notify_waiters();
        if last && !self.is_configured(&key.landscape) {
            self.remove(LeftOver::Landscape(key.landscape.clone()), Duration::ZERO);
        }
        true
    }
}
