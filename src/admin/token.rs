//! The token that proves to be the router's own user: written by the router, found by the CLI.
//!
//! It lies in the user's runtime directory under the admin port's number, readable by the user alone.
//! A valid one that is there already is kept, so that a restart or a take-over changes nothing for
//! those who hold it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Random bytes of a token; written as twice as many hex digits.
const BYTES: usize = 32;

/// Why a token cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder or file could be someone else's.
    #[error("{} {what}; remove it, or set XDG_RUNTIME_DIR to a folder that is yours alone", path.display())]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The system has no random numbers.
    #[error("the system gave no random numbers")]
    Random,
}

/// A secret. Shows itself to nobody; compare with [`Token::is`].
#[derive(Clone)]
pub struct Token(Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<token>")
    }
}

impl Token {
    /// A fresh one.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; BYTES];
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.secure_random.fill(&mut bytes).map_err(|_| TokenError::Random)?;
        Ok(Self(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into()))
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let good = text.len() == 2 * BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
        good.then(|| Self(text.into()))
    }

    /// Whether `given` is this one, in a time that does not tell how much of it is right.
    pub fn is(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        own.len() == given.len() && own.iter().zip(given).fold(0, |d, (a, b)| d | (a ^ b)) == 0
    }

    /// The secret itself, for an `Authorization` field.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Where tokens may lie, best first. Made from the environment by [`Places::of_user`].
#[derive(Clone, Debug)]
pub struct Places {
    /// Folders that exist and are the user's: ours is made inside.
    runtime: Vec<PathBuf>,
    /// For systems without: the folder itself, in a place that all may write to.
    temp: PathBuf,
    uid: u32,
}

