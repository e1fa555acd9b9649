//! What a container gets to see and may do.

use landscape_router::backend::{Backend, FailureKind, Goal, Seen};
use landscape_router::landscape::{ServiceSpec, Value, Workload};

use crate::need_engine;
use crate::rig::{ONE, Rig, docker, get, id, image, mount, says, steps};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_reached_at_an_address_of_its_own() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    let addresses = rig.up(&web).await;
    assert_eq!(get(&addresses, "/").await, "hello");
    assert_eq!(get(&addresses, "/cgi-bin/who").await, "replica 0 of web");
    let labels = says(&["inspect", "-f", "{{json .Config.Labels}}", &rig.container()]);
    for label in ["landscape", "service\":\"web", "ordinal\":\"0", "generation\":\"1"] {
        assert!(labels.contains(&format!("landscape-router.{label}")), "{labels}");
    }
    assert_eq!(says(&["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", &rig.container()]), "no");
    rig.want(&web, &[]);
    rig.stopped(ONE).await;
    assert!(rig.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_listen_on_the_same_port_and_know_their_number() {
    need_engine!();
    let mut rig = Rig::new();
    let web = rig.web();
    rig.want(&web, &[(id(0, 1), Goal::Run), (id(1, 1), Goal::Run), (id(2, 1), Goal::Run)]);
    let mut up = Vec::new();
    while up.len() < 3 {
        let one = rig.until("running", |s| match s {
            Seen::Running(id, at) => Some((*id, at.clone())),
            Seen::Ended(_, f) => panic!("{f:#?}"),
            _ => None,
        });
        up.push(one.await);
    }
    for (id, at) in up {
        assert_eq!(get(&at, "/cgi-bin/who").await, format!("replica {} of web", id.ordinal));
    }
    assert_eq!(rig.listed("network").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_replaces_cmd_and_keeps_the_entry_point() {
    need_engine!();
    let mut rig = Rig::new();
    let spec = rig.spec("web", image("lr-test/web:1", Some(&["sh", "-c", "echo instead; exec sleep 1000"])));
    rig.up(&spec).await;
    crate::rig::eventually("its words", || {
        let said = docker(&["logs", &rig.container()]).stdout;
        let said = String::from_utf8_lossy(&said);
        said.contains("entry: sh -c") && said.contains("instead")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_stays_the_first_process() {
    need_engine!();
    let mut rig = Rig::new();
    let spec = rig.spec("web", image("lr-test/init:1", None));
    let addresses = rig.up(&spec).await;
    assert_eq!(get(&addresses, "/").await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn env_is_the_service_s_and_the_workspace_s() {
    need_engine!();
    let mut rig = Rig::new();
    let mut spec = rig.shell("true");
    spec.env.insert("GREETING".into(), Value::plain("hello world; $(x) \"q\""));
    spec.env.insert("TOKEN".into(), Value::secret("s3cret=="));
    spec.env.insert("WORKSPACE_ID".into(), Value::plain("forged"));
    rig.up(&spec).await;
    let env = rig.exec("env");
    let workspace = format!("WORKSPACE_ID={}", rig.home.id);
    let domain = format!("WORKSPACE_DEV_DOMAIN={}.localhost", rig.home.id);
    for line in [
        "GREETING=hello world; $(x) \"q\"",
        "TOKEN=s3cret==",
        "CS_REPLICA=0",
        "CS_SERVER=sh",
        "TEAM_ID=7",
        &workspace,
        &domain,
    ] {
        assert!(env.lines().any(|l| l == line), "{line} is not in {env}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_is_the_asked_one_else_the_image_s_and_always_in_the_shared_group() {
    need_engine!();
    let mut rig = Rig::new();
    for (generation, user, group, image_name, expected) in [
        (1, None, None, "lr-test/user:1", "4242 0"),
        (2, Some(1501), None, "lr-test/user:1", "1501 0"),
        (3, Some(1501), Some(77), "lr-test/sh:1", "1501 77"),
        (4, None, Some(77), "lr-test/user:1", "4242 77"),
    ] {
        let mut spec = rig.spec("u", image(image_name, Some(&["sleep", "1000"])));
        (spec.user, spec.group) = (user, group);
        rig.want(&spec, &[(id(0, generation), Goal::Run)]);
        rig.running(id(0, generation)).await;
        if generation > 1 {
            rig.stopped(id(0, generation - 1)).await;
        }
        assert_eq!(rig.exec("echo $(id -u) $(id -g)"), expected, "{image_name} {user:?}:{group:?}");
        let groups = rig.exec("id -G");
        assert!(groups.split(' ').any(|g| g == "1010"), "{groups}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_by_name_needs_the_operator() {
    need_engine!();
    let mut rig = Rig::new();
    let mut spec = rig.web();
    spec.user = Some(0);
    let remedy = rig.backend().runnable(&spec).unwrap_err();
    assert!(remedy.contains("docker.allowRoot"), "{remedy}");
    rig.want(&spec, &[(ONE, Goal::Run)]);
    let failure = rig.ended(ONE).await;
    assert!(failure.permanent && failure.kind == FailureKind::NotRunnable, "{failure:?}");
    assert!(rig.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capabilities_and_privileges_are_dropped_and_limits_set() {
    need_engine!();
    let mut rig = Rig::new();
    let spec = rig.shell("true");
    rig.up(&spec).await;
    let status = rig.exec("cat /proc/1/status");
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, KILL 5, SETGID 6, SETUID 7, NET_BIND_SERVICE 10.
    let kept = [0, 1, 3, 5, 6, 7, 10].iter().fold(0u64, |all, bit| all | 1 << bit);
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), kept, "{set} {status}");
    }
    let limits = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}";
    assert_eq!(says(&["inspect", "-f", limits, &rig.container()]), "67108864 67108864 1000000000 4096");
    let log = says(&["inspect", "-f", "{{json .HostConfig.LogConfig}}", &rig.container()]);
    assert!(log.contains("max-size"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_run_one_after_the_other_inside_the_image() {
    need_engine!();
    let mut rig = Rig::new();
    let run = steps(&["mkdir /tmp/w; cd /tmp", "", "pwd > /tmp/w/index.html; exec httpd -f -p 3000 -h /tmp/w"]);
    let spec = rig.spec("steps", Workload::CustomBase { image: Value::plain("lr-test/web:1"), steps: run });
    let addresses = rig.up(&spec).await;
    assert_eq!(get(&addresses, "/").await, "/", "each step has a shell of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_step_stops_the_rest_and_is_named() {
    need_engine!();
    let mut rig = Rig::new();
    let run = steps(&["echo one", "echo broken >&2; exit 5", "echo never"]);
    let spec = rig.spec("steps", Workload::CustomBase { image: Value::plain("lr-test/sh:1"), steps: run });
    rig.want(&spec, &[(ONE, Goal::Run)]);
    let failure = rig.ended(ONE).await;
    assert!(failure.detail.contains("exit status 5") && failure.detail.contains("step 2 (do "), "{failure:?}");
    assert!(failure.log_tail.iter().any(|l| l == "broken"), "{failure:?}");
    assert!(!failure.log_tail.iter().any(|l| l == "never"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reactive_runs_on_the_base_in_the_landscape_s_root() {
    need_engine!();
    let mut rig = Rig::new();
    std::fs::write(rig.root().join("index.html"), "from the root").unwrap();
    let run = steps(&["pwd > where; echo $PORT > port", "exec httpd -f -p $PORT -h ."]);
    let spec = rig.spec("app", Workload::Reactive { steps: run.clone(), base: None });
    let addresses = rig.up(&spec).await;
    assert_eq!(get(&addresses, "/").await, "from the root");
    assert_eq!(std::fs::read_to_string(rig.root().join("where")).unwrap().trim(), "/home/user/app");
    assert_eq!(std::fs::read_to_string(rig.root().join("port")).unwrap().trim(), "3000");
    let named = rig.spec("named", Workload::Reactive { steps: run, base: Some("ubuntu-24.04".into()) });
    crate::rig::open_to_all(&rig.root());
    std::fs::remove_file(rig.root().join("where")).unwrap();
    std::fs::remove_file(rig.root().join("port")).unwrap();
    rig.want(&named, &[(ONE, Goal::Run)]);
    rig.running(ONE).await;
    crate::rig::eventually("the named base's user", || {
        let meta = std::fs::metadata(rig.root().join("port"));
        meta.is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 4242)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_of_its_own_may_take_the_root_s_place() {
    need_engine!();
    let mut rig = Rig::new();
    std::fs::create_dir(rig.root().join("part")).unwrap();
    std::fs::write(rig.root().join("part/index.html"), "of the part").unwrap();
    let reactive = Workload::Reactive { steps: steps(&["exec httpd -f -p 3000"]), base: None };
    let spec = ServiceSpec { mounts: vec![mount("part", "/home/user/app")], ..rig.spec("web", reactive) };
    let addresses = rig.up(&spec).await;
    assert_eq!(get(&addresses, "/index.html").await, "of the part");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_base_a_reactive_is_not_runnable_and_says_what_helps() {
    need_engine!();
    let rig = Rig::with(landscape_router::config::settings::DockerSettings { base: None, ..crate::rig::settings() });
    let spec = rig.spec("app", Workload::Reactive { steps: steps(&["true"]), base: None });
    assert!(rig.backend().runnable(&spec).unwrap_err().contains("docker.base"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn landscapes_have_networks_of_their_own() {
    need_engine!();
    let mut rig = Rig::new();
    let one = rig.web();
    let mut other = rig.web();
    other.key = landscape_router::landscape::ServiceKey::new(format!("{}-b", rig.home.id), "web");
    let first = rig.up(&one).await;
    let second = rig.up(&other).await;
    let subnet = |a: &landscape_router::backend::Addresses| {
        a.of(3000).unwrap().address.ip().to_string().rsplit_once('.').unwrap().0.to_owned()
    };
    assert_ne!(subnet(&first), subnet(&second));
    assert!(subnet(&first).starts_with("10.231."));
    assert_eq!(rig.listed("network").len(), 2);
    // Removed with its landscape, and not before its last container.
    let configured = std::collections::HashSet::from([rig.home.id.clone()]);
    rig.backend().reconfigure(rig.settings.clone(), &configured).await;
    assert_eq!(rig.listed("network").len(), 2);
    rig.want(&other, &[]);
    rig.stopped(ONE).await;
    rig.backend().reconfigure(rig.settings.clone(), &configured).await;
    crate::rig::eventually("removal", || rig.listed("network").len() == 1).await;
}
