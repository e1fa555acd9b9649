//! The routers that are connected: the one that started the replica, and those that come later.

use std::io;
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use crate::backend::process::paths::SocketName;
use crate::backend::process::protocol::{self, Command, Event};

/// One router; two during a take-over. More are turned away.
const MAX_ROUTERS: usize = 4;

/// What the control side tells the shim.
pub enum Told {
    /// A router is there; it is told events through the sender.
    Connected(u64, mpsc::UnboundedSender<Event>),
    /// It says.
    Command(Command),
    /// It is gone.
    Gone(u64),
}

/// Listens in the replica's folder.
pub fn listen(dir: &Path) -> io::Result<UnixListener> {
    let name = SocketName::in_dir(dir)?;
    UnixListener::bind(name.path())
}

/// Serves the first router and every one that connects later.
pub async fn serve(first: UnixStream, listener: Option<UnixListener>, told: mpsc::UnboundedSender<Told>) {
    let mut next = 0;
    let mut connected = tokio::task::JoinSet::new();
    connected.spawn_local(router(next, first, told.clone()));
    let Some(listener) = listener else { return drop(connected.join_next().await) };
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of descriptors: the router tries again, and the shim must not spin.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                };
                let ours = stream.peer_cred().is_ok_and(|c| c.uid() == rustix::process::geteuid().as_raw());
                if ours && connected.len() < MAX_ROUTERS {
                    next += 1;
                    connected.spawn_local(router(next, stream, told.clone()));
                }
            }
            Some(_) = connected.join_next() => {}
        }
    }
}

async fn router(id: u64, stream: UnixStream, told: mpsc::UnboundedSender<Told>) {
    let (mut from, mut to) = stream.into_split();
    let (events, mut outgoing) = mpsc::unbounded_channel();
    // The shim may be at its end, when nobody listens to this side any more.
    let _ = told.send(Told::Connected(id, events));
    let mut writing = spawn_local(async move {
        while let Some(event) = outgoing.recv().await {
            if protocol::write(&mut to, &event).await.is_err() {
                break;
            }
        }
    });
    let reading = async {
        while let Ok(Some(command)) = protocol::read::<Command>(&mut from).await {
            let _ = told.send(Told::Command(command));
        }
    };
    tokio::select! {
        () = reading => {}
        _ = &mut writing => {}
    }
    writing.abort();
    let _ = told.send(Told::Gone(id));
}
