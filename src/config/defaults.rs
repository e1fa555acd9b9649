//! What holds where router.yaml is silent: one place for the schema and for the router.

use std::time::Duration;

use super::scalar::{PortRange, Size, Time};

const fn seconds(n: u64) -> Time {
    Time(Duration::from_secs(n))
}

const fn mib(n: u64) -> Size {
    Size(n << 20)
}

/// `state`.
pub const STATE: &str = ".landscape-router";
/// `devDomain`.
pub const DEV_DOMAIN: &str = "localhost";
/// `listen.http`.
pub const HTTP: &str = "127.0.0.1:8080";
/// `listen.admin`.
pub const ADMIN: &str = "127.0.0.1:9090";
/// `defaults.idleAfter`.
pub const IDLE_AFTER: Time = seconds(3600);
/// `defaults.startTimeout`.
pub const START_TIMEOUT: Time = seconds(300);
/// `defaults.stopGrace`.
pub const STOP_GRACE: Time = seconds(10);
/// `defaults.drainTimeout`.
pub const DRAIN_TIMEOUT: Time = seconds(30);
/// `hold.maxRequests`.
pub const HOLD_REQUESTS: usize = 10_000;
/// `hold.maxBytes`.
pub const HOLD_BYTES: Size = mib(256);
/// `hold.timeout`.
pub const HOLD_TIMEOUT: Time = seconds(60);
/// `hold.pageAfter`.
pub const PAGE_AFTER: Time = seconds(1);
/// `hold.release`.
pub const RELEASE: usize = 256;
/// `hold.perService.maxRequests`.
pub const HOLD_PER_SERVICE: usize = 1_000;
/// `hold.perService.maxBytes`.
pub const HOLD_BYTES_PER_SERVICE: Size = mib(64);
/// `timeouts.connect`.
pub const CONNECT: Time = seconds(2);
/// `timeouts.header`.
pub const HEADER_TIME: Time = seconds(10);
/// `timeouts.response`.
pub const RESPONSE: Time = seconds(300);
/// `timeouts.idle`.
pub const IDLE: Time = seconds(3600);
/// `limits.header`.
pub const HEADER_SIZE: Size = Size(64 << 10);
/// `limits.headers`.
pub const HEADERS: usize = 128;
/// `limits.body`.
pub const BODY: Size = mib(1024);
/// The built-in default plan's cores.
pub const PLAN_CPU: f64 = 1.0;
/// The built-in default plan's memory.
pub const PLAN_MEMORY: Size = mib(1024);
/// `plans.*.maxReplicas`.
pub const MAX_REPLICAS: u32 = 10;
/// `logs.keep`.
pub const LOG_KEEP: Size = mib(16);
/// `process.ports`.
pub const PORTS: PortRange = PortRange(20_000, 29_999);
/// `private.subnets`, where they overlap neither `private.addresses` nor `docker.subnets`.
pub const PRIVATE_SUBNETS: [&str; 4] = ["10.214.0.0/16", "10.215.0.0/16", "172.30.0.0/16", "192.168.208.0/20"];
/// `private.idle`.
pub const PRIVATE_IDLE: Time = seconds(3600);
/// `docker.subnets`.
pub const SUBNETS: &str = "10.213.0.0/16";
/// `kubernetes.instance`.
pub const INSTANCE: &str = "landscape-router";
