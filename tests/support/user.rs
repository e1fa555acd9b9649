//! A router of a user without rights. As root tests run it as one; elsewhere as the user who runs them.

use std::os::unix::fs::{chown, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Router, Site, test_app};

/// A user without a name, and without any rights.
const NOBODY_SPECIAL: u32 = 64_321;

/// A site of that user, of `shop` and other landscapes.
pub fn site(router: &str, landscapes: &[(&str, &str)]) -> Site {
    let shop = landscapes.iter().find(|(id, _)| *id == "shop").unwrap();
    let site = Site::new(router, shop.1);
    for (id, ci) in landscapes.iter().filter(|(id, _)| *id != "shop") {
        site.add(id, ci);
    }
    std::fs::create_dir(site.path().join("bin")).unwrap();
    // A build folder may be closed to other users.
    for (from, to) in [(binary(), "bin/landscape-router"), (test_app(), "bin/test-app")] {
        std::fs::hard_link(&from, site.path().join(to))
            .or_else(|_| std::fs::copy(&from, site.path().join(to)).map(drop))
            .unwrap();
    }
    for (id, _) in landscapes {
        let app = site.path().join(id).join("test-app");
        std::fs::remove_file(&app).unwrap();
        std::os::unix::fs::symlink("../bin/test-app", app).unwrap();
    }
    if is_root() {
        give(site.path());
    }
    site
}

/// A program of the site, run by the user.
pub fn as_user(site: &Site, program: &str) -> Command {
    by_user(Command::new(site.path().join(program)), site)
}

/// The same of any program.
pub fn by_user(mut command: Command, site: &Site) -> Command {
    if is_root() {
        command.uid(NOBODY_SPECIAL).gid(NOBODY_SPECIAL);
    }
    Router::surround(&mut command, site);
    command
}

/// The user's router.
pub fn start(site: &Site, more: &[&str]) -> Router {
    let mut command = as_user(site, "bin/landscape-router");
    command.args(["run", "--config", "router.yaml"]).args(more);
    Router::launch(command)
}

fn binary() -> PathBuf {
    env!("CARGO_BIN_EXE_landscape-router").into()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a folder and what is in it to the user.
fn give(path: &Path) {
    let user = Some(NOBODY_SPECIAL);
    if path.is_dir() && !path.is_symlink() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
        chown(path, user, user).unwrap();
    } else if path.is_symlink() || !path.parent().is_some_and(|parent| parent.ends_with("bin")) {
        lchown(path, user, user).unwrap();
    }
}
