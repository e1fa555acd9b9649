//! Landscapes of one router with process replicas, on ranges of their own.

use crate::support::network::Plot;
use crate::support::{Inside, Site};

/// What a landscape of the router has beside its ci.yml.
#[derive(Clone, Debug)]
pub struct Landscape<'a> {
    pub id: &'a str,
    pub ci: &'a str,
    /// Of router.yaml: what ci.yml has no key for.
    pub services: &'a str,
}

/// A site on ranges of its own, and the name server that its router asks.
pub struct Land {
    pub site: Site,
    plot: Plot,
}

impl Land {
    /// A site of `shop` and of landscapes beside it. `more` are keys of router.yaml, `http` the public
    /// listener.
    pub fn new(http: &str, more: &str, landscapes: &[Landscape<'_>]) -> Self {
        let plot = Plot::new();
        let mut yaml = format!(
            "listen: {{ http: [\"{http}\"], admin: \"127.0.0.1:0\" }}\nprivate: {}\n{more}\nlandscapes:\n",
            plot.yaml()
        );
        for Landscape { id, services, .. } in landscapes {
            yaml += &format!("  - {{ id: {id}, ci: {id}/ci.yml, root: {id}, services: {{ {services} }} }}\n");
        }
        let shop = landscapes.iter().find(|l| l.id == "shop").unwrap();
        let site = Site::new(&yaml, shop.ci);
        for other in landscapes.iter().filter(|l| l.id != "shop") {
            site.add(other.id, other.ci);
        }
        Self { site, plot }
    }

    /// A site of `shop` alone.
    pub fn shop(more: &str, services: &str, ci: &str) -> Self {
        Self::new("127.0.0.1:0", more, &[Landscape { id: "shop", ci, services }])
    }

    /// The processes of a service's replicas, by their number.
    pub fn pids(&self, id: &str, service: &str) -> Vec<u32> {
        let root = std::fs::canonicalize(self.site.path().join(id)).unwrap();
        let mut all: Vec<(String, u32)> = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == root))
            .filter_map(|pid: u32| {
                let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).ok()?;
                let of = |name: &str| environment.split('\0').find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
                (of("CS_SERVER")? == service).then(|| Some((of("CS_REPLICA")?.to_owned(), pid)))?
            })
            .collect();
        all.sort();
        all.into_iter().map(|(_, pid)| pid).collect()
    }

    /// The network of a service's first replica, which runs.
    pub fn inside(&self, id: &str, service: &str) -> Inside {
        let pids = self.pids(id, service);
        Inside::of(*pids.first().unwrap_or_else(|| panic!("{id}/{service} does not run")))
    }

    /// Names that were asked of the machine's name server.
    pub fn asked_outside(&self) -> Vec<String> {
        self.plot.asked()
    }

    /// Everything that the kernel has of this router.
    pub fn traces(&self) -> Vec<String> {
        self.plot.traces(&self.site)
    }
}

impl Drop for Land {
    fn drop(&mut self) {
        self.plot.sweep(&self.site);
    }
}
