//! Finding what an earlier router of the same `state` left.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::leftover;
use super::link::Link;
use super::paths::{Paths, SOCKET};
use super::procfs::Identity;
use super::protocol::{Command, Event, Hello, Meta, Owner, PROTOCOL, ShimState};
use super::replica;
use super::room::{Room, Target};
use crate::backend::{BackendError, Found, Goal};

/// A shim answers within microseconds; one that does not in so long is treated as gone.
const HELLO: Duration = Duration::from_secs(3);
/// A shim that was started in the moment its router died needs so long to open its socket.
const YOUNG: Duration = Duration::from_secs(2);
/// Jobs of an earlier router are ended, with this grace.
const JOB_GRACE: Duration = Duration::from_secs(1);

/// What a folder turned out to be.
enum Left {
    Replica(Box<(Link, Hello)>),
    Nothing,
}

/// See [`crate::backend::Backend::adopt`].
pub(super) async fn adopt(room: &Arc<Room>) -> Result<Vec<Found>, BackendError> {
    let run = room.paths.run();
    let entries = std::fs::read_dir(&run)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<PathBuf>>>())
        .map_err(|e| BackendError::Failed(format!("{}: {e}", run.display())))?;
    let mut looks = JoinSet::new();
    for dir in entries {
        looks.spawn(async move { (look(&dir).await, dir) });
    }
    let mut found = Vec::new();
    while let Some(looked) = looks.join_next().await {
        let (left, dir) = looked.map_err(|e| BackendError::Failed(e.to_string()))?;
        match left {
            Ok(Left::Replica(replica)) => {
                let (link, hello) = *replica;
                found.extend(take(room, link, hello).await);
            }
            Ok(Left::Nothing) => {}
            Err(error) => tracing::warn!("what an earlier router left in {}: {error}", dir.display()),
        }
    }
    found.sort_by(|a, b| (&a.service, a.id).cmp(&(&b.service, b.id)));
    Ok(found)
}

/// The shims of an earlier router that live: their numbers. Blocks, for as long as it takes to read a small
/// file for each.
pub fn living_shims(state: &Path) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(Paths::at(state).run()) else { return Vec::new() };
    let shim = |dir: PathBuf| {
        let meta = Meta::read(&dir).ok().flatten()?;
        meta.shim.filter(Identity::is_alive).map(|shim| shim.pid)
    };
    entries.flatten().filter_map(|entry| shim(entry.path())).collect()
}

/// Connects to the shim of a folder; without one, cleans up.
async fn look(dir: &Path) -> io::Result<Left> {
    let mut link = match connect(dir).await {
        Ok(link) => link,
        Err(error) => {
            tracing::debug!("no shim in {}: {error}", dir.display());
            return leftover::clean(dir).await.map(|()| Left::Nothing);
        }
    };
    let Ok(Some(Event::Hello(hello))) = tokio::time::timeout(HELLO, link.next()).await else {
        drop(link);
        return leftover::clean(dir).await.map(|()| Left::Nothing);
    };
    let replica = matches!(hello.meta.owner, Owner::Replica { .. });
    match &hello.state {
        ShimState::Ended(_) => {
            link.finish().await;
            Ok(Left::Nothing)
        }
        _ if replica && hello.meta.protocol == PROTOCOL => Ok(Left::Replica(Box::new((link, hello)))),
        // A job has lost who waited for it, and a shim of another version cannot be driven.
        _ => end(link, dir).await.map(|()| Left::Nothing),
    }
}

async fn connect(dir: &Path) -> io::Result<Link> {
    let young_until = std::fs::metadata(dir)?
        .modified()?
        .elapsed()
        .ok()
        .and_then(|age| YOUNG.checked_sub(age))
        .map(|left| Instant::now() + left);
    loop {
        match Link::connect(dir).await {
            Err(e) if young_until.is_some_and(|until| Instant::now() < until) && !dir.join(SOCKET).exists() => {
                tracing::trace!("{}: {e}", dir.display());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

async fn end(mut link: Link, dir: &Path) -> io::Result<()> {
    link.say(Command::Stop { grace_ms: replica::millis(JOB_GRACE) }).await;
    let gone = async {
        loop {
            match link.next().await {
                Some(Event::Ended(_)) | None => return,
                Some(_) => {}
            }
        }
    };
    if tokio::time::timeout(JOB_GRACE + HELLO, gone).await.is_err() {
        drop(link);
        return leftover::clean(dir).await;
    }
    link.finish().await;
    Ok(())
}

/// Drives a found replica from now on.
async fn take(room: &Arc<Room>, link: Link, hello: Hello) -> Option<Found> {
    let meta = &hello.meta;
    let Owner::Replica { service, id, digest } = meta.owner.clone() else { return None };
    room.keep(meta, &service.landscape).await;
    let goal = match hello.state {
        ShimState::Running => Some(Goal::Run),
        ShimState::Paused => Some(Goal::Pause),
        ShimState::Stopping | ShimState::Ended(_) => None,
    };
    let found = Found { service: service.clone(), id, digest, goal, addresses: meta.addresses(), since: meta.since };
    let mut replicas = room.replicas.lock();
    let entry = replica::spawn(room, service.clone(), id, Target::Keep, Some((link, hello)));
    replicas.insert((service, id), entry);
    Some(found)
}
