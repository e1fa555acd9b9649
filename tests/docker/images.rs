//! Images from a private registry.

use landscape_router::backend::{Backend, FailureKind, Goal, Seen};
use landscape_router::config::settings::{DockerSettings, Pull};
use landscape_router::landscape::{Value, Workload};

use crate::need_engine;
use crate::rig::{ONE, PASSWORD, Registry, Rig, docker, get, id, image, random, says, settings};

/// Removes a pulled image again.
struct Pulled(String);

impl Drop for Pulled {
    fn drop(&mut self) {
        docker(&["rmi", "-f", &self.0]);
    }
}

/// An image that no engine has, of some size, so that a pull takes a moment.
fn fresh(registry: &Registry, name: &str) -> String {
    let local = format!("lr-test/fresh:{}", random(8));
    let dir = tempfile::tempdir().unwrap();
    for part in 0..3 {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(3 << 20).collect();
        std::fs::write(dir.path().join(format!("noise{part}")), noise).unwrap();
    }
    let lines = "FROM lr-test/web:1\nCOPY noise0 /noise0\nCOPY noise1 /noise1\nCOPY noise2 /noise2\n";
    std::fs::write(dir.path().join("Dockerfile"), lines).unwrap();
    let built = std::process::Command::new("docker")
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "-q", "-t", &local])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let full = registry.push(&local, name);
    says(&["rmi", &local]);
    full
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pulled_with_the_configured_password_and_progress() {
    need_engine!();
    let registry = Registry::start().await;
    let name = fresh(&registry, "shop/web:1.2");
    let _pulled = Pulled(name.clone());
    let mut rig = Rig::with(DockerSettings { registries: vec![registry.entry(PASSWORD)], ..settings() });
    let spec = rig.spec("web", image(&name, None));
    rig.want(&spec, &[(id(0, 1), Goal::Run), (id(1, 1), Goal::Run)]);
    let mut progress = Vec::new();
    let mut up = Vec::new();
    while up.len() < 2 {
        let one = rig.until("running", |s| match s {
            Seen::Progress(i, p) if *i == ONE => {
                progress.push(p.clone());
                None
            }
            Seen::Running(_, at) => Some(at.clone()),
            Seen::Ended(_, f) => panic!("{f:#?}"),
            _ => None,
        });
        up.push(one.await);
    }
    assert_eq!(get(&up[0], "/").await, "hello");
    assert!(progress.iter().all(|p| p.text == format!("pulling {name}")), "{progress:?}");
    let fractions: Vec<f32> = progress.iter().filter_map(|p| p.fraction).collect();
    assert!(fractions.len() > 2 && fractions.windows(2).all(|w| w[0] <= w[1]), "{fractions:?}");
    assert!(fractions.iter().all(|f| (0.0..=1.0).contains(f)));
    eprintln!("{} observations of progress, the last {:?}", fractions.len(), fractions.last());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_pulled_by_its_digest() {
    need_engine!();
    let registry = Registry::start().await;
    let name = fresh(&registry, "by/digest:1");
    // The registry knows the digest; curl-free: pull once by tag, ask the engine, forget the image.
    let mut rig = Rig::with(DockerSettings { registries: vec![registry.entry(PASSWORD)], ..settings() });
    let spec = rig.spec("web", image(&name, None));
    rig.up(&spec).await;
    let digest = says(&["image", "inspect", "-f", "{{index .RepoDigests 0}}", &name]);
    rig.want(&spec, &[]);
    rig.stopped(ONE).await;
    says(&["rmi", &name]);
    let _pulled = Pulled(digest.clone());
    let spec = rig.spec("web", image(&digest, None));
    rig.want(&spec, &[(id(0, 2), Goal::Run)]);
    let addresses = rig.running(id(0, 2)).await;
    assert_eq!(get(&addresses, "/").await, "hello");
    // An image in use would only lose its name.
    drop(rig);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_without_being_shown() {
    need_engine!();
    let registry = Registry::start().await;
    let name = fresh(&registry, "shop/web:1");
    for (password, remedy) in [(Some("hunter2-wrong"), "check the user and the password"), (None, "name credentials")] {
        let registries = password.map(|p| registry.entry(p)).into_iter().collect();
        let mut rig = Rig::with(DockerSettings { registries, ..settings() });
        let spec = rig.spec("web", image(&name, None));
        rig.want(&spec, &[(ONE, Goal::Run)]);
        let failure = rig.ended(ONE).await;
        assert!(failure.kind == FailureKind::Image && failure.permanent, "{failure:?}");
        assert!(failure.detail.contains(remedy), "{failure:?}");
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        assert!(!failure.public.contains(&registry.host), "{failure:?}");
        eprintln!("{}", failure.detail);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_does_not_exist_is_permanent() {
    need_engine!();
    let registry = Registry::start().await;
    let mut rig = Rig::with(DockerSettings { registries: vec![registry.entry(PASSWORD)], ..settings() });
    let spec = rig.spec("web", image(&format!("{}/no/such:image", registry.host), None));
    rig.want(&spec, &[(ONE, Goal::Run)]);
    let failure = rig.ended(ONE).await;
    assert!(failure.kind == FailureKind::Image && failure.permanent, "{failure:?}");
    assert_eq!(failure.public, "The service's image does not exist.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_away_is_not_permanent_and_a_secret_reference_is_not_shown() {
    need_engine!();
    let mut rig = Rig::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let image = Value::secret(format!("127.0.0.1:{port}/hush-hush:1"));
    let spec = rig.spec("web", Workload::Container { image, command: None });
    rig.want(&spec, &[(ONE, Goal::Run)]);
    let (texts, failure) = {
        let mut texts = Vec::new();
        let failure = rig.until("ended", |s| match s {
            Seen::Progress(_, p) => {
                texts.push(p.text.clone());
                None
            }
            Seen::Ended(_, f) => Some(f.clone()),
            _ => None,
        });
        let failure = failure.await;
        (texts, failure)
    };
    assert!(failure.kind == FailureKind::Image && !failure.permanent, "{failure:?}");
    assert!(!format!("{failure:?}{texts:?}").contains("hush"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_policy_of_never_pulls_never() {
    need_engine!();
    let mut rig = Rig::with(DockerSettings { pull: Pull::Never, ..settings() });
    let spec = rig.spec("web", image("lr-test/not-there:1", None));
    rig.want(&spec, &[(ONE, Goal::Run)]);
    let failure = rig.ended(ONE).await;
    assert!(failure.permanent && failure.detail.contains("docker.pull"), "{failure:?}");
    assert!(rig.backend().runnable(&spec).is_ok());
}
