//! What cannot run says so: to the waiting client without internals, to the operator with all.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::need_engine;
use crate::rig::{PASSWORD, Registry, USER, docker, says};
use crate::support::{Router, eventually, figure, request};
use crate::town::{Events, SETTINGS, Town, wall_clock};

fn ci(image: &str, more: &str) -> String {
    format!(
        "schemaVersion: v0.4
run:
  web:
    image: {image}
{more}    network: {{ ports: [{{ port: 3000, isPublic: false }}], paths: [{{ port: 3000, path: / }}] }}
"
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn with_registry(registry: &Registry, host: &str, password: &str) -> String {
    let file = registry.dir.path().join(format!("password-{}", crate::rig::random(6)));
    std::fs::write(&file, password).unwrap();
    format!("{SETTINGS}\nregistries: {{ \"{host}\": {{ username: {USER}, passwordFile: {} }} }}", file.display())
}

#[test]
fn a_crash_loop_answers_who_waits_at_the_exit() {
    need_engine!();
    let command = "    command: [/bin/sh, -c, \"sleep 2; echo the cupboard is bare; exit 3\"]\n";
    let town = Town::new(SETTINGS, &ci("lr-test/sh:1", command));
    let router = Router::start(&town.site);
    let exits = Events::of(&town, "die");
    let at = router.http;
    let asking: Vec<_> = ["GET", "POST", "DELETE", "GET", "GET"]
        .into_iter()
        .map(|method| {
            let ask = format!("{method} / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0\r\n\r\n");
            std::thread::spawn(move || (request(at, &ask).unwrap(), wall_clock()))
        })
        .collect();
    let answers: Vec<_> = asking.into_iter().map(|a| a.join().unwrap()).collect();
    let exit = exits.next();
    for (answer, when) in &answers {
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some(), "{}", answer.head);
        let text = answer.text();
        assert!(text.contains("exited") || text.contains("ended"), "{text}");
        assert!(!text.contains("cupboard") && !text.contains("lr-test"), "no internals: {text}");
        figure("a waiting client is answered after the exit", when.saturating_sub(exit));
    }
    let status = router.service("web");
    assert_eq!(status["lastFailure"]["kind"], "exited", "{status:#}");
    assert!(status["lastFailure"]["detail"].as_str().unwrap().contains('3'), "{status:#}");
    // What the application wrote needs the token, which the command line finds by itself.
    eventually("its last lines", &router, || {
        let shown = router.cli(&town.site, &["status", "shop/web", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let failure = &status["lastFailure"];
        failure["logTail"].to_string().contains("cupboard") && failure["detail"].as_str().unwrap().contains("after")
    });
    assert!(!router.service("web").to_string().contains("cupboard"), "not without it");
    router.await_log("the cupboard is bare");
    town.await_containers("no rest", &router, |all| all.len() <= 1);
}

#[test]
fn an_image_that_does_not_exist_is_told_clearly() {
    need_engine!();
    let rt = runtime();
    let registry = rt.block_on(Registry::start());
    let image = format!("{}/shop/missing:7", registry.host);
    let town = Town::new(&with_registry(&registry, &registry.host, PASSWORD), &ci(&image, ""));
    let router = Router::start(&town.site);
    let begin = Instant::now();
    let answer = router.shop("/");
    figure("503 for a missing image", begin.elapsed());
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("image does not exist"), "{}", answer.text());
    assert!(!answer.text().contains("missing:7") && !answer.text().contains(&registry.host), "{}", answer.text());
    let status = router.service("web");
    assert_eq!(status["lastFailure"]["kind"], "image");
    assert!(status["lastFailure"]["detail"].as_str().unwrap().contains(&image), "{status:#}");
    let shown = router.cli(&town.site, &["status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("does not exist"), "{shown:?}");
}

#[test]
fn a_wrong_password_is_told_clearly_and_the_right_one_helps_at_once() {
    need_engine!();
    let rt = runtime();
    let registry = rt.block_on(Registry::start());
    let image = registry.push("lr-test/web:1", "shop/web:1");
    let town = Town::new(&with_registry(&registry, &registry.host, "wrong horse"), &ci(&image, ""));
    let router = Router::start(&town.site);
    let answer = router.shop("/");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("access denied"), "{}", answer.text());
    assert!(!answer.text().contains(&registry.host) && !answer.text().contains("horse"), "{}", answer.text());
    let status = router.service("web");
    let detail = status["lastFailure"]["detail"].as_str().unwrap();
    assert!(detail.contains("check the user and the password") && !detail.contains("wrong horse"), "{detail}");
    let right = crate::support::router_yaml(&with_registry(&registry, &registry.host, PASSWORD));
    town.site.write("router.yaml", &right);
    let served = eventually("the image", &router, || router.shop("/").status == 200);
    figure("served after the password was put right", served);
    drop(router);
    drop(town);
    docker(&["rmi", "-f", &image]);
}

/// Forwards to `to` and lets so many bytes a second come back.
async fn throttle(listener: tokio::net::TcpListener, to: String, each_second: usize) {
    while let Ok((mut client, _)) = listener.accept().await {
        let to = to.clone();
        tokio::spawn(async move {
            let Ok(mut server) = tokio::net::TcpStream::connect(&to).await else { return };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
            let ask = tokio::io::copy(&mut from_client, &mut to_server);
            let answer = async {
                let mut piece = vec![0; each_second / 50];
                loop {
                    let n = from_server.read(&mut piece).await?;
                    if n == 0 {
                        return std::io::Result::Ok(());
                    }
                    to_client.write_all(&piece[..n]).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::select! { _ = ask => {}, _ = answer => {} }
        });
    }
}

#[test]
fn a_pull_shows_how_far_it_is() {
    need_engine!();
    let rt = runtime();
    let registry = rt.block_on(Registry::start());
    // Eight megabytes that do not compress.
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(8 << 20).collect();
    std::fs::write(dir.path().join("noise"), noise).unwrap();
    std::fs::write(dir.path().join("Dockerfile"), "FROM lr-test/web:1\nADD noise /noise\n").unwrap();
    let local = format!("lr-test/noise-{}:1", crate::rig::random(8));
    let build = std::process::Command::new("docker")
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "-q", "-t", &local])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(build.status.success(), "{build:?}");
    registry.push(&local, "shop/noise:1");
    says(&["rmi", &local]);
    let slow = rt.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let host = slow.local_addr().unwrap().to_string();
    rt.spawn(throttle(slow, registry.host.clone(), 2 << 20));
    let image = format!("{host}/shop/noise:1");
    let settings = with_registry(&registry, &host, PASSWORD) + "\nhold: { pageAfter: 100ms }";
    let town = Town::new(&settings, &ci(&image, ""));
    let router = Router::start(&town.site);

    let at = router.http;
    let holding = std::thread::spawn(move || crate::support::get(at, "shop.localhost", "/"));
    let mut texts = Vec::new();
    let mut fractions: Vec<f64> = Vec::new();
    let mut page = None;
    let took = eventually("the end of the pull", &router, || {
        let status = router.service("web");
        let progress = &status["progress"];
        texts.extend(progress["text"].as_str().map(str::to_owned));
        fractions.extend(progress["fraction"].as_f64());
        if page.is_none() && fractions.last().is_some_and(|f| *f > 0.2) {
            let navigation = "GET / HTTP/1.1\r\nHost: shop.localhost\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\n\
                              Sec-Fetch-Dest: document\r\nConnection: close\r\n\r\n";
            page = Some(request(router.http, navigation).unwrap());
            let shown = router.cli(&town.site, &["status"]);
            let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
            assert!(shown.contains("pulling"), "{shown}");
        }
        status["state"] == "ready"
    });
    figure("pulled, started and ready", took);
    assert!(texts.iter().all(|t| t.contains("pulling")), "{texts:?}");
    assert!(fractions.is_sorted() && fractions.first() < fractions.last(), "{fractions:?}");
    let page = page.expect("a moment for the page");
    assert_eq!(page.status, 503);
    assert!(page.text().contains("Workspace server is starting"), "{}", page.text());
    assert!(page.text().contains("pulling") && !page.text().contains("horse"), "{}", page.text());
    assert_eq!(holding.join().unwrap().status, 200, "who asked by program got the answer");
    assert!(router.log().contains("pulling"), "the log tells of it:\n{}", router.log());
    drop(router);
    drop(town);
    docker(&["rmi", "-f", &image]);
}
