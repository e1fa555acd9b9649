//! From the model to [`Settings`], landscapes left aside: what the schema cannot say.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use ipnet::IpNet;

use super::checks::Checks;
use super::defaults as d;
use super::kubernetes;
use super::model;
use super::networks;
use super::scalar::{Cidr, Host, Prefix, Scalar, Size};
use super::settings::{
    AccessLog, DockerSettings, Domain, Hold, Limits, Listen, OnExit, ProcessSettings, Pull, Registry, Settings,
    Timeouts,
};
use crate::landscape::{Plan, Plans};
use crate::yaml::field::{self, quote};

/// Everything but the landscapes.
pub(super) fn settings(router: &model::Router, c: &mut Checks<'_>) -> Settings {
    let dev_domain = router.dev_domain.as_ref().map_or(d::DEV_DOMAIN, |h| &h.0);
    if dev_domain.starts_with("*.") {
        c.error("devDomain", "expected a host name without `*`").help("ids come before it by themselves");
    }
    let registries = registries(router, c);
    Settings {
        state: c.resolve(router.state.as_deref().unwrap_or(d::STATE)),
        listen: listen(router, c),
        dev_domain: dev_domain.into(),
        trusted_proxies: networks(&router.trusted_proxies).into(),
        paused_memory: router.paused_memory.map_or_else(half_of_memory, |size| size.0),
        hold: hold(&router.hold),
        timeouts: timeouts(&router.timeouts),
        limits: limits(&router.limits, c),
        keep_header_case: router.header_case == Some(model::HeaderCase::Keep),
        domains: domains(router, dev_domain, c),
        headless_allow: networks(&router.headless.allow).into(),
        access_log: access_log(router.access_log.as_ref(), c),
        process: process(router, c),
        docker: docker(router, &registries, c),
        kubernetes: kubernetes::settings(&router.kubernetes, registries, c),
        private: networks::private(router, c),
        landscapes: Vec::new(),
    }
}

pub(super) fn networks(all: &[Cidr]) -> Vec<IpNet> {
    all.iter().map(|c| c.0).collect()
}

fn listen(router: &model::Router, c: &mut Checks<'_>) -> Listen {
    let listen = &router.listen;
    let http: Vec<SocketAddr> = match &listen.http {
        Some(all) => all.iter().map(|a| a.0).collect(),
        None => d::HTTP.parse().into_iter().collect(),
    };
    let admin = match listen.admin {
        Some(admin) => admin.0,
        None => d::ADMIN.parse().ok(),
    };
    for (i, one) in http.iter().enumerate() {
        let path = field::index("listen.http", i);
        if http[..i].iter().any(|other| clash(*one, *other)) {
            c.error(&path, format!("{one} is listened on already")).help("remove one of them");
        }
        if admin.is_some_and(|admin| clash(admin, *one)) {
            c.error(&path, format!("{one} is the admin listener's address"))
                .help("give `listen.admin` another port, or switch it off with `admin: \"off\"`");
        }
    }
    if let Some(admin) = admin.filter(|a| !a.ip().is_loopback() && !listen.admin_remote) {
        c.error("listen.admin", format!("{admin} can be reached from other machines, expected a loopback address"))
            .help("use 127.0.0.1, or allow it with `adminRemote: true`");
    }
    let threads = router.threads.map_or_else(cores, usize::from);
    Listen { http, admin, max_connections: listen.max_connections.unwrap_or_else(max_connections), threads }
}

/// Whether two sockets cannot both be opened. Port 0 stands for any free one.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let same = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && same
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Every connection may need one upstream; the rest is for logs, sockets and the like.
fn max_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    // The router raises its own soft limit to the hard one.
    let files = limit.maximum.or(limit.current).map_or(1 << 20, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let files = files.min(20_000_000);
    (files.saturating_sub(2000) / 2).max(files / 4).max(16)
}

fn half_of_memory() -> u64 {
    let info = rustix::system::sysinfo();
    u64::from(info.mem_unit).saturating_mul(info.totalram / 2)
}

fn hold(hold: &model::Hold) -> Hold {
    Hold {
        max_requests: hold.max_requests.unwrap_or(d::HOLD_REQUESTS),
        max_bytes: bytes(hold.max_bytes.unwrap_or(d::HOLD_BYTES)),
    }
}

/// A size as memory counts it.
pub(super) fn bytes(size: Size) -> usize {
    usize::try_from(size.0).unwrap_or(usize::MAX)
}

