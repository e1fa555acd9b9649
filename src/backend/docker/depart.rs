//! The way out: the polite signal, the grace, the kill, and what is cleared away then.

use std::time::Duration;

use bollard::query_parameters::{
    KillContainerOptionsBuilder, RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};

use super::engine::Up;
use super::logs;
use super::replica::{After, Replica, Wish};
use super::state::{self, Look};
use super::trouble::{CALL, Trouble, backend, judge, status, text, within};

/// From the kill to its effect; beyond, something is badly wrong.
const KILLED: Duration = Duration::from_secs(30);

impl Replica {
    /// Stops and removes the container.
    pub(super) async fn leave(&mut self, up: &Up, grace: Duration) -> Result<After, Trouble> {
        let name = self.name();
        match state::look(up, &name).await? {
            Look::Running(..) => self.stop(up, grace).await?,
            Look::Paused(_) => {
                // Frozen, it could not even hear the polite signal.
                within(CALL, up.docker.unpause_container(&name)).await.map_err(|e| judge("resume to stop", &e))?;
                self.stop(up, grace).await?;
            }
            Look::Made | Look::Missing | Look::Leaving | Look::Ended(_) => {}
        }
        if self.memory.ran && !self.memory.ended {
            self.book.add(logs::tail(up, &name, &self.source(), logs::KEPT).await);
        }
        self.remove(up).await?;
        Ok(After::Over)
    }

    /// The polite signal, the grace, the kill. A newer and shorter grace counts from when it is told.
    async fn stop(&mut self, up: &Up, grace: Duration) -> Result<(), Trouble> {
        let name = self.name();
        let seconds = i32::try_from(grace.as_secs() + u64::from(grace.subsec_nanos() > 0)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let mut stopped = Box::pin(up.docker.stop_container(&name, Some(options)));
        let mut end = tokio::time::Instant::now() + grace;
        loop {
            tokio::select! {
                answer = &mut stopped => return match answer {
                    Err(e) if !matches!(status(&e), Some(304 | 404)) => Err(judge("stop", &e)),
                    _ => Ok(()),
                },
                () = tokio::time::sleep_until(end) => break,
                () = self.shared.engine.changed_since(up.epoch) => {
                    return Err(Trouble::Away("stop: the connection was lost".into()));
                }
                changed = self.wish.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    if let Wish::Gone(grace) = *self.wish.borrow_and_update() {
                        end = end.min(tokio::time::Instant::now() + grace);
                    }
                }
            }
        }
        let kill = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        match within(CALL, up.docker.kill_container(&name, Some(kill))).await {
            Ok(()) => {}
            // Ended at this very moment.
            Err(e) if matches!(status(&e), Some(404 | 409)) => {}
            Err(e) => return Err(judge("kill", &e)),
        }
        match tokio::time::timeout(KILLED, stopped).await {
            Ok(_) => Ok(()),
            Err(_) => Err(backend(format!("it does not end, {} s after the kill", KILLED.as_secs())).into()),
        }
    }

    /// Removes the container, whatever it is doing, and what was made for it.
    pub(super) async fn remove(&mut self, up: &Up) -> Result<(), Trouble> {
        let name = self.name();
        remove(up, &name).await?;
        self.shared.mounts.release(up, &name).await?;
        self.memory.made = false;
        Ok(())
    }
}

/// Removes a container by force, with its anonymous volumes, and waits until it is gone.
pub(super) async fn remove(up: &Up, name: &str) -> Result<(), Trouble> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    match within(CALL, up.docker.remove_container(name, Some(options))).await {
        Ok(()) => Ok(()),
        Err(e) if status(&e) == Some(404) => Ok(()),
        // Someone else removes it already: it is gone when they are done.
        Err(e) if status(&e) == Some(409) => Err(Trouble::Away(format!("remove: {}", text(&e)))),
        Err(e) => Err(judge("remove the container", &e)),
    }
}
