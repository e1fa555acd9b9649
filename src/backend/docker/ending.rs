//! An end that nobody asked for: told at once with what the event says, explained when the engine
//! answers questions about the container again.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::engine::{Died, Up};
use super::logs;
use super::replica::{After, Replica};
use super::state::{self, Look};
use super::trouble::Trouble;
use crate::backend::{Failure, Seen};
use crate::landscape::ServiceSpec;

/// The exit status of what SIGKILL ended.
const KILLED: i64 = 137;

/// The end that was told, and what ran.
pub(super) type Owed = (Failure, Option<Arc<ServiceSpec>>);

impl Replica {
    /// Tells an end with what the event says of it.
    pub(super) fn fell(&mut self, died: &Died, spec: Option<Arc<ServiceSpec>>) -> After {
        let ran = self.memory.container.as_ref().map(|(_, made)| made.elapsed());
        let failure = state::exited(died.code, ran);
        self.memory.ended = true;
        self.memory.said = None;
        self.memory.owed = Some((failure.clone(), spec));
        self.shared.see(&self.key, Seen::Ending(self.id, failure));
        After::Again
    }

    /// Tells what is owed, as soon as the engine answers questions about the container.
    pub(super) async fn explain(&mut self, up: &Up) -> Result<(), Trouble> {
        let Some((known, spec)) = &self.memory.owed else { return Ok(()) };
        let failure = match state::look(up, &self.name()).await? {
            Look::Ended(state) => {
                let texts = self.last_words(up).await;
                state::failure(&state, spec.as_deref(), texts)
            }
            _ => known.clone(),
        };
        self.memory.owed = None;
        self.shared.see(&self.key, Seen::Ended(self.id, failure));
        Ok(())
    }

    /// The last lines, kept for `logs`, too.
    pub(super) async fn last_words(&self, up: &Up) -> Vec<String> {
        let lines = logs::tail(up, &self.name(), &self.source(), logs::KEPT).await;
        let texts = logs::texts(&lines);
        self.book.add(lines);
        texts
    }

    pub(super) fn end(&mut self, failure: Failure) {
        self.memory.ended = true;
        self.memory.said = None;
        self.shared.see(&self.key, Seen::Ended(self.id, failure));
    }
}

/// Returns when the container that was made here has died, and the event says all that clients have to
/// know. A kill may have been for its memory: that only the engine can tell.
pub(super) async fn died(death: &mut watch::Receiver<Option<Died>>, made: Option<&(String, Instant)>) -> Died {
    if let Some((container, _)) = made {
        let ours = |d: &Option<Died>| d.as_ref().is_some_and(|d| d.container == *container && d.code != KILLED);
        if let Ok(died) = death.wait_for(ours).await
            && let Some(died) = died.clone()
        {
            return died;
        }
    }
    std::future::pending().await
}
