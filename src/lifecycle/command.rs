//! One service, for those who command it or ask for its status.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::actor::{Declined, Input};
use super::machine::Event;
use super::pins::Pins;
use super::service::Service;
use super::status::{ServiceStatus, StateName};
use crate::config::settings::BackendKind;

/// An operator's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// On now; it sleeps again when nobody uses it.
    Wake,
    /// Off now; the next request wakes it.
    Sleep,
    /// Every replica is replaced.
    Restart,
    /// Awake until unpinned, over restarts of the router too.
    Pin,
    /// See [`Command::Pin`].
    Unpin,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// It would have to go to sleep.
    #[error("it is pinned; unpin it first")]
    Pinned,
    /// It cannot run here: the remedy.
    #[error("not runnable here: {0}")]
    NotRunnable(String),
    /// The start failed: the reason for operators.
    #[error("{0}")]
    Failed(String),
    /// It is not awake yet.
    #[error("it is not ready yet")]
    NotYet,
    /// It was removed, or the router ends.
    #[error("it is no longer there")]
    Gone,
}

/// One service, for those who command it or ask for its status.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) service: Arc<Service>,
    pub(super) to: mpsc::UnboundedSender<Input>,
    pub(super) state: watch::Receiver<StateName>,
    /// Its actor has ended.
    pub(super) done: CancellationToken,
    pub(super) backend: BackendKind,
    pub(super) pins: Arc<Pins>,
}

impl Handle {
    /// The service as requests see it.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// What is known of it.
    pub fn status(&self) -> ServiceStatus {
        self.service.status()
    }

    /// Gives a command; returns when it was taken, before it is carried out.
    pub async fn command(&self, command: Command) -> Result<(), CommandError> {
        if let (Command::Wake | Command::Restart | Command::Pin, Some(remedy)) = (command, self.status().not_runnable) {
            return Err(CommandError::NotRunnable(remedy));
        }
        let event = match command {
            Command::Wake => Event::Wake,
            Command::Sleep => Event::Sleep,
            Command::Restart => Event::Restart,
            Command::Pin => Event::Pin,
            Command::Unpin => Event::Unpin,
        };
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.to.send(Input::Command { event, reply }).map_err(|_| CommandError::Gone)?;
        match answer.await {
            Ok(Ok(())) => {}
            Ok(Err(Declined::Pinned)) => return Err(CommandError::Pinned),
            Err(_) => return Err(CommandError::Gone),
        }
        match command {
            Command::Pin => self.pins.set(self.service.key(), true),
            Command::Unpin => self.pins.set(self.service.key(), false),
            Command::Wake | Command::Sleep | Command::Restart => {}
        }
        Ok(())
    }

    /// It was sent to sleep in the process that its life was taken over from.
    pub fn sleeps_on(&self) {
        // A failed send: it has ended already.
        drop(self.to.send(Input::Event(Event::Sleep)));
    }

    /// Wakes it and waits until it is ready, for at most `patience`.
    pub async fn wake_and_wait(&self, patience: Duration) -> Result<(), CommandError> {
        self.command(Command::Wake).await?;
        let mut state = self.state.clone();
        let settled = |s: &StateName| matches!(s, StateName::Ready | StateName::Failed);
        match tokio::time::timeout(patience, state.wait_for(settled)).await {
            Err(_) => Err(CommandError::NotYet),
            Ok(Err(_)) => Err(CommandError::Gone),
            Ok(Ok(state)) if *state == StateName::Ready => Ok(()),
            Ok(Ok(_)) => {
                let failure = self.status().last_failure;
                Err(CommandError::Failed(failure.map_or_else(|| "the start failed".to_owned(), |f| f.failure.detail)))
            }
        }
    }

    /// Its state, and every change of it.
    pub fn state(&self) -> watch::Receiver<StateName> {
        self.state.clone()
    }
}
