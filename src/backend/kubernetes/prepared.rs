//! That `prepare` has been run, as all routers know it: noted on the ConfigMap of the landscape, which outlives
//! them and their `state`.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::core::Problem;
use super::names;
use super::objects::Writer;
use crate::landscape::LandscapeSpec;

/// The note that these steps of a landscape have been run.
pub(super) struct Note<'a> {
    writer: &'a Writer,
    object: String,
    digest: String,
}

impl<'a> Note<'a> {
    pub fn of(landscape: &LandscapeSpec, writer: &'a Writer) -> Self {
        Self { writer, object: names::landscape(&landscape.home.id), digest: landscape.prepare_digest() }
    }

    /// What tells a run of these steps from others: the same at every router.
    pub fn run(&self) -> &str {
        self.digest.get(..8).unwrap_or(&self.digest)
    }

    /// Whether they have been run.
    pub async fn is_there(&self) -> Result<bool, Problem> {
        let found = self.writer.find::<ConfigMap>("the landscape's ConfigMap", &self.object).await?;
        let annotations = found.ok_or(Problem::Missing)?.metadata.annotations.unwrap_or_default();
        Ok(annotations.get(names::PREPARED) == Some(&self.digest))
    }

    /// They have been. Not being able to note it is told: they run again then.
    pub async fn write(&self) {
        let note = json!({ names::PREPARED: self.digest });
        if let Err(problem) = self.writer.annotate::<ConfigMap>(&self.object, note).await {
            tracing::warn!(object = %self.object, "cannot note that `prepare` has run, it will again: {problem}");
        }
    }
}
