//! Secrets reach the services that name them, and nothing else.

use std::path::Path;
use std::process::Command;

use crate::support::{Router, Site, get, router_yaml};

const SECRET: &str = "Geheim-4711-no-one-sees-this";
const OTHER: &str = "Anderes-0815-no-one-sees-this";
const OF_THE_ROUTER: &str = "of-the-routers-own-environment";

const SHOP: &str = "schemaVersion: v0.2
run:
  web:
    steps: [{ command: ./test-app }]
    env: { TOKEN: \"${{ vault.TOKEN }}\", PLAIN: 1 }
    network: { paths: [{ port: 3000, path: / }] }
  api:
    steps: [{ command: ./test-app }]
    network: { paths: [{ port: 3000, path: /api, stripPath: true }] }
  bad:
    steps: [{ command: \"exit 3\" }]
    env: { TOKEN: \"x${{ vault.OTHER }}x\" }
    network: { paths: [{ port: 3000, path: /bad }] }
";

/// Every file below a folder that holds these words.
fn files_with(dir: &Path, words: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            files_with(&path, words, found);
        } else if kind.is_file() && std::fs::read(&path).is_ok_and(|b| String::from_utf8_lossy(&b).contains(words)) {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn a_vault_value_reaches_its_service_and_no_output() {
    let yaml = router_yaml("vault: { file: secrets.yaml }\naccessLog: { format: json, path: access.log }");
    let site = Site::new(&yaml, SHOP);
    site.write("secrets.yaml", &format!("TOKEN: {SECRET}\nOTHER: {OTHER}\n"));
    let mut command = Router::command(&site);
    command.env("SHOP_MARKER", OF_THE_ROUTER);
    let router = Router::launch(command);

    let env = router.shop("/env").text();
    assert!(env.contains(&format!("TOKEN={SECRET}\n")) && env.contains("PLAIN=1\n"), "{env}");
    assert!(!env.contains(OTHER) && !env.contains(OF_THE_ROUTER) && !env.contains("SHOP_MARKER"), "{env}");
    assert!(!env.contains("XDG_RUNTIME_DIR") && !env.contains("LANDSCAPE_ROUTER_LOG"), "{env}");
    let api = router.shop("/api/env").text();
    assert!(api.contains("CS_SERVER=api") && !api.contains(SECRET) && !api.contains(OTHER), "{api}");
    let failed = router.shop("/bad");
    assert_eq!(failed.status, 503);

    let mut outputs = vec![failed.text(), router.shop("/nowhere").head];
    for path in ["landscapes", "landscapes/shop", "landscapes/shop/services/web", "landscapes/shop/services/bad"] {
        outputs.push(router.api(path).to_string());
    }
    outputs.push(get(router.admin, &router.admin.to_string(), "/metrics").text());
    let commands: [&[&str]; 7] = [
        &["status"],
        &["status", "--json"],
        &["why", "shop/web"],
        &["why", "shop/bad"],
        &["logs", "shop/web"],
        &["logs", "shop/bad"],
        &["restart", "shop/web"],
    ];
    for arguments in commands {
        let output = router.cli(&site, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        outputs.push(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
    }
    let yaml = site.path().join("router.yaml");
    for arguments in [&["check", "--config"][..], &["explain", "http://shop.localhost/", "--config"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_landscape-router")).args(arguments).arg(&yaml).output().unwrap();
        outputs.push(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned());
    }
    // A mistake beside a secret shows the place, not the value.
    site.write("secrets.yaml", &format!("TOKEN: {SECRET}\nOTHER: [{OTHER}]\n"));
    router.await_metric("landscape_router_config_last_reload_successful", 0.0);
    outputs.push(router.api("landscapes").to_string());
    outputs.push(String::from_utf8_lossy(&router.cli(&site, &["status"]).stdout).into_owned());
    outputs.push(router.log());
    for output in &outputs {
        assert!(!output.contains(SECRET) && !output.contains(OTHER), "a secret is shown:\n{output}");
    }
    // Nor on any command line of what runs.
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(SECRET), "{entry:?}");
    }
    let mut found = Vec::new();
    files_with(site.path(), SECRET, &mut found);
    assert_eq!(found, [site.path().join("secrets.yaml").display().to_string()], "files that hold the secret");
}

#[test]
fn secrets_of_the_environment_are_named_by_their_prefix() {
    let site = Site::new(&router_yaml("vault: { env: SHOP_SECRET_ }"), SHOP);
    let mut command = Router::command(&site);
    command.env("SHOP_SECRET_TOKEN", SECRET).env("SHOP_SECRET_OTHER", OTHER);
    let router = Router::launch(command);
    let env = router.shop("/env").text();
    assert!(
        env.contains(&format!("TOKEN={SECRET}\n")) && !env.contains("SHOP_SECRET_") && !env.contains(OTHER),
        "{env}"
    );
    assert!(!router.log().contains(SECRET), "{}", router.log());
}

#[test]
fn a_changed_secret_rolls_the_service_that_names_it() {
    let site = Site::new(&router_yaml("vault: { file: secrets.yaml }"), SHOP);
    site.write("secrets.yaml", &format!("TOKEN: {SECRET}\nOTHER: {OTHER}\n"));
    let router = Router::start(&site);
    assert!(router.shop("/env").text().contains(SECRET));
    let api = router.shop("/api/").text();
    site.write("secrets.yaml", &format!("TOKEN: another\nOTHER: {OTHER}\n"));
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let answer = router.shop("/env");
        assert_eq!(answer.status, 200);
        if answer.text().contains("TOKEN=another\n") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", router.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(router.shop("/api/").text(), api, "the other service was left alone");
}
