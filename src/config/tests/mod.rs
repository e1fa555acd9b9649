//! router.yaml from the outside: what is taken, and how every bad one is refused.

mod bad;
mod examples;
mod good;
mod kubernetes;
mod stand_in;

use std::path::Path;

use super::{Loaded, Purpose, load};

/// A folder with a router.yaml and a landscape `shop`.
struct Folder(tempfile::TempDir);

const CI: &str = "schemaVersion: v0.2\nrun:\n  web:\n    steps:\n      - command: serve\n    network:\n      \
                  ports:\n        - {port: 3000, isPublic: true}\n      paths:\n        - {port: 3000, path: /}\n  db:\n    \
                  steps:\n      - command: db\n";

const SHOP: &str = "landscapes:\n  - id: shop\n    root: shop\n";

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("shop/ci.yml", CI);
        folder
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Reads `text` as router.yaml to be judged.
    fn check(&self, text: &str) -> Loaded {
        self.load(text, Purpose::Check)
    }

    /// Reads `text` as router.yaml to be run, and keeps what is good.
    fn run(&self, text: &str) -> Loaded {
        let mut loaded = self.load(text, Purpose::Run { previous: None });
        if loaded.settings.is_some() {
            loaded.mistakes.extend(loaded.good.keep());
        }
        loaded
    }

    fn load(&self, text: &str, purpose: Purpose<'_>) -> Loaded {
        self.write("router.yaml", text);
        load(&self.path().join("router.yaml"), purpose)
    }

    /// Every mistake, the folder's name left out.
    fn told(&self, loaded: &Loaded) -> Vec<String> {
        let folder = format!("{}/", self.path().display());
        loaded.mistakes.iter().map(|m| m.to_string().replace(&folder, "")).collect()
    }
}

/// Every mistake of a router.yaml beside a good landscape.
fn told(text: &str) -> Vec<String> {
    let folder = Folder::new();
    let loaded = folder.check(text);
    folder.told(&loaded)
}

/// The only mistake of a router.yaml whose landscape is good.
#[track_caller]
fn only(head: &str) -> String {
    let all = told(&format!("{head}\n{SHOP}"));
    assert_eq!(all.len(), 1, "{all:#?}");
    all.into_iter().next().unwrap()
}
