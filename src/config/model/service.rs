//! How services run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Attach, Backend, HalfClosed, TrafficRule};
use crate::config::defaults as d;
use crate::config::scalar::{Positive, Size, Time};

/// When a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Mode {
    /// Switched off when unused for `idleAfter`.
    OffWhenUnused,
    /// Never switched off.
    AlwaysOn,
}

/// What switching off means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum WhenIdle {
    /// One of the two.
    Plain(WhenIdleWord),
    /// Frozen for a while, then ended.
    Both(PauseThen),
}

impl WhenIdle {
    /// Whether replicas are frozen, for whatever time.
    pub(in crate::config) fn pauses(&self) -> bool {
        !matches!(self, Self::Plain(WhenIdleWord::Stop))
    }
}

/// `stop` or `pause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum WhenIdleWord {
    /// Replicas end.
    Stop,
    /// Replicas freeze in memory, and resume in milliseconds.
    Pause,
}

/// `{ pause: 10m, then: stop }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PauseThen {
    /// How long replicas stay frozen.
    pub pause: Positive,
    /// What happens then.
    pub then: Then,
}

/// What follows a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Then {
    /// Replicas end.
    Stop,
}

/// Which replica a returning client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Sticky {
    /// Any.
    Off,
    /// The one its cookie names, while that one is ready.
    Cookie,
}

/// When a service without a public route wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Wake {
    /// With any routed service of its landscape.
    WithLandscape,
    /// Only when called, or named in the `dependsOn` of a service that is awake.
    OnCall,
}

macro_rules! policy {
    ($(#[$meta:meta])* $name:ident { $($(#[$more:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            /// `off-when-unused`, or `always-on`.
            #[schemars(extend("default" = "off-when-unused"))]
            pub mode: Option<Mode>,
            /// Unused for so long, it is switched off. Counts from the end of the last request or stream.
            #[schemars(extend("default" = d::IDLE_AFTER.to_string()))]
            pub idle_after: Option<Positive>,
            /// What switching off means: `stop`, `pause`, or first the one and then the other:
            /// `{ pause: 10m, then: stop }`.
            #[schemars(extend("default" = "stop"))]
            pub when_idle: Option<WhenIdle>,
            /// From its start to the first passed probe. Preparing and pulling images have deadlines of
            /// their own.
            #[schemars(extend("default" = d::START_TIMEOUT.to_string()))]
            pub start_timeout: Option<Positive>,
            /// From the polite signal to the kill.
            #[schemars(extend("default" = d::STOP_GRACE.to_string()))]
            pub stop_grace: Option<Time>,
            /// How long requests in flight may go on when a replica has to leave.
            #[schemars(extend("default" = d::DRAIN_TIMEOUT.to_string()))]
            pub drain_timeout: Option<Time>,
            /// What runs it.
            pub backend: Option<Backend>,
            /// Which replica a returning client gets.
            #[schemars(extend("default" = "off"))]
            pub sticky: Option<Sticky>,
            /// When it wakes, if it has no public route.
            #[schemars(extend("default" = "withLandscape"))]
            pub wake: Option<Wake>,
            /// Its held requests; what is missing comes from `hold`.
            #[serde(default)]
            pub hold: ServiceHold,
            /// Requests that are not use, such as monitoring. The first rule that matches counts; a
            /// service's rules come before its landscape's, these before the ones in `defaults`.
            #[serde(default)]
            pub traffic: Vec<TrafficRule>,
            /// An open stream on which no byte moved for so long is ended. Default: never.
            pub idle_bytes: Option<Positive>,
            $($(#[$more])* pub $field: $ty,)*
        }
    };
}

policy!(
    /// How services run.
    Defaults {}
);

policy!(
    /// How one service runs: what ci.yml has no key for.
    Service {
        /// Services of the same landscape that are awake whenever it is.
        #[serde(default)]
        depends_on: Vec<String>,
        /// On Kubernetes, the workload that runs it already: its ci.yml says ports and paths, and is not deployed.
        attach: Option<Attach>,
        /// What its ports speak when other services call them: port to `http` or `tcp`. Default: told from
        /// the first bytes of each connection.
        #[serde(default)]
        #[schemars(extend("propertyNames" = super::keys::<crate::config::scalar::PortNumber>()))]
        protocols: indexmap::IndexMap<String, super::Protocol>,
    }
);

/// One service's held requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceHold {
    /// How many may wait for this service.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_requests: Option<usize>,
    /// Bytes of head and body that are kept for them.
    pub max_bytes: Option<Size>,
    /// How long one may wait.
    pub timeout: Option<Positive>,
    /// A browser's navigation that is held for so long gets the loading page.
    pub page_after: Option<Time>,
    /// How many are released to one new replica at a time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub release: Option<usize>,
    /// What a client means that half-closes its connection while it waits.
    pub half_closed: Option<HalfClosed>,
}
