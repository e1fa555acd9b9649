//! Opens what a mount names, beneath the landscape's root and nowhere else.
//!
//! The path is walked by the kernel (`openat2`) with `RESOLVE_BENEATH` and `RESOLVE_NO_MAGICLINKS`:
//! a symbolic link may lead to another place beneath the root, one that leads out is an error, and
//! what is swapped meanwhile changes nothing, because all that follows uses the descriptor.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

/// Who owns what the router creates: the shared file system's own user and group.
const OWNER: (u32, u32) = (1501, 1010);
/// With that owner, every container (each has the group) writes at the mount's root.
const OWNED_MODE: u32 = 0o775;
/// Without the right to give files away, only everybody's right lets another uid write there.
const FOREIGN_MODE: u32 = 0o777;
/// `EAGAIN` means that something was renamed during the walk.
const WALKS: usize = 16;

/// What was opened.
#[derive(Debug)]
pub(super) struct Opened {
    /// An `O_PATH` descriptor.
    pub(super) fd: OwnedFd,
    /// A directory rather than a regular file.
    pub(super) directory: bool,
}

/// Why a mount's source cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// For good: it leads out of the root, or is no file or directory. The text says what to do.
    Never(String),
    /// For now.
    Now(String),
}

/// Opens the root itself. Its own path is the operator's: symbolic links in it are followed.
pub(super) fn open_root(root: &Path) -> Result<OwnedFd, Refused> {
    fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Refused::Now(format!("the landscape's root {} cannot be opened: {e}", root.display())))
}

/// Opens `path` (relative, normalised, `""` for the root itself); a missing directory is made.
pub(super) fn open(root: &OwnedFd, path: &str) -> Result<Opened, Refused> {
    let path = if path.is_empty() { "." } else { path };
    let fd = match walk(root, path) {
        Err(Errno::NOENT) => {
            make(root, path)?;
            walk(root, path)
        }
        other => other,
    };
    let fd = fd.map_err(|e| refused(path, e))?;
    let stat = fs::fstat(&fd).map_err(|e| refused(path, e))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(Opened { fd, directory: true }),
        FileType::RegularFile => Ok(Opened { fd, directory: false }),
        other => Err(Refused::Never(format!("workspacePath `{path}` is neither a file nor a directory ({other:?})"))),
    }
}

/// Makes the directories of `path` that are missing, each below one that was opened beneath the root.
fn make(root: &OwnedFd, path: &str) -> Result<(), Refused> {
    let mut at = walk(root, ".").map_err(|e| refused(path, e))?;
    let mut so_far = String::new();
    for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if !so_far.is_empty() {
            so_far.push('/');
        }
        so_far.push_str(part);
        match walk(root, &so_far) {
            Ok(next) => at = next,
            Err(Errno::NOENT) => {
                // A dangling link is not something to create behind.
                match fs::mkdirat(&at, part, Mode::from_raw_mode(0o700)) {
                    Ok(()) => {}
                    Err(Errno::EXIST) if walk(root, &so_far).is_ok() => {}
                    Err(Errno::EXIST) => {
                        let text = format!("workspacePath `{path}`: `{so_far}` is a symbolic link that leads nowhere");
                        return Err(Refused::Never(text));
                    }
                    Err(e) => return Err(refused(path, e)),
                }
                at = walk(root, &so_far).map_err(|e| refused(path, e))?;
                give_away(&at).map_err(|e| refused(path, e))?;
            }
            Err(e) => return Err(refused(path, e)),
        }
    }
    Ok(())
}

/// Gives a directory that was just made to the shared file system's user.
fn give_away(fd: &OwnedFd) -> Result<(), Errno> {
    let empty = AtFlags::EMPTY_PATH;
    let mine = fs::chownat(fd, "", Some(Uid::from_raw(OWNER.0)), Some(Gid::from_raw(OWNER.1)), empty).is_ok();
    let mode = Mode::from_raw_mode(if mine { OWNED_MODE } else { FOREIGN_MODE });
    // An `O_PATH` descriptor takes no chmod; opened again for reading it is the same directory.
    let readable = fs::openat(fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    fs::fchmod(&readable, mode)
}

fn walk(root: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut last = Errno::AGAIN;
    for _ in 0..WALKS {
        match fs::openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => last = Errno::AGAIN,
            other => return other,
        }
    }
    Err(last)
}

fn refused(path: &str, errno: Errno) -> Refused {
    match errno {
        Errno::XDEV => Refused::Never(format!(
            "workspacePath `{path}` leads out of the landscape's root through a symbolic link: \
             put the data beneath the root, or make the link relative and stay inside"
        )),
        Errno::LOOP => Refused::Never(format!("workspacePath `{path}` goes through too many or forbidden links")),
        Errno::NOTDIR => Refused::Never(format!("workspacePath `{path}` goes through something that is no directory")),
        other => Refused::Now(format!("workspacePath `{path}` cannot be opened: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn inode(opened: &Opened) -> u64 {
        fs::fstat(&opened.fd).unwrap().st_ino
    }

    #[test]
    fn directories_files_and_the_root_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/one"), "x").unwrap();
        let root = open_root(dir.path()).unwrap();
        assert!(open(&root, "").unwrap().directory);
        assert!(open(&root, "data").unwrap().directory);
        let file = open(&root, "data/one").unwrap();
        assert!(!file.directory);
        assert_eq!(inode(&file), std::fs::metadata(dir.path().join("data/one")).unwrap().ino());
    }

    #[test]
    fn a_missing_directory_is_made_and_every_container_may_write_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = open_root(dir.path()).unwrap();
        assert!(open(&root, "a/b").unwrap().directory);
        for made in ["a", "a/b"] {
            let meta = std::fs::metadata(dir.path().join(made)).unwrap();
            let given = meta.gid() == OWNER.1 && meta.mode() & 0o777 == OWNED_MODE;
            assert!(given || meta.mode() & 0o777 == FOREIGN_MODE, "{made}: {meta:?}");
        }
    }

    #[test]
    fn links_that_leave_the_root_are_refused_and_others_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root_path = dir.path().join("root");
        std::fs::create_dir_all(root_path.join("real")).unwrap();
        std::fs::create_dir(dir.path().join("secret")).unwrap();
        symlink("real", root_path.join("inside")).unwrap();
        symlink("../secret", root_path.join("up")).unwrap();
        symlink("/etc", root_path.join("absolute")).unwrap();
        symlink("/proc/self/root", root_path.join("magic")).unwrap();
        symlink("nowhere", root_path.join("dangling")).unwrap();
        let root = open_root(&root_path).unwrap();
        assert!(open(&root, "inside").unwrap().directory);
        for bad in ["up", "absolute", "absolute/passwd", "magic", "dangling", "dangling/x"] {
            let got = open(&root, bad);
            assert!(matches!(got, Err(Refused::Never(_))), "{bad}: {got:?}");
        }
        assert!(!root_path.join("nowhere").exists());
    }

    #[test]
    fn a_socket_is_not_handed_in() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let root = open_root(dir.path()).unwrap();
        assert!(matches!(open(&root, "s"), Err(Refused::Never(_))));
    }

    #[test]
    fn a_swap_after_the_opening_gains_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let root = open_root(dir.path()).unwrap();
        let opened = open(&root, "data").unwrap();
        let before = inode(&opened);
        std::fs::rename(dir.path().join("data"), dir.path().join("old")).unwrap();
        symlink("/etc", dir.path().join("data")).unwrap();
        assert_eq!(inode(&opened), before);
    }
}
