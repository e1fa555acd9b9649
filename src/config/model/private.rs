//! The network between services.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Off;
use crate::config::defaults as d;
use crate::config::scalar::{Cidr, Positive, Resolver};

/// The network that a landscape's services reach each other by, or `off`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Private {
    /// `off`.
    Word(Off),
    /// Its addresses and bounds.
    Settings(PrivateSettings),
}

/// Addresses and bounds of the network between services.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "private")]
pub struct PrivateSettings {
    /// Where services' virtual addresses are taken from: an IPv4 network of /24 or larger that nothing else
    /// on this machine uses. Default: the first of some usual ones that is free.
    pub addresses: Option<Cidr>,
    /// Where the networks of process replicas are cut from, a /24 for each landscape. The default leaves out
    /// what this machine or `docker.subnets` uses.
    #[schemars(length(min = 1), extend("default" = d::PRIVATE_SUBNETS))]
    pub subnets: Option<Vec<Cidr>>,
    /// Who is asked for names that are not the landscape's. Default: whom this machine asks.
    #[schemars(length(min = 1))]
    pub resolvers: Option<Vec<Resolver>>,
    /// A raw TCP connection on which no byte moved for so long is ended.
    #[schemars(extend("default" = d::PRIVATE_IDLE.to_string()))]
    pub idle: Option<Positive>,
    /// A part of loopback, such as `127.83.0.0/16`, to do with where the rights for this network are missing.
    /// Services have addresses of it then, at which the router listens at their declared ports: those from
    /// 1024 on, and lower ones where it may. It takes these numbers on this machine: replicas have to listen
    /// at `PORT`. Nothing keeps landscapes apart. Default: services do not find each other there.
    pub loopback: Option<Cidr>,
    /// Whether replicas, containers too, reach what is outside of this machine.
    #[schemars(extend("default" = true))]
    pub egress: Option<bool>,
}

/// What a port speaks in the private network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Protocol {
    /// HTTP/1: every request is balanced, retried and counted by itself.
    Http,
    /// Anything else, passed on byte for byte.
    Tcp,
}
