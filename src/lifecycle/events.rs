//! What happens to services, told to whoever listens: the event stream, the log.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::status::{StateName, unix_ms};
use crate::backend::{Failure, Progress};
use crate::landscape::ServiceKey;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LifeEvent {
    /// When, by the wall clock.
    #[serde(serialize_with = "unix_ms", rename = "atUnixMs")]
    pub at: SystemTime,
    /// The landscape's id.
    pub landscape: Arc<str>,
    /// The service's name; absent for what concerns the whole landscape.
    pub service: Option<Arc<str>>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Kinds of events.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    /// The service has another state.
    State {
        /// Before.
        from: StateName,
        /// Now.
        to: StateName,
    },
    /// It was switched on: a usage record.
    Start {
        /// How many replicas.
        replicas: u32,
        /// `off-when-unused` or `always-on`.
        mode: &'static str,
        /// Who caused it.
        cause: Cause,
    },
    /// It was switched off: a usage record.
    Stop {
        /// How many replicas there were.
        replicas: u32,
        /// `off-when-unused` or `always-on`.
        mode: &'static str,
        /// Who caused it.
        cause: Cause,
        /// Frozen rather than ended.
        paused: bool,
    },
    /// A replica has another state.
    Replica {
        /// `CS_REPLICA`.
        ordinal: u32,
        /// Grows with every start.
        generation: u64,
        /// What happened to it.
        text: String,
    },
    /// A start, a replica or a preparation failed.
    Failed {
        /// How.
        failure: Failure,
    },
    /// How far something slow is.
    Progress {
        /// How far.
        progress: Progress,
    },
    /// The engine stopped answering, or answers again.
    Engine {
        /// Its error; absent when it is back.
        lost: Option<String>,
    },
}

/// Who caused a start or a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// A request.
    Demand,
    /// Nobody used it.
    Idle,
    /// Its mode or another part of the configuration.
    Config,
    /// An operator's command.
    Operator,
    /// Somebody who set the number of its replicas where it runs: a person, an autoscaler.
    Outside,
    /// Another service of the landscape.
    Landscape,
    /// It failed.
    Failure,
    /// It was found running when the router started.
    Adopted,
    /// The router ended.
    Shutdown,
}

impl LifeEvent {
    /// An event of now.
    pub fn of(key: &ServiceKey, what: What) -> Self {
        Self { at: SystemTime::now(), landscape: key.landscape.clone(), service: Some(key.service.clone()), what }
    }

    /// The same for a whole landscape.
    pub fn of_landscape(id: &str, what: What) -> Self {
        Self { at: SystemTime::now(), landscape: id.into(), service: None, what }
    }
}
