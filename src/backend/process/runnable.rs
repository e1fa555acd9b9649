//! What processes cannot do, said before they are started, and as whom they run.

use crate::config::settings::ProcessSettings;
use crate::landscape::{ServiceSpec, Workload};

use super::protocol::UserSpec;

/// The shared file system's group: always added where the user can be chosen.
const WORKSPACE_GROUP: u32 = 1010;

/// Where the whole shared file system is by convention.
const CONVENTIONAL_ROOT: &str = "/home/user/app";

/// Who this router is.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

impl Own {
    /// Of this process.
    pub fn get() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

/// Whether processes can run it; the error is the remedy.
pub fn check(spec: &ServiceSpec, settings: &ProcessSettings, own: Own) -> Result<(), String> {
    match &spec.workload {
        Workload::Reactive { .. } => {}
        Workload::Container { .. } | Workload::CustomBase { .. } => {
            return Err("it needs an image: set `backend: docker` for it".into());
        }
        Workload::Headless => return Err("it only forwards: there is nothing to run".into()),
        Workload::Managed { provider } => return Err(format!("`{provider}` is a managed service, not provided here")),
    }
    let root = spec.home.root.to_string_lossy();
    for mount in &spec.mounts {
        let place = mount.mount_path.trim_end_matches('/');
        let whole = mount.workspace_path.is_empty() && place == CONVENTIONAL_ROOT;
        let in_place = place == format!("{root}/{}", mount.workspace_path).trim_end_matches('/');
        if !whole && !in_place {
            return Err(format!(
                "processes have no mounts, and `{}` is not where it is already: set `backend: docker` for it",
                mount.mount_path
            ));
        }
    }
    if spec.user == Some(0) && !settings.allow_root {
        return Err("`runAsUser: 0` needs `process: { allowRoot: true }` in router.yaml".into());
    }
    user(spec, own).map(|_| ())
}

/// As whom it runs; `None` for as the router itself.
pub fn user(spec: &ServiceSpec, own: Own) -> Result<Option<UserSpec>, String> {
    if spec.user.is_none_or(|u| u == own.uid) && spec.group.is_none_or(|g| g == own.gid) {
        return Ok(None);
    }
    if own.uid != 0 {
        let asked = match (spec.user, spec.group) {
            (Some(u), Some(g)) => format!("`runAsUser: {u}` and `runAsGroup: {g}`"),
            (Some(u), None) => format!("`runAsUser: {u}`"),
            (None, g) => format!("`runAsGroup: {}`", g.unwrap_or(own.gid)),
        };
        return Err(format!(
            "{asked} cannot be had, the router runs as uid {} and gid {}: run it as root or as that user, or set \
             `backend: docker` for it",
            own.uid, own.gid
        ));
    }
    let uid = spec.user.unwrap_or(own.uid);
    let gid = spec.group.unwrap_or(WORKSPACE_GROUP);
    Ok(Some(UserSpec { uid, gid, groups: vec![WORKSPACE_GROUP] }))
}

/// What an operator should know who runs several landscapes as processes, told at the start when at least
/// one service runs here; `apart`: replicas have network namespaces of their own.
pub fn trust_notice(apart: bool) -> &'static str {
    if apart {
        "processes have networks of their own, and nothing else: whatever their landscape, those of one user are one \
         trust domain, reach each other's files and memory, and by these each other's networks; use \
         `backend: docker` for what must be kept apart"
    } else {
        "the process backend has no namespaces here: all processes of one user are one trust domain, whatever their \
         landscape, and reach each other's ports and files; use `backend: docker` for what must be kept apart"
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::config::settings::Namespaces;
    use crate::landscape::{Health, Home, Mount, Plan, ServiceKey, Step, Value};

    const ROOT: Own = Own { uid: 0, gid: 0 };
    const SOMEONE: Own = Own { uid: 1000, gid: 1000 };

    fn spec(change: impl FnOnce(&mut ServiceSpec)) -> ServiceSpec {
        let home = Home { id: "1".into(), team: "".into(), dev_domain: "1.x".into(), root: "/srv/shop".into() };
        let steps = vec![Step { name: None, command: "true".into() }];
        let mut spec = ServiceSpec {
            key: ServiceKey::new("1", "web"),
            home: Arc::new(home),
            workload: Workload::Reactive { steps, base: None },
            plan: Plan { id: "1".into(), cpu: 1.0, memory: 1, max_replicas: 1 },
            replicas: 1,
            health: Health::Default,
            ports: Vec::new(),
            primary_port: 3000,
            paths: Vec::new(),
            env: BTreeMap::new(),
            user: None,
            group: None,
            mounts: Vec::new(),
        };
        change(&mut spec);
        spec
    }

    fn judged(own: Own, allow_root: bool, change: impl FnOnce(&mut ServiceSpec)) -> Result<(), String> {
        let settings = ProcessSettings {
            ports: (20_000, 29_999),
            allow_root,
            low_ports: false,
            namespaces: Namespaces::Auto,
            log_keep: 1,
        };
        check(&spec(change), &settings, own)
    }

    #[test]
    fn what_needs_an_image_is_told_where_it_can_run() {
        let image = Value::plain("nginx:1");
        let error = judged(SOMEONE, false, |s| s.workload = Workload::Container { image, command: None }).unwrap_err();
        assert!(error.contains("backend: docker"), "{error}");
    }

    #[test]
    fn only_mounts_that_change_nothing_are_taken() {
        let mount = |workspace: &str, at: &str| Mount { workspace_path: workspace.into(), mount_path: at.into() };
        for good in [mount("", "/home/user/app"), mount("", "/home/user/app/"), mount("data", "/srv/shop/data")] {
            judged(SOMEONE, false, |s| s.mounts = vec![good]).unwrap();
        }
        for bad in [mount("data", "/home/user/app"), mount("", "/var/lib/x"), mount("data", "/srv/shop")] {
            assert!(judged(SOMEONE, false, |s| s.mounts = vec![bad]).unwrap_err().contains("backend: docker"));
        }
    }

    #[test]
    fn users_are_had_by_root_only_and_root_only_when_allowed() {
        judged(SOMEONE, false, |s| s.user = Some(1000)).unwrap();
        assert!(judged(SOMEONE, false, |s| s.user = Some(1501)).unwrap_err().contains("uid 1000"));
        assert!(judged(SOMEONE, false, |s| s.group = Some(5)).unwrap_err().contains("runAsGroup: 5"));
        judged(ROOT, false, |s| s.user = Some(1501)).unwrap();
        assert!(judged(ROOT, false, |s| s.user = Some(0)).unwrap_err().contains("allowRoot"));
        judged(ROOT, true, |s| s.user = Some(0)).unwrap();
        let user = user(&spec(|s| s.user = Some(1501)), ROOT).unwrap().unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1501, 1010, vec![1010]));
    }
}
