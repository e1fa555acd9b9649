//! The last good text of each landscape's ci.yml, kept in the state folder: what a landscape runs on
//! while its file is broken, and after a restart too. The text as written, no expanded secret.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::yaml::{Mistake, Place, Severity};

/// Folder inside the state folder.
const FOLDER: &str = "landscapes";

/// The texts of the landscapes that were read and are good.
#[derive(Default)]
pub struct GoodLandscapes {
    pub(super) state: PathBuf,
    pub(super) texts: Vec<(Arc<str>, Vec<u8>)>,
    /// Every landscape of router.yaml.
    pub(super) ids: HashSet<Arc<str>>,
}

impl GoodLandscapes {
    /// Keeps them in the state folder, which has to be this router's, and forgets landscapes that are no
    /// more. A disk that is full is a warning: the router serves on. Blocks on files.
    pub fn keep(&self) -> Option<Mistake> {
        let kept = LastGood::of(&self.state);
        let saved = self.texts.iter().try_for_each(|(id, text)| kept.save(id, text));
        let e = saved.and_then(|()| kept.keep_only(|id| self.ids.contains(id))).err()?;
        Some(Mistake {
            severity: Severity::Warning,
            file: Arc::new(self.state.clone()),
            place: Place::default(),
            field: String::new(),
            message: format!("the last good landscapes cannot be kept: {e}"),
            remedy: Some("check the folder's owner and the disk's space".into()),
            excerpt: None,
        })
    }
}

/// A ci.yml may hold secrets in plain text: only its landscape's name is shown.
impl fmt::Debug for GoodLandscapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts.iter().map(|(id, _)| id)).finish()
    }
}

/// Where last good texts are kept.
#[derive(Clone, Debug)]
pub(super) struct LastGood {
    folder: PathBuf,
}

impl LastGood {
    pub(super) fn of(state: &Path) -> Self {
        Self { folder: state.join(FOLDER) }
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.yml"))
    }

    /// The text that was kept for a landscape.
    pub(super) fn read(&self, id: &str) -> Option<Vec<u8>> {
        crate::yaml::file::read(&self.file(id)).ok()
    }

    /// Keeps a text, if it is another one. It is either there whole or not at all.
    pub(super) fn save(&self, id: &str, text: &[u8]) -> io::Result<()> {
        if self.read(id).is_some_and(|kept| kept == text) {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let fresh = self.folder.join(format!("{id}.yml.new"));
        let result = write(&fresh, text).and_then(|()| fs::rename(&fresh, self.file(id)));
        if result.is_err() {
            // A disk that is full needs no half-written file besides.
            let _ = fs::remove_file(&fresh);
        }
        result
    }

    /// Forgets landscapes that router.yaml no longer has.
    pub(super) fn keep_only(&self, is_known: impl Fn(&str) -> bool) -> io::Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|n| n.strip_suffix(".yml"));
            if id.is_some_and(|id| !is_known(id)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // Not synced: a thousand landscapes would take seconds, and a text that a power cut spoils is not good
    // and stands in for nothing.
    file.write_all(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_text_is_kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = LastGood::of(dir.path());
        assert_eq!(kept.read("a"), None);
        kept.save("a", b"run: {}").unwrap();
        kept.save("b", b"run: {}").unwrap();
        assert_eq!(kept.read("a").as_deref(), Some(&b"run: {}"[..]));
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&kept.folder), mode(&kept.file("a"))), (0o700, 0o600));
        kept.keep_only(|id| id == "b").unwrap();
        assert!(kept.read("a").is_none() && kept.read("b").is_some());
    }
}
