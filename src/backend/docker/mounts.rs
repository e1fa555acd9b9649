//! Binds descriptors into containers.
//!
//! The engine takes paths, and it is another process: between our look and its mount a tenant could
//! swap a path for a symbolic link. So it never gets a path that a tenant can change.
//!
//! * A **directory** becomes a volume of the engine's `local` driver (`type=none,o=bind`) whose device
//!   is `/proc/<router>/fd/<n>`. The engine's own process mounts it when the container starts; the
//!   kernel follows that magic link to the very directory that was opened, whatever its path says by
//!   then. (As the source of a plain bind mount the same path fails with `EINVAL`: runc mounts in a
//!   new mount namespace, in which the descriptor's mount does not exist.)
//! * A **file** is bound from a private name in the router's own folder (0700): a bind mount of the
//!   descriptor where the router may mount, else a hard link made from the descriptor. Both are
//!   taken away once the container has started.
//!
//! All of this is right only if the engine shares our process table and our view of that folder. The
//! engine proves it once a connection: it has to know a file with a random name, by each of the paths.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use bollard::models::{
    ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::beneath::{self, Opened, Refused};
use super::engine::Up;
use super::labels::Instance;
use super::trouble::{CALL, ELSEWHERE, Trouble, backend, is_away, judge, not_runnable, status, text, within};
use crate::backend::container::Source;

/// The mounts of one container that is about to start, and what has to live until it has.
pub(super) struct Prepared {
    /// For the container's configuration.
    pub(super) mounts: Vec<Mount>,
    /// The engine finds these under `/proc`.
    _open: Vec<OwnedFd>,
    _names: Vec<PrivateName>,
}

/// A file's private name; gone with the value.
struct PrivateName {
    path: PathBuf,
    mounted: bool,
}

impl Drop for PrivateName {
    fn drop(&mut self) {
        if self.mounted
            && let Err(e) = unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        {
            tracing::warn!("{} stays mounted: {e}", self.path.display());
            return;
        }
        if let Err(e) = std::fs::remove_file(&self.path) {
            tracing::warn!("{} stays: {e}", self.path.display());
        }
    }
}

/// How the engine proved itself, for one connection.
#[derive(Clone, Copy, Default)]
struct Proof {
    epoch: u64,
    /// It finds our descriptors.
    descriptors: bool,
    /// It sees names, and bind mounts, in our folder.
    folder: bool,
}

/// The folder of private names, and what is known of the engine.
pub(super) struct Mounts {
    instance: Instance,
    folder: PathBuf,
    proof: tokio::sync::Mutex<Proof>,
}

impl Mounts {
    /// `folder` is made when it is needed.
    pub(super) fn new(instance: Instance, folder: PathBuf) -> Self {
        Self { instance, folder, proof: tokio::sync::Mutex::default() }
    }

