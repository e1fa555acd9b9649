//! The pod of `prepare` or `test`.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Place, ground, names, pod};
use crate::backend::Stage;
use crate::backend::container::{APP, Source, workspace};
use crate::backend::script::{self, Shell};
use crate::landscape::{LandscapeSpec, ServiceSpec};

/// One run of a job.
#[derive(Clone, Copy, Debug)]
pub struct JobPod<'a> {
    /// Whose.
    pub landscape: &'a LandscapeSpec,
    /// Which steps.
    pub stage: Stage,
    /// Tells this run from others: a few lower-case letters and digits.
    pub run: &'a str,
    /// Kubernetes ends it after so long, should nobody else.
    pub deadline: Duration,
}

/// The pod that runs `prepare` or `test` once; the error is the remedy, for people.
pub fn job_pod(job: JobPod<'_>, place: Place<'_>) -> Result<Pod, String> {
    let (home, settings) = (&job.landscape.home, place.settings);
    let (steps, stage) = match job.stage {
        Stage::Prepare => (&job.landscape.prepare, "prepare"),
        Stage::Test => (&job.landscape.test, "test"),
    };
    let image = ground(settings).base()?;
    if settings.claim.is_none() {
        return Err(format!(
            "`{stage}` works on the shared file system: set `kubernetes.claim` in router.yaml to the \
             PersistentVolumeClaim that holds it"
        ));
    }
    let built_for = job.landscape.services.values().filter(|s| s.runs());
    // A namespace with a quota admits nothing without limits; what it builds for has them.
    let resources = pod::largest(built_for.map(|s: &std::sync::Arc<ServiceSpec>| &s.plan));
    // The main replica is where these run.
    let env = workspace(home).into_iter().chain([("CS_REPLICA", crate::landscape::Value::plain("0"))]).collect();
    let container = Container {
        command: Some(pod::literals(script::command(Shell::BashOrSh, steps, true))),
        working_dir: Some(APP.into()),
        env: Some(pod::env(env, "")),
        resources,
        ..pod::bare(&image.text, settings, None, None)
    };
    let mut spec = pod::around(container, home, &[Source { path: "", target: APP }], settings);
    spec.restart_policy = Some("Never".into());
    spec.active_deadline_seconds = Some(pod::seconds(job.deadline).max(1));
    let mut metadata = place.of_landscape(names::job(&home.id, job.stage, job.run), &home.id);
    metadata.labels.get_or_insert_default().insert(names::JOB.into(), stage.into());
    Ok(Pod { metadata, spec: Some(spec), ..Default::default() })
}