fn timeouts(timeouts: &model::Timeouts) -> Timeouts {
    let or = |given: Option<super::scalar::Positive>, default: super::scalar::Time| -> Duration {
        given.map_or(default.0, |t| t.0)
    };
    Timeouts {
        connect: or(timeouts.connect, d::CONNECT),
        header: or(timeouts.header, d::HEADER_TIME),
        response: or(timeouts.response, d::RESPONSE),
        idle: or(timeouts.idle, d::IDLE),
    }
}

fn limits(limits: &model::Limits, c: &mut Checks<'_>) -> Limits {
    let header = limits.header.unwrap_or(d::HEADER_SIZE);
    between(c, "limits.header", header, Size(8 << 10), Size(16 << 20));
    Limits {
        header: bytes(header),
        headers: limits.headers.unwrap_or(d::HEADERS),
        body: limits.body.unwrap_or(d::BODY).0,
    }
}

fn between(c: &mut Checks<'_>, path: &str, size: Size, low: Size, high: Size) {
    if size < low || size > high {
        c.error(path, format!("expected a size from {low} to {high}, found {size}"));
    }
}

/// The plans of router.yaml, or the one that holds without any.
pub(super) fn plans(router: &model::Router, c: &mut Checks<'_>) -> Plans {
    let built_in =
        |id: &str| Plan { id: id.into(), cpu: d::PLAN_CPU, memory: d::PLAN_MEMORY.0, max_replicas: d::MAX_REPLICAS };
    let mut plans = Plans::default();
    let Some(given) = &router.plans else {
        plans.default = Some(built_in("default"));
        return plans;
    };
    for (id, plan) in given {
        let path = field::key("plans", id);
        between(c, &format!("{path}.memory"), plan.memory, Size(6 << 20), Size(1 << 50));
        let max_replicas = plan.max_replicas.unwrap_or(d::MAX_REPLICAS);
        let plan = Plan { id: id.as_str().into(), cpu: plan.cpu, memory: plan.memory.0, max_replicas };
        if id == "default" {
            plans.default = Some(plan);
        } else if let Ok(number) = id.parse::<u32>() {
            if plans.by_id.insert(number, plan).is_some() {
                c.key_error(&path, format!("plan {number} is given twice")).help("remove one of them");
            }
        } else {
            c.key_error(&path, format!("expected a plan's number or `default`, found {}", quote(id)))
                .help_nearest(id, ["default"]);
        }
    }
    plans
}

fn domains(router: &model::Router, dev_domain: &str, c: &mut Checks<'_>) -> Vec<Domain> {
    let ids: Vec<&str> = router.landscapes.iter().map(|l| l.id.0.as_str()).collect();
    let mut all: Vec<Domain> = Vec::new();
    for (name, paths) in &router.domains {
        let at = field::key("domains", name);
        // The walk has told a bad one.
        let Ok(Host(host)) = Host::read(name) else { continue };
        if all.iter().any(|d| *d.host == *host) {
            c.key_error(&at, format!("the domain {host} is given twice")).help("put all paths below one of them");
        }
        if host.strip_suffix(dev_domain).is_some_and(|id| id.ends_with('.')) {
            c.warning(&at, format!("{host} hides a development host")).help("use a name outside of `devDomain`");
        }
        if paths.0.is_empty() {
            c.error(&at, "expected at least one path").help("write `\"/\": [\"<id>\"]`");
        }
        let mut table: Vec<(String, Vec<Arc<str>>)> = Vec::new();
        for (text, targets) in &paths.0 {
            let at = field::key(&at, text);
            let Ok(Prefix(prefix)) = Prefix::read(text) else { continue };
            if table.iter().any(|(other, _)| *other == prefix) {
                c.key_error(&at, format!("the path {prefix} is given twice")).help("remove one of them");
            }
            if prefix.ends_with("/*") {
                c.key_error(&at, "a path is a prefix as it is, expected no `*`").help("leave out `/*`");
            }
            if targets.is_empty() {
                c.error(&at, "expected at least one landscape").help("name an id of `landscapes`");
            }
            for (i, id) in targets.iter().enumerate() {
                let at = field::index(&at, i);
                if !ids.contains(&&*id.0) {
                    c.error(&at, format!("there is no landscape {}", quote(&id.0)))
                        .help("name an id of `landscapes`")
                        .help_nearest(&id.0, ids.iter().copied());
                } else if targets[..i].contains(id) {
                    c.error(&at, format!("{} is named twice", quote(&id.0))).help("remove one of them");
                }
            }
            table.push((prefix, targets.iter().map(|id| id.0.as_str().into()).collect()));
        }
        all.push(Domain { host: host.into(), paths: table });
    }
    all
}

