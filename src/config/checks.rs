//! A diagnostics of router.yaml that takes paths instead of places.

use std::path::{Path, PathBuf};

use super::places::Places;
use crate::yaml::{Diagnostics, Mistake, Severity};

/// Tells mistakes of router.yaml by path.
pub(super) struct Checks<'c> {
    pub(super) diagnostics: &'c mut Diagnostics,
    pub(super) places: &'c Places,
    /// The folder of router.yaml, absolute.
    pub(super) folder: &'c Path,
}

impl Checks<'_> {
    /// An error about the value at a path.
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>) -> &mut Mistake {
        self.diagnostics.error(self.places.value(path), path, message)
    }

    /// An error about the key at a path.
    pub(super) fn key_error(&mut self, path: &str, message: impl Into<String>) -> &mut Mistake {
        self.diagnostics.error(self.places.key(path), path, message)
    }

    /// A warning about the value at a path.
    pub(super) fn warning(&mut self, path: &str, message: impl Into<String>) -> &mut Mistake {
        self.diagnostics.tell(Severity::Warning, self.places.value(path), path, message)
    }

    /// A path of the file system as the file means it: absolute.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        let joined = self.folder.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}
