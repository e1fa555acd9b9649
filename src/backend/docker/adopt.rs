//! Takes over what an earlier router of this instance left.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use futures_util::StreamExt;

use super::depart;
use super::engine::Up;
use super::replica::{Memory, Said, Wish};
use super::shared::{STRAY_GRACE, Shared};
use super::state::{self, Look};
use super::trouble::{CALL, Trouble, judge, status, within};
use super::{clock, labels};
use crate::backend::{Addresses, BackendError, Found, Goal};

/// Containers that are looked at or removed at a time.
const AT_ONCE: usize = 16;

/// Finds running and paused containers and has them observed, and those that are leaving awaited; removes
/// the rest.
pub(super) async fn adopt(shared: &Arc<Shared>) -> Result<Vec<Found>, BackendError> {
    let up = shared.engine.up_now().await.map_err(BackendError::Unreachable)?;
    let found = look_through(shared, &up).await.map_err(|trouble| match trouble {
        Trouble::Away(why) => {
            shared.engine.suspect();
            BackendError::Unreachable(why)
        }
        Trouble::Failed(failure) => BackendError::Failed(failure.detail),
    })?;
    shared.tidy(&up).await;
    shared.adopted.store(true, Ordering::Release);
    Ok(found)
}

async fn look_through(shared: &Arc<Shared>, up: &Up) -> Result<Vec<Found>, Trouble> {
    let all = shared.containers(up).await?;
    let ids = all.into_iter().filter_map(|c| c.id);
    let mut looks = futures_util::stream::iter(ids.map(|id| one(shared, up, id))).buffer_unordered(AT_ONCE);
    let mut found = Vec::new();
    while let Some(one) = looks.next().await {
        found.extend(one?);
    }
    shared.mounts.sweep(up).await?;
    let landscapes: HashSet<_> = found.iter().map(|f: &Found| f.service.landscape.clone()).collect();
    for landscape in &landscapes {
        shared.networks.rejoin(up, landscape).await?;
    }
    found.sort_by(|a, b| (&a.service, a.id).cmp(&(&b.service, b.id)));
    Ok(found)
}

async fn one(shared: &Arc<Shared>, up: &Up, container: String) -> Result<Option<Found>, Trouble> {
    let inspected = match within(CALL, up.docker.inspect_container(&container, None::<InspectContainerOptions>)).await {
        Ok(inspected) => inspected,
        Err(e) if status(&e) == Some(404) => return Ok(None),
        Err(e) => return Err(judge("look at a container", &e)),
    };
    match understand(inspected) {
        Some((found, said)) => {
            // Of one that is on its way out the end is told, and until then its ordinal is taken.
            let wish = if said.is_some() { Wish::Observed } else { Wish::Gone(STRAY_GRACE) };
            let memory = Memory { epoch: up.epoch, made: true, ran: true, said, ..Memory::default() };
            // One that has a task was started by this router and is no find.
            Ok(shared.take_over(&found.service, found.id, wish, memory).then_some(found))
        }
        None => {
            tracing::info!(%container, "removing what an earlier router left unfinished or ended");
            depart::remove(up, &container).await?;
            Ok(None)
        }
    }
}

/// A replica that is worth keeping, or worth waiting for: one that is leaving has nothing to say.
fn understand(inspected: ContainerInspectResponse) -> Option<(Found, Option<Said>)> {
    let said = inspected.config.as_ref()?.labels.as_ref()?;
    let labels = labels::read(said)?;
    let started = inspected.state.as_ref().and_then(|s| s.started_at.as_deref()).and_then(clock::parse);
    let (goal, addresses) = match state::understand(inspected) {
        Look::Running(addresses, _) => (Some(Goal::Run), addresses),
        Look::Paused(addresses) => (Some(Goal::Pause), addresses),
        Look::Leaving => (None, Addresses::default()),
        Look::Missing | Look::Made | Look::Ended(_) => return None,
    };
    let said = goal.map(|goal| match goal {
        Goal::Run => Said::Running(addresses.clone()),
        Goal::Pause => Said::Paused(addresses.clone()),
    });
    let found = Found {
        service: labels.service,
        id: labels.id,
        digest: labels.digest,
        goal,
        addresses,
        since: started.unwrap_or_else(SystemTime::now),
    };
    Some((found, said))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ReplicaId;
    use crate::backend::docker::labels::Instance;
    use crate::lifecycle::fixtures;
    use bollard::models::{ContainerConfig, ContainerState, ContainerStateStatusEnum};

    fn container(status: ContainerStateStatusEnum) -> ContainerInspectResponse {
        let labels =
            Instance("a".into()).replica_labels(&fixtures::spec("web", 1, 1), ReplicaId { ordinal: 0, generation: 7 });
        ContainerInspectResponse {
            config: Some(ContainerConfig { labels: Some(labels), ..Default::default() }),
            state: Some(ContainerState { status: Some(status), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_on_its_way_out_is_found_as_that_and_what_has_ended_is_not() {
        use ContainerStateStatusEnum::{EXITED, PAUSED, REMOVING, RUNNING, STOPPING};
        let goals = [RUNNING, PAUSED, REMOVING, STOPPING, EXITED].map(|status| {
            understand(container(status)).map(|(found, said)| (found.id.generation, found.goal, said.is_some()))
        });
        let all = [(Some(Goal::Run), true), (Some(Goal::Pause), true), (None, false), (None, false)];
        assert_eq!(goals[..4], all.map(|(goal, speaks)| Some((7, goal, speaks))));
        assert_eq!(goals[4], None);
    }
}
