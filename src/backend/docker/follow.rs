//! `logs`: what is kept of ended replicas, what the engine has of living ones, and what comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::engine::Up;
use super::logs;
use super::shared::{Shared, Sources};
use crate::backend::{BackendError, LogLine, LogQuery, ReplicaId};
use crate::landscape::ServiceKey;

/// Lines under way to a reader that is slower than the engine.
const WINDOW: usize = 256;
/// The most lines that are given back of the past.
const PAST: usize = 10_000;

/// Answers a query; see [`crate::backend::Backend::logs`].
pub(super) async fn logs(
    shared: &Arc<Shared>,
    key: &ServiceKey,
    query: LogQuery,
) -> Result<mpsc::Receiver<LogLine>, BackendError> {
    let Some(sources) = shared.sources(key) else {
        let (_, empty) = mpsc::channel(1);
        return Ok(empty);
    };
    let up = shared.engine.up_now().await.map_err(BackendError::Unreachable)?;
    let (lines, receiver) = mpsc::channel(WINDOW);
    let reader = Reader { shared: Arc::clone(shared), key: key.clone(), query, lines, last: HashMap::new() };
    tokio::spawn(reader.run(up, sources));
    Ok(receiver)
}

struct Reader {
    shared: Arc<Shared>,
    key: ServiceKey,
    query: LogQuery,
    lines: mpsc::Sender<LogLine>,
    /// When the last line was written that was given out, by replica.
    last: HashMap<ReplicaId, SystemTime>,
}

impl Reader {
    async fn run(mut self, up: Up, mut sources: Sources) {
        let closed = self.lines.clone();
        tokio::select! {
            () = async {
                if self.past(&up, &sources).await && self.query.follow {
                    self.follow(&mut sources).await;
                }
            } => {}
            () = closed.closed() => {}
        }
    }

    /// The last lines over all sources, in their order; `false` when the reader is gone.
    async fn past(&mut self, up: &Up, sources: &Sources) -> bool {
        let tail = self.query.tail.min(PAST);
        let mut all = sources.book.lines();
        match self.query.replica {
            None => all.extend(self.shared.job_book(&self.key.landscape).lines()),
            Some(only) => all.retain(|l| l.source == only.to_string()),
        }
        for id in self.wanted(&sources.ids) {
            let name = self.shared.instance.replica_name(&self.key, id);
            let lines = logs::tail(up, &name, &id.ordinal.to_string(), tail.max(1)).await;
            if let Some(last) = lines.last() {
                self.last.insert(id, last.at);
            }
            all.extend(lines);
        }
        all.sort_by_key(|l| l.at);
        let skip = all.len().saturating_sub(tail);
        for line in all.into_iter().skip(skip) {
            if self.lines.send(line).await.is_err() {
                return false;
            }
        }
        true
    }

    /// New lines of every replica, also of those that begin to run later.
    async fn follow(&mut self, sources: &mut Sources) {
        let mut readers: JoinSet<(ReplicaId, Option<SystemTime>)> = JoinSet::new();
        let mut read: Vec<ReplicaId> = Vec::new();
        loop {
            let Some(now) = self.shared.sources(&self.key) else { return };
            // Each reader ended with the connection or the container: it is read on when it runs (again),
            // and several may have ended by the time that the first of them does.
            while let Some(ended) = readers.try_join_next() {
                let Ok((id, last)) = ended else { continue };
                self.last.extend(last.map(|last| (id, last)));
                read.retain(|r| *r != id);
            }
            for id in self.wanted(&now.ids) {
                if !read.contains(&id) {
                    read.push(id);
                    readers.spawn(self.follow_one(id));
                }
            }
            // Otherwise the service is not known any more.
            if sources.runs.changed().await.is_err() {
                return;
            }
        }
    }

    fn follow_one(&self, id: ReplicaId) -> impl Future<Output = (ReplicaId, Option<SystemTime>)> + Send + use<> {
        let (shared, lines) = (Arc::clone(&self.shared), self.lines.clone());
        let name = self.shared.instance.replica_name(&self.key, id);
        let mut last = self.last.get(&id).copied();
        async move {
            let up = shared.engine.up().await;
            let mut new = Box::pin(logs::since(&up, &name, &id.ordinal.to_string(), last));
            while let Some(line) = new.next().await {
                if last.is_some_and(|l| line.at <= l) {
                    continue;
                }
                last = Some(line.at);
                if lines.send(line).await.is_err() {
                    break;
                }
            }
            (id, last)
        }
    }

    fn wanted(&self, ids: &[ReplicaId]) -> Vec<ReplicaId> {
        ids.iter().copied().filter(|id| self.query.replica.is_none_or(|only| only == id.ordinal)).collect()
    }
}