impl Places {
    /// `$XDG_RUNTIME_DIR`, `/run/user/<uid>`, and a folder of the user's own in the one for temporary
    /// files.
    pub fn of_user() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let temp = std::env::temp_dir();
        Self::new(named, PathBuf::from(format!("/run/user/{uid}")), temp, uid)
    }

    fn new(named: Option<PathBuf>, usual: PathBuf, temp: PathBuf, uid: u32) -> Self {
        let runtime = named.into_iter().filter(|p| p.is_absolute()).chain([usual]).collect();
        Self { runtime, temp: temp.join(format!("landscape-router-{uid}")), uid }
    }

    /// Every file that may hold the token of the router whose admin listener has this port.
    pub fn files(&self, port: u16) -> Vec<PathBuf> {
        let name = format!("admin-{port}.token");
        let ours = self.runtime.iter().map(|p| p.join("landscape-router"));
        ours.chain([self.temp.clone()]).map(|p| p.join(&name)).collect()
    }

    /// The router's side: keeps the token that is there, or writes a fresh one. Returns it and its
    /// file.
    pub fn establish(&self, port: u16) -> Result<(Token, PathBuf), TokenError> {
        let folder = self.folder()?;
        let path = folder.join(format!("admin-{port}.token"));
        let io = |source| TokenError::Io { path: path.clone(), source };
        if let Ok(Some((token, _))) = self.read(&path) {
            // The newest is the one that counts, should another router have left one elsewhere.
            let file = OpenOptions::new().write(true).open(&path);
            if let Err(e) = file.and_then(|f| f.set_modified(SystemTime::now())) {
                tracing::warn!("{} stays as old as it is: {e}", path.display());
            }
            return Ok((token, path));
        }
        let token = Token::random()?;
        // Written beside and renamed: nobody reads half of it, and it was never readable by others.
        let fresh = folder.join(format!(".admin-{port}.{}", std::process::id()));
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io(e)),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).map_err(io)?;
        file.write_all(format!("{}\n", token.reveal()).as_bytes()).map_err(io)?;
        fs::rename(&fresh, &path).map_err(io)?;
        Ok((token, path))
    }

    /// The CLI's side: the token of the router at this port; `None` where there is no file. Of several it
    /// is the one that was established last: earlier routers, started from another environment, leave
    /// theirs behind.
    pub fn find(&self, port: u16) -> Result<Option<Token>, TokenError> {
        let mut unusable = None;
        let mut newest: Option<(Token, SystemTime)> = None;
        for path in self.files(port) {
            match self.read(&path) {
                Ok(Some(found)) if newest.as_ref().is_none_or(|(_, at)| found.1 > *at) => newest = Some(found),
                Ok(_) => {}
                Err(e) => unusable = unusable.or(Some(e)),
            }
        }
        match (newest, unusable) {
            (Some((token, _)), _) => Ok(Some(token)),
            (None, Some(e)) => Err(e),
            (None, None) => Ok(None),
        }
    }

    /// Our folder, made if need be, mode 0700, and ours.
    fn folder(&self) -> Result<PathBuf, TokenError> {
        let ours = |p: &&PathBuf| fs::metadata(p).is_ok_and(|m| m.is_dir() && m.uid() == self.uid);
        let folder = match self.runtime.iter().find(ours) {
            Some(runtime) => runtime.join("landscape-router"),
            None => self.temp.clone(),
        };
        let io = |source| TokenError::Io { path: folder.clone(), source };
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(io(e)),
            _ => {}
        }
        // Not followed: in a folder for temporary files anybody may have put a link there.
        let meta = fs::symlink_metadata(&folder).map_err(io)?;
        let wrong = |what| Err(TokenError::Unsafe { path: folder.clone(), what });
        if !meta.is_dir() {
            return wrong("is not a folder");
        }
        if meta.uid() != self.uid {
            return wrong("belongs to another user");
        }
        if meta.mode() & 0o077 != 0 {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(io)?;
        }
        Ok(folder)
    }

    /// A token's file, and when it was established: `None` where there is none or it holds none.
    fn read(&self, path: &Path) -> Result<Option<(Token, SystemTime)>, TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(io(e)),
        };
        let wrong = |what| Err(TokenError::Unsafe { path: path.to_owned(), what });
        if !meta.is_file() {
            return wrong("is not a file");
        }
        if meta.uid() != self.uid || meta.mode() & 0o077 != 0 {
            return wrong("is not this user's alone");
        }
        let at = meta.modified().map_err(io)?;
        Ok(Token::parse(&fs::read_to_string(path).map_err(io)?).map(|token| (token, at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(named: Option<PathBuf>, temp: &Path) -> Places {
        Places::new(named, temp.join("none"), temp.to_owned(), rustix::process::geteuid().as_raw())
    }

    #[test]
    fn it_is_written_for_the_user_alone_kept_and_found() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(Some(dir.path().into()), dir.path());
        let (token, path) = places.establish(9090).unwrap();
        assert_eq!(path, dir.path().join("landscape-router/admin-9090.token"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let (again, _) = places.establish(9090).unwrap();
        assert_eq!(again.reveal(), token.reveal());
        assert!(places.find(9090).unwrap().unwrap().is(token.reveal().as_bytes()));
        assert!(places.find(9091).unwrap().is_none());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn without_a_runtime_folder_it_lies_in_one_of_the_users_own() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(None, dir.path());
        let (_, path) = places.establish(1).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(path, dir.path().join(format!("landscape-router-{uid}/admin-1.token")));
    }

    #[test]
    fn a_planted_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(None, dir.path());
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &places.temp).unwrap();
        assert!(matches!(places.establish(1), Err(TokenError::Unsafe { .. })));
    }

    #[test]
    fn one_that_others_could_read_is_not_used_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(None, dir.path());
        let (old, path) = places.establish(1).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(places.find(1), Err(TokenError::Unsafe { .. })));
        let (new, _) = places.establish(1).unwrap();
        assert_ne!(old.reveal(), new.reveal());
        fs::write(&path, "half").unwrap();
        assert_ne!(places.establish(1).unwrap().0.reveal(), new.reveal());
    }

    #[test]
    fn what_an_earlier_router_left_elsewhere_does_not_hide_the_live_one() {
        let (named, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (with, without) = (places(Some(named.path().into()), temp.path()), places(None, temp.path()));
        let age = |path: &Path| {
            let long_ago = SystemTime::now() - std::time::Duration::from_secs(3600);
            OpenOptions::new().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        };
        let (stale, left) = with.establish(1).unwrap();
        let (live, kept) = without.establish(1).unwrap();
        age(&left);
        assert_eq!(with.find(1).unwrap().unwrap().reveal(), live.reveal());
        // Kept over a restart, it is the newest again.
        age(&kept);
        assert_eq!(with.establish(1).unwrap().0.reveal(), stale.reveal());
        assert_eq!(with.find(1).unwrap().unwrap().reveal(), stale.reveal());
        // One that cannot be used hides none that can.
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(with.find(1).unwrap().unwrap().reveal(), live.reveal());
    }

    #[test]
    fn it_is_compared_whole_and_never_shown() {
        let token = Token::random().unwrap();
        assert!(token.is(token.reveal().as_bytes()));
        assert!(!token.is(b"") && !token.is(&token.reveal().as_bytes()[1..]) && !token.is(&[b'x'; 64]));
        assert!(!format!("{token:?}").contains(token.reveal()));
    }
}
