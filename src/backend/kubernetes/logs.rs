//! `logs`: what the containers of a service's pods write.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::io::AsyncBufReadExt;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::connect::Cluster;
use super::objects::within;
use crate::backend::{LogLine, LogQuery, ReplicaId};

/// Lines under way to a reader that is slower than the cluster.
const WINDOW: usize = 256;
/// The most lines that are given back of the past.
const PAST: usize = 10_000;
/// Bytes of one line; the rest of a longer one is cut off.
const LINE: usize = 4 * 1024;
/// The longest that an end waits for its last words.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What was said last may be written down so much later.
const LATE: Duration = Duration::from_millis(200);

/// The pods of replicas, whenever they change.
pub(super) type Sources = watch::Receiver<Vec<(ReplicaId, String)>>;

/// The lines that a query asks for; `kept`: of jobs, which have no pods any more.
pub(super) fn read(
    cluster: Arc<Cluster>,
    namespace: Option<String>,
    sources: Sources,
    kept: Vec<LogLine>,
    query: LogQuery,
) -> mpsc::Receiver<LogLine> {
    let (lines, receiver) = mpsc::channel(WINDOW);
    let namespace = namespace.unwrap_or_else(|| cluster.namespace.clone());
    let api = Api::namespaced(cluster.client.clone(), &namespace);
    let closed = lines.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = all(api, sources, kept, query, lines) => {}
            () = closed.closed() => {}
        }
    });
    receiver
}

async fn all(api: Api<Pod>, mut sources: Sources, kept: Vec<LogLine>, query: LogQuery, lines: mpsc::Sender<LogLine>) {
    let wanted = |id: ReplicaId| query.replica.is_none_or(|only| only == id.ordinal);
    let tail = query.tail.min(PAST);
    let now = sources.borrow_and_update().clone();
    let mut past = kept;
    let mut read = Vec::new();
    for (id, pod) in now.into_iter().filter(|(id, _)| wanted(*id)) {
        let text = within("read the log", api.logs(&pod, &params(Some(tail.max(1)), false, None))).await;
        let own: Vec<_> = text.unwrap_or_default().lines().filter_map(|l| line(&id.ordinal.to_string(), l)).collect();
        read.push((pod, own.last().map(|l| l.at)));
        past.extend(own);
    }
    past.sort_by_key(|l| l.at);
    let skip = past.len().saturating_sub(tail);
    for line in past.into_iter().skip(skip) {
        if lines.send(line).await.is_err() {
            return;
        }
    }
    if !query.follow {
        return;
    }
    let mut readers = JoinSet::new();
    let mut followed: Vec<String> = Vec::new();
    loop {
        let now = sources.borrow_and_update().clone();
        followed.retain(|pod| now.iter().any(|(_, p)| p == pod));
        for (id, pod) in now.into_iter().filter(|(id, _)| wanted(*id)) {
            if !followed.contains(&pod) {
                followed.push(pod.clone());
                let since = read.iter().find(|(p, _)| *p == pod).and_then(|(_, at)| *at);
                readers.spawn(follow(api.clone(), id, pod, since, lines.clone()));
            }
        }
        if sources.changed().await.is_err() {
            return;
        }
    }
}

/// New lines of one pod, through restarts of its container, until it is gone.
async fn follow(api: Api<Pod>, id: ReplicaId, pod: String, mut last: Option<SystemTime>, lines: mpsc::Sender<LogLine>) {
    let source = id.ordinal.to_string();
    loop {
        match api.log_stream(&pod, &params(None, true, last)).await {
            Ok(stream) => {
                let mut new = stream.lines().into_stream();
                while let Some(Ok(text)) = new.next().await {
                    let Some(line) = line(&source, &text).filter(|l| last.is_none_or(|last| l.at > last)) else {
                        continue;
                    };
                    last = Some(line.at);
                    if lines.send(line).await.is_err() {
                        return;
                    }
                }
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => return,
            // Its container has not started yet, or the cluster is away.
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The last lines of what ended; `previous`: of the container before the present one.
pub(super) async fn last_words(
    cluster: &Cluster,
    namespace: Option<&str>,
    pod: &str,
    previous: bool,
    count: usize,
) -> Vec<String> {
    let namespace = namespace.unwrap_or(&cluster.namespace);
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let ask = async |previous: bool| -> Vec<String> {
        let params = LogParams { previous, ..params(Some(count), false, None) };
        match tokio::time::timeout(LAST_WORDS, api.logs(pod, &params)).await {
            Ok(Ok(text)) => text.lines().filter_map(|l| line("", l)).map(|l| l.text).collect(),
            _ => Vec::new(),
        }
    };
    let mut words = ask(previous).await;
    if words.is_empty() {
        // A node may tell of an end before it has written down what was said; or it has begun the next by now.
        tokio::time::sleep(LATE).await;
        words = ask(previous).await;
    }
    if words.is_empty() && !previous {
        words = ask(true).await;
    }
    words
}

/// All lines of a pod that has ended.
pub(super) async fn whole(cluster: &Cluster, pod: &str, source: &str, count: usize) -> Vec<LogLine> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let text = within("read the log", api.logs(pod, &params(Some(count), false, None))).await;
    text.unwrap_or_default().lines().filter_map(|l| line(source, l)).collect()
}

fn params(tail: Option<usize>, follow: bool, since: Option<SystemTime>) -> LogParams {
    LogParams {
        follow,
        timestamps: true,
        tail_lines: tail.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
        // A second's worth before it, too: what is known already is left out later.
        since_time: since.and_then(|at| Timestamp::try_from(at).ok()),
        ..Default::default()
    }
}

/// `2026-11-26T19:00:00.123456789Z text`
fn line(source: &str, text: &str) -> Option<LogLine> {
    let (at, text) = text.split_once(' ').unwrap_or((text, ""));
    let at: Timestamp = at.parse().ok()?;
    let end = text.floor_char_boundary(LINE);
    Some(LogLine {
        at: at.into(),
        source: source.to_owned(),
        step: None,
        // The API tells the two apart nowhere.
        stderr: false,
        text: text[..end].to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_time_and_a_text() {
        let one = line("0", "2026-11-26T19:00:00.5Z listening on 3000").unwrap();
        assert_eq!((&*one.source, &*one.text), ("0", "listening on 3000"));
        let since = one.at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.subsec_millis(), 500);
        assert_eq!(line("0", "2026-11-26T19:00:00Z").unwrap().text, "", "an empty line");
        assert!(line("0", "unable to retrieve container logs").is_none());
        assert_eq!(line("0", &format!("2026-11-26T19:00:00Z {}", "ä".repeat(4000))).unwrap().text.len(), LINE);
    }
}
