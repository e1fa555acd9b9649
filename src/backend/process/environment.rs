//! What a step sees of the world: its environment and its HOME.
//!
//! The environment is made from nothing. In this order, later ones win:
//!
//! 1. `PATH`, `LANG` and `TZ` as the router has them (`PATH` and `LANG` with a usual default),
//! 2. `HOME`,
//! 3. where other services are, on the machine's own network: `API_SERVICE_HOST` and `API_SERVICE_PORT`,
//! 4. the `env` of ci.yml,
//! 5. `CS_REPLICA`, `CS_SERVER`, `WORKSPACE_ID`, `TEAM_ID`, `WORKSPACE_DEV_DOMAIN` and `PORT`: the
//!    host's port for the primary one, so an `env` that sets `PORT` counts only where it says the
//!    same, which it does where the declared port is free; `PORT_4000` likewise, for each declared one,
//! 6. `LANDSCAPE_ROUTER_REPLICA`, a random mark by which a replica's processes are found.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::paths::{Paths, private_dir};
use super::protocol::{MARK, UserSpec};
use crate::backend::ReplicaId;
use crate::landscape::{Home, ServiceSpec};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// For a replica.
pub fn of_replica(
    spec: &ServiceSpec,
    id: ReplicaId,
    addresses: &[(u16, SocketAddr)],
    services: Vec<(String, String)>,
    home: &str,
    token: &str,
) -> Vec<(String, String)> {
    let mut env = base(home);
    env.extend(services);
    env.extend(spec.env.iter().map(|(k, v)| (k.clone(), v.text.to_string())));
    env.extend(of_workspace(&spec.home, id.ordinal, token));
    env.insert("CS_SERVER".into(), spec.key.service.to_string());
    env.extend(addresses.iter().map(|(port, at)| (format!("PORT_{port}"), at.port().to_string())));
    let primary = addresses.iter().find(|(port, _)| *port == spec.primary_port);
    let port = primary.map_or(spec.primary_port, |(_, at)| at.port()).to_string();
    if let Some(asked) = env.insert("PORT".into(), port.clone()).filter(|asked| *asked != port) {
        tracing::info!(service = %spec.key, replica = %id, "PORT is {port}, not {asked} as its env says");
    }
    env.into_iter().collect()
}

/// For a landscape's `prepare` or `test`, which run where its first replica does.
pub fn of_job(landscape: &Home, services: Vec<(String, String)>, home: &str, token: &str) -> Vec<(String, String)> {
    let mut env = base(home);
    env.extend(services);
    env.extend(of_workspace(landscape, 0, token));
    env.into_iter().collect()
}

fn base(home: &str) -> BTreeMap<String, String> {
    // Not UTF-8: treated as not set.
    let own = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), own("PATH").unwrap_or_else(|| DEFAULT_PATH.into())),
        ("LANG".to_owned(), own("LANG").unwrap_or_else(|| "C.UTF-8".into())),
        ("HOME".to_owned(), home.to_owned()),
    ]);
    env.extend(own("TZ").map(|tz| ("TZ".to_owned(), tz)));
    env
}

fn of_workspace(home: &Home, ordinal: u32, token: &str) -> [(String, String); 5] {
    [
        ("CS_REPLICA".into(), ordinal.to_string()),
        ("WORKSPACE_ID".into(), home.id.to_string()),
        ("TEAM_ID".into(), home.team.to_string()),
        ("WORKSPACE_DEV_DOMAIN".into(), home.dev_domain.to_string()),
        (MARK.into(), token.to_owned()),
    ]
}

/// Makes the HOME of a landscape, with `app` leading to its root.
///
/// `state` is the router's alone, so that a replica of another user has its HOME in `/run`, where
/// only root can have made it.
pub fn make_home(paths: &Paths, landscape: &Home, user: Option<&UserSpec>) -> io::Result<PathBuf> {
    let dir = match user.filter(|u| u.uid != rustix::process::geteuid().as_raw()) {
        None => {
            let dir = paths.home(&landscape.id);
            private_dir(&dir)?;
            dir
        }
        Some(user) => home_of_user(paths, landscape, user)?,
    };
    link_app(&dir, &landscape.root)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot link {}/app: {e}", dir.display())))?;
    Ok(dir)
}

fn home_of_user(paths: &Paths, landscape: &Home, user: &UserSpec) -> io::Result<PathBuf> {
    let digest = Sha256::digest(paths.run().as_os_str().as_encoded_bytes());
    let instance: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    let base = Path::new("/run/landscape-router/home").join(instance);
    fs::DirBuilder::new().recursive(true).mode(0o711).create(&base)?;
    if fs::symlink_metadata(&base)?.uid() != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} is not root's", base.display())));
    }
    let dir = base.join(format!("{}-{}", landscape.id, user.uid));
    match fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    chown(&dir, Some(user.uid), Some(user.gid))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    Ok(dir)
}

fn link_app(dir: &Path, root: &Path) -> io::Result<()> {
    let link = dir.join("app");
    match fs::read_link(&link) {
        Ok(target) if target == root => return Ok(()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // Something of the application's own stands there; it is not ours to remove.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Ok(()),
        Err(e) => return Err(e),
    }
    let new = dir.join(format!(".app-{:x}", fastrand::u64(..)));
    symlink(root, &new)?;
    fs::rename(&new, &link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_leads_to_the_root_also_when_the_root_moves() {
        let state = tempfile::tempdir().unwrap();
        let paths = Paths::new(state.path()).unwrap();
        let mut landscape = Home { id: "1".into(), team: "".into(), dev_domain: "1.x".into(), root: "/one".into() };
        let home = make_home(&paths, &landscape, None).unwrap();
        assert_eq!(fs::read_link(home.join("app")).unwrap(), Path::new("/one"));
        landscape.root = "/two".into();
        assert_eq!(make_home(&paths, &landscape, None).unwrap(), home);
        assert_eq!(fs::read_link(home.join("app")).unwrap(), Path::new("/two"));
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    }
}
