//! Any bytes as a ci.yml: what is taken has unique routes or says which two clash, and every route that
//! is there is found.

use landscape_router::landscape::PathTarget;
use landscape_router::route::{Lookup, TableBuilder};

/// See the module's words.
pub fn run(data: &[u8]) {
    let Some(spec) = super::landscape::read(data) else { return };
    for service in spec.services.values() {
        assert!(!service.runs() || !service.ports.is_empty(), "{} runs without a port", service.key);
        assert!(
            service.replicas >= 1 && service.replicas <= service.plan.max_replicas,
            "{} replicas",
            service.replicas
        );
        let _ = service.run_digest();
    }
    let mut builder = TableBuilder::new("localhost");
    builder.landscape(&spec, |service, to| (service.key.clone(), to.clone()));
    let Ok(table) = builder.build() else { return };
    for service in spec.services.values() {
        for rule in &service.paths {
            let Lookup::Found(route) = table.lookup("4711.localhost", &rule.prefix) else {
                panic!("{} of {} is not found", rule.prefix, service.key);
            };
            assert_eq!(route.service, service.key.service, "{} leads elsewhere", rule.prefix);
            assert!(
                matches!((&route.to, &rule.to), (PathTarget::Port(a), PathTarget::Port(b)) if a == b)
                    || !matches!(rule.to, PathTarget::Port(_))
            );
            assert!(route.rewrite(&rule.prefix).starts_with('/'), "a path without its slash");
        }
    }
}
