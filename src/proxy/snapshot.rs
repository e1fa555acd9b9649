//! Everything of the configuration that a request reads: immutable, swapped whole.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::{IpNet, Ipv4Net};

use super::Endpoint;
use super::private::PrivatePorts;
use crate::config::settings::{BackendKind, Limits, Settings, Timeouts};
use crate::landscape::TargetGuard;
use crate::route::Table;

/// Where the current [`Snapshot`] is found; a reload stores the next one.
pub type CurrentSnapshot = Arc<ArcSwap<Snapshot>>;

/// One version of what requests read. A request loads it once and keeps it for its retries.
#[derive(Debug)]
pub struct Snapshot {
    /// Host and path to endpoint.
    pub table: Table<Arc<Endpoint>>,
    /// What private listeners lead to.
    pub private: PrivatePorts,
    /// The rest.
    pub rules: Rules,
}

/// What holds for every request.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Peers whose forwarding headers count.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Bounds.
    pub limits: Limits,
    /// Names of fields go on as they came.
    pub keep_header_case: bool,
    /// Which addresses headless targets may lead to.
    pub targets: TargetGuard,
}

impl Rules {
    /// The part of the settings that requests read. `listeners` and `admin` are where the router itself
    /// listens, as bound, so that no headless target leads back into it; `private` is the range of virtual
    /// addresses, where services have some, so that none leads into another landscape.
    pub fn new(
        settings: &Settings,
        listeners: Vec<SocketAddr>,
        admin: Option<SocketAddr>,
        private: Option<Ipv4Net>,
    ) -> Self {
        // Unused, a default range may well be someone else's.
        let mut ranges = Vec::new();
        let mut policies = settings.landscapes.iter().flat_map(|l| &l.policies);
        if policies.any(|(_, policy)| policy.backend == BackendKind::Docker) {
            ranges.extend(&settings.docker.subnets);
        }
        if let (Some(addresses), Some(settings)) = (private, &settings.private) {
            ranges.push(IpNet::V4(addresses));
            ranges.extend(settings.subnets.iter().copied().map(IpNet::V4));
        }
        Self {
            trusted_proxies: settings.trusted_proxies.clone(),
            timeouts: settings.timeouts.clone(),
            limits: settings.limits.clone(),
            keep_header_case: settings.keep_header_case,
            targets: TargetGuard::new(settings.headless_allow.clone(), listeners, admin, ranges),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Purpose, load};
    use crate::landscape::TargetRefusal;

    fn judge(head: &str, private: Option<&str>, target: &str) -> Result<(), TargetRefusal> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ci.yml"), "schemaVersion: v0.4\nrun: {web: {steps: [{command: x}]}}\n")
            .unwrap();
        let file = dir.path().join("router.yaml");
        std::fs::write(&file, format!("state: ../state\n{head}\nlandscapes: [{{id: a, root: .}}]\n")).unwrap();
        let settings = load(&file, Purpose::Check).settings.unwrap();
        let private = private.map(|net| net.parse().unwrap());
        Rules::new(&settings, Vec::new(), None, private).targets.judge(target.parse().unwrap())
    }

    #[test]
    fn no_target_leads_into_the_networks_of_landscapes_unless_the_operator_says_so() {
        let virtual_one = Some("10.212.0.0/16");
        for target in ["10.212.0.7:80", "10.214.3.2:3000", "[::ffff:10.214.3.2]:3000", "[64:ff9b::ad6:302]:3000"] {
            assert_eq!(judge("", virtual_one, target), Err(TargetRefusal::Landscapes), "{target}");
            assert_eq!(judge("", None, target), Ok(()), "{target}: nobody's, without a private network");
        }
        assert_eq!(judge("", virtual_one, "10.213.0.2:3000"), Ok(()), "nothing runs on Docker");
        assert_eq!(judge("backend: docker", None, "10.213.0.2:3000"), Err(TargetRefusal::Landscapes));
        assert_eq!(judge("headless: {allow: [10.214.3.0/24]}", virtual_one, "10.214.3.2:3000"), Ok(()));
        assert_eq!(judge("headless: {allow: [10.212.0.7/32]}", virtual_one, "10.212.0.7:80"), Ok(()));
    }
}
