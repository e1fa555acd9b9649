//! Files that are being written while the router looks.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, Router, Site, router_yaml};

fn ci(color: &str) -> String {
    format!(
        "schemaVersion: v0.2\nrun:\n  web:\n    steps: [{{ command: ./test-app }}]\n    env: {{ COLOR: {color} }}\n    \
         network: {{ paths: [{{ port: 3000, path: / }}] }}\n"
    )
}

fn await_color(router: &Router, color: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = router.shop("/env");
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), router.log());
        if answer.text().contains(&format!("COLOR={color}\n")) {
            return;
        }
        assert!(Instant::now() < deadline, "never {color}:\n{}", router.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_file_that_is_written_in_pieces_is_read_when_it_is_whole() {
    let site = Site::new(&router_yaml(""), &ci("red"));
    let router = Router::start(&site);
    await_color(&router, "red");
    for n in 0.. {
        let errors = router.metric(ERRORS).unwrap();
        let color = format!("blue{n}");
        let slowest = write_in_pieces(&site, &ci(&color));
        await_color(&router, &color);
        // A writer that this machine kept waiting for longer is one whose file was quiet half-way.
        if slowest < Duration::from_millis(50) {
            assert_eq!(router.metric(ERRORS), Some(errors), "{}", router.log());
            break;
        }
    }
}

const ERRORS: &str = "landscape_router_config_reloads_total{result=\"error\"}";

/// Writes the landscape's file piece by piece; the longest time from before one piece to after the next.
fn write_in_pieces(site: &Site, text: &str) -> Duration {
    let mut before = Instant::now();
    let mut file = std::fs::File::create(site.path().join("shop/ci.yml")).unwrap();
    let mut slowest = Duration::ZERO;
    for piece in text.as_bytes().chunks(40) {
        let begin = Instant::now();
        file.write_all(piece).unwrap();
        slowest = slowest.max(before.elapsed());
        before = begin;
        std::thread::sleep(Duration::from_millis(10));
    }
    slowest
}

#[test]
fn a_half_saved_file_keeps_the_old_one_until_the_rest_comes() {
    let site = Site::new(&router_yaml(""), &ci("red"));
    let router = Router::start(&site);
    await_color(&router, "red");
    let text = ci("blue");
    let half = text.len() - 30;
    let mut file = std::fs::File::create(site.path().join("shop/ci.yml")).unwrap();
    file.write_all(&text.as_bytes()[..half]).unwrap();
    router.await_log("ci.yml:6:");
    await_color(&router, "red");
    file.write_all(&text.as_bytes()[half..]).unwrap();
    drop(file);
    await_color(&router, "blue");
}

#[test]
fn a_vanished_or_emptied_file_changes_nothing_and_is_told() {
    let site = Site::new(&router_yaml(""), &ci("red"));
    let router = Router::start(&site);
    await_color(&router, "red");
    let pid = |text: String| text.split("pid=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let before = pid(router.shop("/").text());
    std::fs::remove_file(site.path().join("shop/ci.yml")).unwrap();
    router.await_log("there is no such file");
    assert_eq!(pid(router.shop("/").text()), before);
    site.write("shop/ci.yml", "");
    router.await_log("the file is empty");
    assert_eq!(pid(router.shop("/").text()), before);
    std::fs::write(site.path().join("router.yaml"), "").unwrap();
    router.await_metric("landscape_router_config_last_reload_successful", 0.0);
    assert_eq!(pid(router.shop("/").text()), before);
    let told = router.cli(&site, &["status"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("empty"), "{told:?}");
}

#[test]
fn a_landscape_that_was_good_once_is_served_after_a_restart_with_a_broken_file() {
    let site = Site::new(&router_yaml(""), &ci("red"));
    let router = Router::start(&site);
    await_color(&router, "red");
    site.write("shop/ci.yml", "run: [");
    router.await_log("ci.yml:1");
    assert_eq!(router.stop(), Some(0));
    let router = Router::start(&site);
    await_color(&router, "red");
    assert!(router.log().contains("ci.yml:1"), "{}", router.log());
}
