//! From the model to settings: the names of services in a cluster.

use std::net::IpAddr;

use super::checks::Checks;
use super::defaults as d;
use super::kubernetes;
use super::model;
use super::settings::KubernetesNames;
use crate::yaml::field::quote;

/// `kubernetes.names`; `None` where services have none.
pub(super) fn names(kubernetes: &model::Kubernetes, c: &mut Checks<'_>) -> Option<KubernetesNames> {
    let names = match &kubernetes.names {
        None | Some(model::KubernetesNames::Word(model::Off::Off)) => return None,
        Some(model::KubernetesNames::Settings(names)) => names,
    };
    let namespace = names.namespace.as_deref().unwrap_or(d::NAMES_NAMESPACE);
    kubernetes::namespace("kubernetes.names.namespace", namespace, c);
    let address = names.address.as_deref().and_then(|text| {
        let address = text.parse().ok().filter(|a: &IpAddr| !a.is_unspecified() && !a.is_loopback());
        if address.is_none() {
            c.error("kubernetes.names.address", format!("expected an address that pods reach, found {}", quote(text)))
                .help("such as 10.0.0.7, without a port");
        }
        address
    });
    let domain = names.cluster_domain.as_deref().unwrap_or(d::CLUSTER_DOMAIN);
    if !domain.split('.').all(kubernetes::is_label) {
        c.error("kubernetes.names.clusterDomain", format!("expected a domain, found {}", quote(domain)))
            .help("such as cluster.local, without a dot at its end");
    }
    let ports = names.ports.unwrap_or(d::NAMES_PORTS);
    Some(KubernetesNames {
        namespace: namespace.to_owned(),
        ports: (ports.0, ports.1),
        address,
        cluster_domain: domain.to_owned(),
        idle: names.idle.map_or(d::PRIVATE_IDLE.0, |t| t.0),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{Loaded, Purpose, load};

    fn loaded(names: &str) -> Loaded {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ci.yml"), "schemaVersion: v0.4\nrun: {web: {steps: [{command: x}]}}\n")
            .unwrap();
        let file = dir.path().join("router.yaml");
        let head = format!("state: ../state\nkubernetes: {{names: {names}}}\n");
        std::fs::write(&file, format!("{head}landscapes: [{{id: a, root: .}}]\n")).unwrap();
        load(&file, Purpose::Check)
    }

    #[test]
    fn names_are_off_unless_asked_for_and_have_the_documented_domain() {
        assert_eq!(loaded("off").settings.unwrap().kubernetes.names, None);
        let names = loaded("{}").settings.unwrap().kubernetes.names.unwrap();
        assert_eq!((&*names.namespace, names.ports, names.address), ("workspaces", (21_000, 28_999), None));
        let names = loaded("{namespace: ws, ports: 30000-30001, address: 10.0.0.7, idle: 5m}").settings.unwrap();
        let names = names.kubernetes.names.unwrap();
        assert_eq!((&*names.namespace, names.ports, names.idle.as_secs()), ("ws", (30_000, 30_001), 300));
        assert_eq!(names.address, "10.0.0.7".parse().ok());
    }

    #[test]
    fn what_no_namespace_and_no_address_can_be_is_refused() {
        for (names, told) in [
            ("{namespace: Works}", "kubernetes.names.namespace"),
            ("{namespace: a.b}", "expected the name of a namespace"),
            ("{address: 127.0.0.1}", "expected an address that pods reach"),
            ("{address: \"10.0.0.7:80\"}", "kubernetes.names.address"),
            ("{ports: 80-90}", "a range of ports from 1024 on"),
            ("{clusterDomain: cluster.local.}", "expected a domain"),
            ("{port: 1}", "unknown key"),
        ] {
            let loaded = loaded(names);
            let text: Vec<String> = loaded.mistakes.iter().map(ToString::to_string).collect();
            assert!(loaded.settings.is_none() && text.join("\n").contains(told), "{names}: {text:?}");
        }
    }
}