fn access_log(log: Option<&model::AccessLog>, c: &Checks<'_>) -> Option<AccessLog> {
    let settings = match log {
        Some(model::AccessLog::Word(model::Off::Off)) => return None,
        Some(model::AccessLog::Settings(settings)) => settings.clone(),
        None => model::AccessLogSettings::default(),
    };
    let path: Option<PathBuf> = settings.path.filter(|p| p != "-").map(|p| c.resolve(&p));
    Some(AccessLog { json: settings.format != Some(model::LogFormat::Text), path })
}

fn process(router: &model::Router, c: &mut Checks<'_>) -> ProcessSettings {
    let keep = router.logs.keep.unwrap_or(d::LOG_KEEP);
    between(c, "logs.keep", keep, Size(64 << 10), Size(1 << 40));
    let ports = router.process.ports.unwrap_or(d::PORTS);
    ProcessSettings {
        ports: (ports.0, ports.1),
        allow_root: router.process.allow_root,
        namespaces: router.process.namespaces.unwrap_or(model::Namespaces::Auto),
        low_ports: router.process.low_ports,
        log_keep: keep.0,
    }
}

fn docker(router: &model::Router, registries: &[(String, Registry)], c: &mut Checks<'_>) -> DockerSettings {
    let docker = &router.docker;
    let subnets = networks::of_docker(router);
    for (i, net) in subnets.iter().enumerate() {
        let path = field::index("docker.subnets", i);
        if net.addr().is_ipv6() || net.prefix_len() > 24 {
            c.error(&path, format!("expected an IPv4 network of /24 or larger, found {net}"))
                .help("each landscape's network is a /24 of it");
        }
        if networks::overlaps(*net, &subnets[..i]) {
            c.error(&path, format!("{net} overlaps another one of the list")).help("remove one of them");
        }
    }
    let host = docker.host.as_deref().map(|h| docker_host(h, c));
    let bases = bases("docker.bases", &docker.bases, c);
    DockerSettings {
        host,
        base: docker.base.clone(),
        bases,
        subnets,
        pull: pull(docker.pull),
        on_exit: on_exit(docker.on_exit),
        allow_root: docker.allow_root,
        registries: registries.to_vec(),
    }
}

pub(super) fn bases(at: &str, given: &IndexMap<String, String>, c: &mut Checks<'_>) -> Vec<(String, String)> {
    for (name, image) in given {
        if image.trim().is_empty() {
            c.error(&field::key(at, name), "expected an image").help("such as `ubuntu:24.04`");
        }
    }
    given.iter().map(|(name, image)| (name.clone(), image.clone())).collect()
}

pub(super) fn pull(given: Option<model::Pull>) -> Pull {
    match given {
        None | Some(model::Pull::IfNotPresent) => Pull::IfNotPresent,
        Some(model::Pull::Always) => Pull::Always,
        Some(model::Pull::Never) => Pull::Never,
    }
}

pub(super) fn on_exit(given: Option<model::OnExit>) -> OnExit {
    match given {
        None | Some(model::OnExit::Leave) => OnExit::Leave,
        Some(model::OnExit::Stop) => OnExit::Stop,
    }
}

fn docker_host(host: &str, c: &mut Checks<'_>) -> String {
    if let Some(rest) = host.strip_prefix("tcp://") {
        return format!("http://{rest}");
    }
    if !host.starts_with("unix:///") && !host.starts_with("http://") {
        c.error("docker.host", format!("expected `unix:///path` or `http://host:port`, found {}", quote(host)));
    }
    host.to_owned()
}

fn registries(router: &model::Router, c: &mut Checks<'_>) -> Vec<(String, Registry)> {
    let mut all = Vec::new();
    for (host, registry) in &router.registries {
        let path = field::key("registries", host);
        if host.contains("://") || host.contains('/') || host.trim().is_empty() {
            c.key_error(&path, format!("expected a registry's host, found {}", quote(host)))
                .help("leave out scheme and path: `registry.example.com:5000`");
        }
        let password_file = c.resolve(&registry.password_file);
        if !password_file.is_file() {
            c.warning(&format!("{path}.passwordFile"), "there is no such file")
                .help("pulls from this registry fail until it is there");
        }
        all.push((host.clone(), Registry { username: registry.username.clone(), password_file }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_clash_when_both_cannot_be_opened() {
        let clashes = |a: &str, b: &str| clash(a.parse().unwrap(), b.parse().unwrap());
        assert!(clashes("127.0.0.1:80", "127.0.0.1:80"));
        assert!(clashes("0.0.0.0:80", "127.0.0.1:80"));
        assert!(!clashes("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!clashes("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!clashes("127.0.0.1:0", "127.0.0.1:0"));
    }

    #[test]
    fn connections_leave_files_for_the_rest() {
        assert!(max_connections() >= 16);
    }
}