    /// Opens every source beneath `root` and makes it ready for the container called `container`.
    pub(super) async fn prepare(
        &self,
        up: &Up,
        image: &str,
        container: &str,
        root: &Path,
        sources: &[Source<'_>],
    ) -> Result<Prepared, Trouble> {
        let mut prepared = Prepared { mounts: Vec::new(), _open: Vec::new(), _names: Vec::new() };
        if sources.is_empty() {
            return Ok(prepared);
        }
        let opened = open_all(root.to_owned(), sources.iter().map(|s| s.path.to_owned()).collect()).await?;
        for (n, (source, Opened { fd, directory })) in sources.iter().zip(opened).enumerate() {
            let name = format!("{container}-{n}");
            if directory {
                self.proved(up, image, false).await?;
                prepared.mounts.push(self.volume(name, &fd, source.target));
                prepared._open.push(fd);
            } else {
                self.proved(up, image, true).await?;
                let private = self.private_name(&name, &fd, source.path)?;
                prepared.mounts.push(Mount {
                    typ: Some(MountType::BIND),
                    source: Some(private.path.to_string_lossy().into_owned()),
                    target: Some(source.target.to_owned()),
                    ..Default::default()
                });
                prepared._names.push(private);
            }
        }
        Ok(prepared)
    }

    fn volume(&self, name: String, fd: &OwnedFd, target: &str) -> Mount {
        let device = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        let options = [("type", "none"), ("o", "bind"), ("device", &device)];
        Mount {
            typ: Some(MountType::VOLUME),
            source: Some(name),
            target: Some(target.to_owned()),
            volume_options: Some(MountVolumeOptions {
                // Else the engine would copy what the image has at the target into the user's files.
                no_copy: Some(true),
                labels: Some(self.instance.landscape_labels("")),
                driver_config: Some(MountVolumeOptionsDriverConfig {
                    name: Some("local".into()),
                    options: Some(options.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn private_name(&self, name: &str, fd: &OwnedFd, shown: &str) -> Result<PrivateName, Trouble> {
        let path = self.folder.join(name);
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let io = |e: std::io::Error| Trouble::from(backend(format!("{}: {e}", path.display())));
        clear(&path).map_err(io)?;
        std::fs::File::create_new(&path).map_err(io)?;
        if mount_bind(&link, &path).is_ok() {
            return Ok(PrivateName { path, mounted: true });
        }
        std::fs::remove_file(&path).map_err(io)?;
        match rustix::fs::linkat(CWD, &*link, CWD, &path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(PrivateName { path, mounted: false }),
            Err(e) => Err(not_runnable(format!(
                "the file `{shown}` cannot be handed to the container safely ({e}): run the router as root, keep \
                 `state` and the landscape's root on one file system, or mount the file's directory"
            ))
            .into()),
        }
    }

    /// Has the engine prove that it finds our descriptors and, for `files`, the names in our folder.
    async fn proved(&self, up: &Up, image: &str, files: bool) -> Result<(), Trouble> {
        let mut proof = self.proof.lock().await;
        if proof.epoch != up.epoch {
            *proof = Proof { epoch: up.epoch, ..Proof::default() };
        }
        if !(if files { proof.folder } else { proof.descriptors }) {
            self.prove(up, image, files).await?;
            *(if files { &mut proof.folder } else { &mut proof.descriptors }) = true;
        }
        Ok(())
    }

    async fn prove(&self, up: &Up, image: &str, files: bool) -> Result<(), Trouble> {
        let io = |e: std::io::Error| Trouble::from(backend(format!("{}: {e}", self.folder.display())));
        private_folder(&self.folder).map_err(io)?;
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
        let place = self.folder.join(format!("proof-{secret}"));
        std::fs::create_dir(&place).map_err(io)?;
        let _place = Removed(&place);
        std::fs::write(place.join(&secret), "").map_err(io)?;
        if !files {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&place, flags, Mode::empty()).map_err(|e| io(e.into()))?;
            let path = format!("/proc/{}/fd/{}/{secret}", std::process::id(), fd.as_raw_fd());
            return self.engine_sees(up, image, &path).await;
        }
        // A name that only a mount of ours makes: an engine in another mount namespace lacks it.
        let over = self.folder.join(format!("mounted-{secret}"));
        std::fs::create_dir(&over).map_err(io)?;
        let _over = Removed(&over);
        let mounted = mount_bind(&place, &over).is_ok();
        let seen = if mounted { over.join(&secret) } else { place.join(&secret) };
        let answer = self.engine_sees(up, image, &seen.to_string_lossy()).await;
        if mounted {
            unmount(&over, UnmountFlags::DETACH).map_err(|e| io(e.into()))?;
        }
        answer
    }

    /// Makes (never starts) a container with a bind mount of `path`: the engine refuses it when it
    /// does not find the path.
    async fn engine_sees(&self, up: &Up, image: &str, path: &str) -> Result<(), Trouble> {
        let mount = Mount {
            typ: Some(MountType::BIND),
            source: Some(path.to_owned()),
            target: Some("/landscape-router-proof".into()),
            read_only: Some(true),
            ..Default::default()
        };
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["landscape-router-proof".into()]),
            labels: Some(self.instance.job_labels("", "proof")),
            host_config: Some(HostConfig {
                mounts: Some(vec![mount]),
                network_mode: Some("none".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let made =
            within(CALL, up.docker.create_container(Some(CreateContainerOptionsBuilder::default().build()), body));
        match made.await {
            Ok(made) => {
                let force = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
                if let Err(e) = within(CALL, up.docker.remove_container(&made.id, Some(force))).await {
                    tracing::debug!("a proof's container stays until the next start: {}", text(&e));
                }
                Ok(())
            }
            // Not there, or something else's and not to be looked at: it is not our file in any case.
            Err(e) if status(&e) == Some(400) && text(&e).contains("invalid mount config") => {
                Err(not_runnable(ELSEWHERE.into()).into())
            }
            Err(e) => Err(judge("ask the engine what it sees", &e)),
        }
    }

    /// Removes the volumes of a container that is gone.
    pub(super) async fn release(&self, up: &Up, container: &str) -> Result<(), Trouble> {
        self.remove_volumes(up, ("name", container)).await
    }

    /// Removes what an earlier router left: names in the folder, and volumes without a container.
    pub(super) async fn sweep(&self, up: &Up) -> Result<(), Trouble> {
        if let Ok(entries) = std::fs::read_dir(&self.folder) {
            for entry in entries.flatten() {
                if let Err(e) = clear(&entry.path()) {
                    tracing::warn!("{} stays: {e}", entry.path().display());
                }
            }
        }
        self.remove_volumes(up, ("dangling", "true")).await
    }

    async fn remove_volumes(&self, up: &Up, which: (&str, &str)) -> Result<(), Trouble> {
        let filters = HashMap::from([
            ("label".to_owned(), vec![self.instance.filter()]),
            (which.0.to_owned(), vec![which.1.to_owned()]),
        ]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let listed =
            within(CALL, up.docker.list_volumes(Some(options))).await.map_err(|e| judge("list volumes", &e))?;
        for volume in listed.volumes.unwrap_or_default() {
            remove_volume(up, &volume.name).await?;
        }
        Ok(())
    }
}

/// Opens the sources on a thread of its own: a network file system may take its time.
async fn open_all(root: PathBuf, paths: Vec<String>) -> Result<Vec<Opened>, Trouble> {
    let work = move || {
        let root = beneath::open_root(&root)?;
        paths.iter().map(|path| beneath::open(&root, path)).collect::<Result<Vec<_>, Refused>>()
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(opened) => opened.map_err(told),
        Err(e) => Err(backend(format!("the mounts could not be opened: {e}")).into()),
    }
}

async fn remove_volume(up: &Up, name: &str) -> Result<(), Trouble> {
    match within(CALL, up.docker.remove_volume(name, None::<RemoveVolumeOptions>)).await {
        Ok(()) => Ok(()),
        Err(e) if status(&e) == Some(404) => Ok(()),
        Err(e) if is_away(&e) => Err(judge("remove a volume", &e)),
        Err(e) => {
            tracing::warn!("the volume {name} stays until the next start: {}", text(&e));
            Ok(())
        }
    }
}

/// A folder of the proof, removed with the value.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        if let Err(e) = clear(self.0) {
            tracing::warn!("{} stays: {e}", self.0.display());
        }
    }
}

/// Removes a name of ours, whatever it is. What is mounted there is unmounted first, and a folder is
/// only ever removed with the one empty file of a proof: never what a mount that resisted shows.
fn clear(path: &Path) -> std::io::Result<()> {
    match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM | rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let gone = |r: std::io::Result<()>| match r {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            if let Some(secret) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("proof-")) {
                gone(std::fs::remove_file(path.join(secret)))?;
            }
            gone(std::fs::remove_dir(path))
        }
        Ok(_) => gone(std::fs::remove_file(path)),
        Err(e) => gone(Err(e)),
    }
}

fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn told(refused: Refused) -> Trouble {
    match refused {
        Refused::Never(detail) => not_runnable(detail).into(),
        Refused::Now(detail) => backend(detail).into(),
    }
}
