//! Classes of requests.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::{Cidr, Prefix};

/// A class of requests. Everything that is given has to match; give at least one of `path`, `agent`,
/// `methods` and `sources`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficRule {
    /// The whole path, or a prefix of whole segments and `/*`: `/internal/*`.
    pub path: Option<Prefix>,
    /// A part of the `User-Agent`, compared without case.
    #[schemars(length(min = 1))]
    pub agent: Option<String>,
    /// Methods.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Networks of the client.
    #[serde(default)]
    pub sources: Vec<Cidr>,
    /// What such a request does.
    pub then: Traffic,
}

/// What a request of a class does.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Traffic {
    /// Wakes the service and counts as use, as requests without a rule do.
    Wake,
    /// Is forwarded while the service is awake, else answered 503 at once; never puts off its sleep.
    OnlyIfAwake,
    /// Wakes the service, but does not put off its next sleep.
    NeverExtends,
    /// Is forwarded while the service is awake, else gets this answer; never puts off its sleep.
    AnswerWhileAsleep(Answer),
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct Answer {
    /// Its status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Its text.
    #[serde(default)]
    #[schemars(extend("default" = ""))]
    pub body: String,
}
