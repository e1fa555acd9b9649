//! Any bytes as a router.yaml, with all that is checked about it: settings or mistakes, and every mistake
//! shows where it is.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

use landscape_router::config::{Purpose, load};

thread_local! {
    static FILE: OnceCell<PathBuf> = const { OnceCell::new() };
}

/// See the module's words.
pub fn run(data: &[u8]) {
    // It is read from a file, as it is by the router: a folder of our own, with a good ci.yml in it.
    let file = FILE.with(|file| file.get_or_init(folder).join("router.yaml"));
    assert!(fs::write(&file, data).is_ok(), "{} cannot be written", file.display());
    let loaded = load(&file, Purpose::Check);
    assert!(loaded.settings.is_some() || loaded.has_errors(false), "neither settings nor a mistake");
    for mistake in &loaded.mistakes {
        super::landscape::check(mistake);
    }
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("landscape-router-fuzz-{}", std::process::id()));
    let made = fs::create_dir_all(folder.join("shop"))
        .and_then(|()| fs::write(folder.join("shop/ci.yml"), "schemaVersion: v0.4\nrun: { web: { steps: [] } }\n"));
    assert!(made.is_ok(), "{} cannot be made", folder.display());
    folder
}
