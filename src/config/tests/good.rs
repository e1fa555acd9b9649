//! What is taken, and what it means.

use std::time::Duration;

use super::{Folder, SHOP};
use crate::config::settings::*;

fn settings(head: &str) -> Settings {
    let folder = Folder::new();
    let loaded = folder.check(&format!("{head}\n{SHOP}"));
    let errors: Vec<_> = folder.told(&loaded).into_iter().filter(|m| m.contains("error")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    loaded.settings.unwrap()
}

fn with_plan_8(head: &str) -> Settings {
    let folder = Folder::new();
    folder.write("shop/ci.yml", super::CI.replace("    network", "    plan: 8\n    network"));
    folder.check(&format!("{head}\n{SHOP}")).settings.unwrap()
}

fn policy<'s>(settings: &'s Settings, service: &str) -> &'s Policy {
    &settings.landscapes[0].policies.iter().find(|(k, _)| &*k.service == service).unwrap().1
}

#[test]
fn a_file_that_says_little_gets_the_defaults() {
    let s = settings("");
    assert_eq!(s.listen.http, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(s.listen.admin, Some("127.0.0.1:9090".parse().unwrap()));
    assert!(s.listen.threads >= 1 && s.listen.max_connections >= 16);
    assert_eq!(&*s.dev_domain, "localhost");
    assert_eq!((s.hold.max_requests, s.hold.max_bytes), (10_000, 256 << 20));
    assert_eq!((s.limits.header, s.limits.headers, s.limits.body), (64 << 10, 128, 1 << 30));
    assert_eq!(s.timeouts.response, Duration::from_secs(300));
    assert_eq!(s.access_log, Some(AccessLog { json: true, path: None }));
    assert_eq!((s.process.ports, s.process.log_keep), ((20_000, 29_999), 16 << 20));
    assert_eq!((s.docker.pull, s.docker.on_exit), (Pull::IfNotPresent, OnExit::Leave));
    let egress = |s: &Settings| s.private.as_ref().map(|p| p.egress);
    assert_eq!([egress(&s), egress(&settings("private: { idle: 5m }"))], [Some(true); 2]);
    assert_eq!(egress(&settings("private: { egress: false }")), Some(false));
    let web = policy(&s, "web");
    assert_eq!(
        (web.mode, web.idle_after, web.when_idle),
        (Mode::OffWhenUnused, Duration::from_secs(3600), WhenIdle::Stop)
    );
    assert_eq!((web.start_timeout, web.drain_timeout), (Duration::from_secs(300), Duration::from_secs(30)));
    assert_eq!((web.backend, web.wake, web.sticky), (BackendKind::Process, WakeRule::WithLandscape, Sticky::Off));
    assert_eq!((web.hold.max_requests, web.hold.timeout), (1000, Duration::from_secs(60)));
    let spec = s.landscapes[0].spec.as_ref().unwrap();
    assert_eq!(&*spec.home.dev_domain, "shop.localhost");
    assert!(spec.home.root.is_absolute() && s.state.is_absolute() && s.state.ends_with(".landscape-router"));
    assert_eq!(spec.services["web"].plan.memory, 1 << 30);
}

#[test]
fn what_is_nearest_to_a_service_decides() {
    let folder = Folder::new();
    let text = "backend: docker\ndefaults: {idleAfter: 1m, mode: always-on, stopGrace: 0s, traffic: [{path: /*, then: \
                neverExtends}]}\nhold: {timeout: 9s, perService: {maxRequests: 5}}\nlandscapes:\n  - id: shop\n    root: \
                shop\n    defaults: {idleAfter: 2m, backend: process, hold: {timeout: 8s}, traffic: [{agent: probe, then: \
                onlyIfAwake}]}\n    services:\n      web: {idleAfter: 3m, hold: {maxRequests: 7}, whenIdle: {pause: 10m, then: \
                stop}, traffic: [{path: /live/*, methods: [GET], sources: [10.0.0.0/8], then: {answerWhileAsleep: {status: \
                204}}}], dependsOn: [db]}\n";
    let loaded = folder.check(text);
    let s = loaded.settings.unwrap_or_else(|| panic!("{:#?}", loaded.mistakes));
    let (web, db) = (policy(&s, "web"), policy(&s, "db"));
    assert_eq!((web.idle_after, db.idle_after), (Duration::from_secs(180), Duration::from_secs(120)));
    assert_eq!((web.mode, web.stop_grace, web.backend), (Mode::AlwaysOn, Duration::ZERO, BackendKind::Process));
    assert_eq!((web.hold.max_requests, db.hold.max_requests), (7, 5));
    assert_eq!((web.hold.timeout, db.hold.timeout), (Duration::from_secs(8), Duration::from_secs(8)));
    assert_eq!(web.when_idle, WhenIdle::PauseThenStop { stop_after: Duration::from_secs(600) });
    assert_eq!(web.depends_on, ["db".into()]);
    assert_eq!((web.traffic.len(), db.traffic.len()), (3, 2));
    assert_eq!(web.traffic[0].path, Some(PathPattern::Prefix("/live".into())));
    assert_eq!(web.traffic[0].then, TrafficClass::AnswerWhileAsleep { status: 204, body: "".into() });
    assert_eq!(web.traffic[1].then, TrafficClass::OnlyIfAwake);
    assert_eq!(db.traffic[1].path, Some(PathPattern::Prefix("/".into())));
}

#[test]
fn paths_are_relative_to_the_file_and_profiles_choose_one() {
    let folder = Folder::new();
    folder.write("a/ci.prod.yml", super::CI);
    let loaded = folder.check("landscapes:\n  - {id: a, ci: a/ci.yml, profile: prod}\n");
    let landscape = &loaded.settings.as_ref().unwrap().landscapes[0];
    let spec = landscape.spec.as_ref().unwrap();
    assert_eq!(spec.home.root, folder.path().join("a"));
    assert!(loaded.files.paths().any(|p| p == folder.path().join("a/ci.prod.yml")), "{:?}", loaded.files);
}

#[test]
fn secrets_come_from_a_file_and_are_not_shown() {
    let folder = Folder::new();
    folder.write("secrets.yaml", "DB: hunter2\n");
    folder.write(
        "shop/ci.yml",
        "schemaVersion: v0.4\nrun:\n  web:\n    steps: [{command: x}]\n    env: {P: '${{ vault.DB }}'}\n",
    );
    let loaded = folder.check(&format!("vault: {{file: secrets.yaml}}\n{SHOP}"));
    let settings = loaded.settings.as_ref().unwrap_or_else(|| panic!("{:#?}", loaded.mistakes));
    let web = &settings.landscapes[0].spec.as_ref().unwrap().services["web"];
    assert_eq!(&*web.env["P"].text, "hunter2");
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert!(loaded.files.paths().any(|p| p == folder.path().join("secrets.yaml")));
    assert!(folder.told(&loaded).iter().any(|m| m.contains("chmod 600")), "{:?}", folder.told(&loaded));
}

#[test]
fn switches_and_tables() {
    let s = with_plan_8(
        "listen: {http: ['0.0.0.0:80', '[::1]:81'], admin: 'off', maxConnections: 9}\nthreads: 3\naccessLog: \
         off\ntrustedProxies: [10.0.0.0/8, '::1']\ndomains: {Shop.Example.com: {/: [shop], /api/: [shop]}}\nplans: {default: \
         {cpu: 1, memory: 1GiB}, 8: {cpu: 0.5, memory: 64MiB, maxReplicas: 2}}\ndocker: {host: 'tcp://h:1', bases: {u: \
         'ubuntu:24.04'}, pull: never, onExit: stop}\nprocess: {ports: 1024-2000, lowPorts: true}\npausedMemory: 3MiB\nlogs: {keep: 64KiB}\nhold: \
         {halfClosed: keep, pageAfter: 0s}",
    );
    assert_eq!((s.listen.http.len(), s.listen.admin, s.listen.threads, s.listen.max_connections), (2, None, 3, 9));
    assert_eq!(s.access_log, None);
    assert_eq!(s.trusted_proxies.len(), 2);
    assert_eq!(&*s.domains[0].host, "shop.example.com");
    assert_eq!(s.domains[0].paths[1].0, "/api");
    let plan = &s.landscapes[0].spec.as_ref().unwrap().services["web"].plan;
    assert_eq!((plan.cpu, plan.memory, plan.max_replicas), (0.5, 64 << 20, 2));
    assert_eq!((s.docker.host.as_deref(), s.docker.pull), (Some("http://h:1"), Pull::Never));
    assert_eq!((s.process.ports, s.process.log_keep), ((1024, 2000), 64 << 10));
    assert_eq!((s.process.low_ports, s.process.allow_root, s.paused_memory), (true, false, 3 << 20));
    assert_eq!(policy(&s, "web").hold.half_closed, HalfClosed::Keep);
}

#[test]
fn all_services_are_left_alone_by_a_reading_that_judges() {
    let folder = Folder::new();
    folder.check(SHOP);
    assert!(!folder.path().join(".landscape-router").exists());
    let loaded = folder.check(SHOP);
    assert_eq!(loaded.files.again(), loaded.files, "what was read is what is there");
}
