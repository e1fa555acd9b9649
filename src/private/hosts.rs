//! What replicas on the machine's own network are told of their landscape's services: a hosts file, where they
//! can be shown one, and variables.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Ports;
use super::ground::Lack;
use super::ground::hosts_file::{self, Sight};
use super::names::names_of;
use crate::landscape::{LandscapeId, ServiceKey};

/// A hosts file, and how a shim shows it to its replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsFile {
    /// The file. It changes as services come and go, and stays the same file.
    pub path: PathBuf,
    /// The way.
    pub sight: Sight,
}

/// What a replica is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Of its environment.
    pub variables: Vec<(String, String)>,
    /// In place of the machine's.
    pub file: Option<HostsFile>,
}

/// See the module's words.
#[derive(Debug)]
pub struct Hosts {
    dir: PathBuf,
    sight: Result<Sight, Lack>,
    told: Mutex<BTreeMap<LandscapeId, Told>>,
}

impl Hosts {
    /// With files in the `state` folder. Takes some ms where the router has no rights.
    pub fn new(state: &Path) -> Self {
        Self { dir: state.join("hosts"), sight: Sight::survey(), told: Mutex::default() }
    }

    /// Why replicas are not shown the file; `None`: they are.
    pub fn lack(&self) -> Option<&Lack> {
        self.sight.as_ref().err()
    }

    /// Makes these all the landscapes whose replicas are told of their services.
    pub fn set(&self, landscapes: &[(LandscapeId, Ports)], addresses: &HashMap<ServiceKey, Ipv4Addr>) {
        let machines = fs::read_to_string(hosts_file::PLACE).unwrap_or_default();
        let mut told = BTreeMap::new();
        for (id, services) in landscapes {
            let located: Vec<(&str, Ipv4Addr, &[u16])> = services
                .iter()
                .filter_map(|(key, ports)| Some((&*key.service, *addresses.get(key)?, ports.as_slice())))
                .collect();
            let file = self.sight.as_ref().ok().and_then(|sight| {
                let path = self.dir.join(&**id);
                match write(&path, &text(id, &located, &machines)) {
                    Ok(()) => Some(HostsFile { path, sight: *sight }),
                    Err(e) => {
                        tracing::warn!(landscape = %id, "{}: {e}; services are not found by name", path.display());
                        None
                    }
                }
            });
            told.insert(id.clone(), Told { variables: variables(&located), file });
        }
        *self.told.lock() = told;
    }

    /// What the landscape's replicas are told; nothing where [`Hosts::set`] did not name it.
    pub fn of(&self, landscape: &LandscapeId) -> Told {
        self.told.lock().get(landscape).cloned().unwrap_or_default()
    }
}

/// Writes in place: who is shown the file is shown this very one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    // For replicas of other users, too; the folder is the router's alone.
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

/// The services by each of their names, then what the machine's own file says. By the first name of a line
/// an address is called where it is asked for.
fn text(landscape: &str, services: &[(&str, Ipv4Addr, &[u16])], machines: &str) -> String {
    let mut text = String::new();
    let mut known = HashSet::new();
    for (service, address, _) in services {
        let names = names_of(landscape, service).into_iter().rev().filter(|name| known.insert(name.clone()));
        let names: Vec<String> = names.collect();
        if !names.is_empty() {
            let _ = writeln!(text, "{address} {}", names.join(" "));
        }
    }
    text + machines
}

/// For each service its address and its first port, as Kubernetes names them.
fn variables(services: &[(&str, Ipv4Addr, &[u16])]) -> Vec<(String, String)> {
    let mut all = BTreeMap::new();
    for (service, address, ports) in services {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = service.chars().map(letter).collect();
        let first = ports.first().map(|port| (format!("{name}_SERVICE_PORT"), port.to_string()));
        let host = (format!("{name}_SERVICE_HOST"), address.to_string());
        if !all.contains_key(&host.0) {
            all.extend([host].into_iter().chain(first));
        }
    }
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Ipv4Addr = Ipv4Addr::new(127, 83, 0, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(127, 83, 0, 2);

    #[test]
    fn services_come_before_the_machines_own_names_and_the_first_of_a_name_counts() {
        let services: [(&str, Ipv4Addr, &[u16]); 2] = [("my-api", ONE, &[3000, 4000]), ("My_api", TWO, &[80])];
        assert_eq!(
            text("4711", &services, "127.0.0.1 localhost\n"),
            "127.83.0.1 ws-server-4711-my-api.workspaces ws-server-4711-my-api my-api\n\
             127.83.0.2 ws-server-4711-my_api.workspaces ws-server-4711-my_api my_api\n127.0.0.1 localhost\n"
        );
        let twice: [(&str, Ipv4Addr, &[u16]); 2] = [("API", ONE, &[1]), ("api", TWO, &[1])];
        assert_eq!(text("1", &twice, "").lines().count(), 1);
        let told = [("MY_API_SERVICE_HOST", "127.83.0.1"), ("MY_API_SERVICE_PORT", "3000")];
        assert_eq!(variables(&services), told.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_file_is_changed_in_place() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let hosts = Hosts { dir: dir.path().join("hosts"), sight: Ok(Sight::Mount), told: Mutex::default() };
        let (id, key) = (LandscapeId::from("shop"), ServiceKey::new("shop", "api"));
        let ports = |keys: &[&ServiceKey]| vec![(id.clone(), keys.iter().map(|k| ((*k).clone(), vec![80])).collect())];
        let addresses = HashMap::from([(key.clone(), ONE)]);
        hosts.set(&ports(&[&key]), &addresses);
        let path = hosts.of(&id).file.unwrap().path;
        let (before, inode) = (fs::read_to_string(&path).unwrap(), fs::metadata(&path).unwrap().ino());
        hosts.set(&ports(&[]), &addresses);
        let after = fs::read_to_string(&path).unwrap();
        assert!(before.starts_with("127.83.0.1 ") && before.ends_with(&after) && after.len() < before.len());
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(hosts.of(&"other".into()), Told::default());
    }
}
