//! Which services are pinned, over restarts of the router.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use parking_lot::Mutex;

use crate::landscape::ServiceKey;

/// See the module's words.
#[derive(Debug)]
pub(super) struct Pins {
    path: PathBuf,
    pinned: Mutex<BTreeSet<ServiceKey>>,
}

impl Pins {
    /// Reads the file; none, or an unreadable one, is no pins.
    pub fn read(path: PathBuf) -> Self {
        let pinned = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "cannot read which services are pinned: none is");
                BTreeSet::new()
            }),
            Err(_) => BTreeSet::new(),
        };
        Self { path, pinned: Mutex::new(pinned) }
    }

    /// Whether it is pinned.
    pub fn has(&self, key: &ServiceKey) -> bool {
        self.pinned.lock().contains(key)
    }

    /// Notes it, in the file too.
    pub fn set(&self, key: &ServiceKey, pinned: bool) {
        let mut all = self.pinned.lock();
        let changed = if pinned { all.insert(key.clone()) } else { all.remove(key) };
        if changed && let Err(error) = self.write(&all) {
            tracing::warn!(path = %self.path.display(), %error, "cannot note which services are pinned");
        }
    }

    /// Whole or not at all: written beside, then renamed.
    fn write(&self, all: &BTreeSet<ServiceKey>) -> std::io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(all)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_outlive_the_router() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.json");
        let (a, b) = (ServiceKey::new("1", "a"), ServiceKey::new("1", "b"));
        let pins = Pins::read(path.clone());
        pins.set(&a, true);
        pins.set(&b, true);
        pins.set(&b, false);
        let pins = Pins::read(path);
        assert!(pins.has(&a) && !pins.has(&b));
    }
}
