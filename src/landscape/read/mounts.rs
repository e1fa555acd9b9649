//! `volumeMounts`, in older files `volumes`: parts of the shared file system inside a replica.

use super::no_nul;
use crate::landscape::mount::{self, BadPath};
use crate::landscape::spec::Mount;
use crate::yaml::field::quote;
use crate::yaml::{At, Diagnostics, Map, Place, Severity};

/// The one volume there is.
const WORKSPACE: &str = "_workspace";

/// A service's mounts, of either key.
pub(super) fn read(map: &mut Map<'_>, d: &mut Diagnostics) -> Vec<Mount> {
    let mut found: Vec<(Mount, Place)> = Vec::new();
    for key in ["volumeMounts", "volumes"] {
        let Some(list) = map.value(key) else { continue };
        for item in list.items(d).unwrap_or_default() {
            let Some(mount) = one(&item, d) else { continue };
            match found.iter().find(|(other, _)| other.mount_path == mount.mount_path) {
                Some((_, there)) => {
                    let path = quote(&mount.mount_path);
                    item.error(d, format!("{path} is mounted already at {}:{}", there.line, there.column))
                        .help("mount each destination once");
                }
                None => found.push((mount, item.place())),
            }
        }
    }
    found.into_iter().map(|(mount, _)| mount).collect()
}

fn one(at: &At<'_>, d: &mut Diagnostics) -> Option<Mount> {
    let mut map = at.map(d)?;
    if let Some(name) = map.value("name")
        && let Some(text) = name.text(d)
        && text != WORKSPACE
    {
        name.error(d, format!("there is no volume {}, expected `{WORKSPACE}`", quote(text)))
            .help("the landscape's shared file system is the only one");
    }
    let destination = map.require(d, "mountPath").and_then(|at| destination(&at, d));
    let sources = ["workspacePath", "mountSubPath"].map(|key| map.value(key));
    if let [Some(_), Some(second)] = &sources {
        second.error(d, "`mountSubPath` is the older name of `workspacePath`, and both are given").help("keep one");
    }
    let source = match sources.into_iter().flatten().next() {
        Some(at) => source(&at, d),
        None => Some(String::new()),
    };
    map.finish(d, Severity::Warning);
    Some(Mount { workspace_path: source?, mount_path: destination? })
}

fn source(at: &At<'_>, d: &mut Diagnostics) -> Option<String> {
    let text = no_nul(at, d)?;
    match mount::below_root(text) {
        Ok(path) => {
            if text.starts_with('/') {
                at.warning(d, format!("{} is read as a path inside the shared file system", quote(text)))
                    .help(format!("write `{path}`"));
            }
            Some(path)
        }
        Err(_) => {
            at.error(d, format!("{} leads out of the shared file system", quote(text)))
                .help("name a file or folder inside it, without `..`");
            None
        }
    }
}

fn destination(at: &At<'_>, d: &mut Diagnostics) -> Option<String> {
    let text = no_nul(at, d)?;
    let (why, remedy) = match mount::destination(text) {
        Ok(path) => return Some(path),
        Err(BadPath::Relative) => ("is not absolute", "begin it with `/`"),
        Err(BadPath::Root) => ("is the root of the whole file system", "name a folder or file below it"),
        Err(BadPath::Escapes | BadPath::Nul) => ("leads above the root", "write it without `..`"),
    };
    at.error(d, format!("{} {why}", quote(text))).help(remedy);
    None
}
