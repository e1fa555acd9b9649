//! Why a pod does not start, as the cluster's own events tell.

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use super::connect::Cluster;
use super::objects::within;
use super::trouble;
use crate::backend::{Failure, Progress};

/// So often a thing has failed before it is called hopeless: nodes try again by themselves.
const TRIES: i32 = 3;

/// What the events say.
pub(super) enum Said {
    /// It takes its time.
    Progress(Progress),
    /// It will not start as things are.
    Hopeless(Failure),
}

/// The word of the last event about a pod that says something.
pub(super) async fn ask(cluster: &Cluster, namespace: Option<&str>, pod: &str) -> Option<Said> {
    let namespace = namespace.unwrap_or(&cluster.namespace);
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    let about = ListParams::default().fields(&format!("involvedObject.kind=Pod,involvedObject.name={pod}")).limit(50);
    let events = within("read events", api.list(&about)).await.ok()?.items;
    judge(&events)
}

fn judge(events: &[Event]) -> Option<Said> {
    let at = |e: &Event| e.last_timestamp.as_ref().map(|t| t.0).or(e.event_time.as_ref().map(|t| t.0));
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|e| at(e));
    let last = events.iter().rev().find(|e| {
        matches!(
            e.reason.as_deref(),
            Some("Pulling" | "Pulled" | "FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox")
        )
    })?;
    let message = last.message.as_deref().unwrap_or_default();
    match last.reason.as_deref()? {
        "Pulling" => Some(Said::Progress(Progress { text: "pulling its image".to_owned(), fraction: None })),
        reason @ ("FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox") => {
            let tries = last.series.as_ref().and_then(|s| s.count).or(last.count).unwrap_or(1);
            (tries >= TRIES).then(|| Said::Hopeless(trouble::backend(format!("{reason}: {message}"))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(reason: &str, count: i32, second: i64) -> Event {
        let at = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
        Event {
            reason: Some(reason.into()),
            count: Some(count),
            message: Some("why".into()),
            last_timestamp: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at)),
            ..Default::default()
        }
    }

    #[test]
    fn the_last_word_counts() {
        assert!(judge(&[]).is_none());
        assert!(matches!(judge(&[event("Scheduled", 1, 1), event("Pulling", 1, 2)]), Some(Said::Progress(_))));
        assert!(judge(&[event("Pulled", 1, 3), event("Pulling", 1, 2)]).is_none());
        assert!(judge(&[event("FailedMount", 2, 1)]).is_none(), "it is tried again");
        let Some(Said::Hopeless(failure)) = judge(&[event("FailedMount", 3, 1)]) else { panic!("it is hopeless") };
        assert_eq!(failure.detail, "FailedMount: why");
    }
}
