//! Shows where a key of router.yaml stands: for what is found wrong when the file itself is sound.

use super::places::Places;
use crate::yaml::{Diagnostics, Mistake, Source};

/// router.yaml as it was read.
#[derive(Debug)]
pub struct Pointer {
    source: Source,
    places: Places,
}

impl Pointer {
    pub(super) fn new(source: Source, places: Places) -> Self {
        Self { source, places }
    }

    /// Of a file of which nothing is known.
    pub(super) fn nowhere(source: &Source) -> Self {
        Self { source: Source::hidden(source.file().clone()), places: Places::default() }
    }

    /// An error about the value at a path of keys; where the key is not there, at what is around it. `message` is
    /// one sentence without a full stop.
    pub fn error(&self, path: &str, message: &str, remedy: &str) -> Mistake {
        let mut diagnostics = Diagnostics::of(self.source.clone());
        diagnostics.error(self.places.value(path), path, message).help(remedy).clone()
    }
}
