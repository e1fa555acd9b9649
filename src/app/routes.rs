//! From settings to the table that requests look their way up in.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::config::settings::{Policy, Settings};
use crate::landscape::{PathTarget, ServiceKey, ServiceSpec, Workload};
use crate::lifecycle::Service;
use crate::observe::ServiceStats;
use crate::proxy::{Endpoint, ErrorCode, Target};
use crate::route::{Table, TableBuilder};

/// What a route needs of a service that exists while the router runs.
#[derive(Clone, Debug)]
pub struct Served {
    /// How it is run.
    pub policy: Arc<Policy>,
    /// Its counters.
    pub stats: Arc<ServiceStats>,
    /// Where requests ask for a replica; `None` where nothing runs for it.
    pub service: Option<Arc<Service>>,
    /// Its virtual address, where it has one.
    pub address: Option<Ipv4Addr>,
}

/// The table of these settings, of which every service is `served`. An error is a contradiction that
/// checking the files should have found.
pub fn table(settings: &Settings, served: &HashMap<ServiceKey, Served>) -> Result<Table<Arc<Endpoint>>, String> {
    let mut builder = TableBuilder::new(&settings.dev_domain);
    for landscape in &settings.landscapes {
        match &landscape.spec {
            Ok(spec) if spec.services.values().all(|s| served.contains_key(&s.key)) => {
                builder.landscape(spec, |service, to| endpoint(service, to, &served[&service.key]));
            }
            Ok(_) => return Err(format!("landscape {} has a service without a policy", landscape.id)),
            Err(reason) => builder.invalid(landscape.id.clone(), reason.as_str()),
        }
    }
    for domain in &settings.domains {
        builder.domain(&domain.host, &domain.paths);
    }
    builder.build().map_err(|conflicts| {
        let all: Vec<String> = conflicts.iter().map(ToString::to_string).collect();
        all.join("; ")
    })
}

pub(super) fn endpoint(spec: &Arc<ServiceSpec>, to: &PathTarget, served: &Served) -> Arc<Endpoint> {
    let target = match (to, &served.service) {
        (PathTarget::Url(url), _) => Target::Url(url.clone()),
        (PathTarget::Port(port), Some(service)) => Target::Replicas { service: service.clone(), port: *port },
        (PathTarget::Port(_), None) if matches!(spec.workload, Workload::Managed { .. }) => {
            Target::Nowhere { code: ErrorCode::NotProvided, detail: None }
        }
        (PathTarget::Port(_), None) => Target::Nowhere { code: ErrorCode::NotRunnable, detail: None },
    };
    Endpoint::new(spec.key.clone(), served.stats.clone(), served.policy.clone(), target)
}
