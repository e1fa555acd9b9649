//! A connection to one shim.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use rustix::thread::CapabilitySet;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::handover;
use super::paths::SocketName;
use super::protocol::{self, Command, Event, ShimSpec};
use crate::backend::Attached;
use crate::capabilities;

/// Events of a shim are few; this many may wait.
const QUEUE: usize = 32;

/// One end of the conversation; dropping it hangs up, which the shim takes for a lost router.
pub struct Link {
    events: mpsc::Receiver<Event>,
    commands: OwnedWriteHalf,
    /// The shim, where it is our child: reaped in the end.
    child: Option<Child>,
    _reading: AbortOnDropHandle<()>,
}

impl Link {
    /// Starts a shim and tells it what to run, in this network or the router's own.
    pub async fn start(program: &Path, spec: &ShimSpec, attached: Option<&Attached>) -> io::Result<Self> {
        let frame = protocol::encode(spec)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut command = tokio::process::Command::new(program);
        command
            .arg("shim")
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let hub = attached.and_then(|a| a.hub.as_ref());
        let lent = if hub.is_some() { capabilities::MOVE_IN } else { CapabilitySet::empty() };
        let child = capabilities::lend(lent, || command.spawn()).map_err(|e| {
            e.raw_os_error().map_or_else(|| io::Error::new(e.kind(), e.to_string()), io::Error::from_raw_os_error)
        })?;
        let network =
            attached.map(|a| handover::Network { namespace: a.namespace.as_fd(), hub: hub.map(|hub| hub.as_fd()) });
        handover::send(&ours, network)?;
        let mut link = Self::over(UnixStream::from_std(ours)?, Some(child));
        tokio::io::AsyncWriteExt::write_all(&mut link.commands, &frame).await?;
        Ok(link)
    }

    /// Connects to the shim that lives in `dir`.
    pub async fn connect(dir: &Path) -> io::Result<Self> {
        let name = SocketName::in_dir(dir)?;
        Ok(Self::over(UnixStream::connect(name.path()).await?, None))
    }

    fn over(stream: UnixStream, child: Option<Child>) -> Self {
        let (mut from, commands) = stream.into_split();
        let (send, events) = mpsc::channel(QUEUE);
        // Reading a frame must not be cut off half-way, so it has a task of its own.
        let reading = tokio::spawn(async move {
            loop {
                match protocol::read::<Event>(&mut from).await {
                    Ok(Some(event)) => {
                        if send.send(event).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(error) => return tracing::debug!(%error, "a shim's connection broke"),
                }
            }
        });
        Self { events, commands, child, _reading: AbortOnDropHandle::new(reading) }
    }

    /// The next event; `None` once the shim is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Tells the shim. That it is gone shows as the end of its events.
    pub async fn say(&mut self, command: Command) {
        if let Err(error) = protocol::write(&mut self.commands, &command).await {
            tracing::debug!(%error, ?command, "a shim cannot be told");
        }
    }

    /// Lets the shim go after its end, and waits for it in the background.
    pub async fn finish(mut self) {
        self.say(Command::Forget).await;
        if let Some(mut child) = self.child.take() {
            tokio::spawn(async move { child.wait().await });
        }
    }

    /// The exit status of a shim that is gone, for people.
    pub async fn epitaph(mut self) -> String {
        match self.child.take() {
            Some(mut child) => match tokio::time::timeout(std::time::Duration::from_secs(2), child.wait()).await {
                Ok(Ok(status)) => format!("its shim ended ({status})"),
                Ok(Err(_)) | Err(_) => "its shim hung up".into(),
            },
            None => "its shim is gone".into(),
        }
    }
}
