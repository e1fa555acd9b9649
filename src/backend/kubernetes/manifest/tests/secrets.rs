//! What a vault key went into is in Secrets alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::landscape::{Step, Value as Text, Workload};

#[test]
fn secret_variables_are_read_from_the_secret() {
    let spec = web("image: nginx\nenv: {URL: 'pg://u:${{ vault.PASS }}@db', PLAIN: x, 'a b': '${{ vault.PASS }}'}");
    let settings = settings();
    let found = json!(secret(&spec, place(&settings)).unwrap());
    let odd = names::secret_key("a b");
    same(
        &found,
        &json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "ws-server-4711-web",
                "namespace": "apps",
                "labels": {
                    "app.kubernetes.io/managed-by": "landscape-router",
                    "landscape-router/instance": "landscape-router",
                    "landscape-router/landscape": "4711",
                    "landscape-router/service": "web",
                },
                "annotations": { "landscape-router/landscape": "4711", "landscape-router/service": "web" },
            },
            "type": "Opaque",
            "data": { "URL": STANDARD.encode("pg://u:hunter2@db"), (odd.as_str()): STANDARD.encode("hunter2") },
        }),
    );
    let env = app(&deployed(&spec, &settings))["env"].clone();
    let of = |name: &str| env.as_array().unwrap().iter().find(|e| e["name"] == name).unwrap().clone();
    let read = |key: &str| json!({ "secretKeyRef": { "name": "ws-server-4711-web", "key": key } });
    assert_eq!(of("URL"), json!({ "name": "URL", "valueFrom": read("URL") }));
    assert_eq!(of("a b"), json!({ "name": "a b", "valueFrom": read(&odd) }));
    assert_eq!(of("PLAIN"), json!({ "name": "PLAIN", "value": "x" }));
}

#[test]
fn without_secrets_there_is_no_secret() {
    assert!(secret(&web("image: nginx\nenv: {PLAIN: x}"), place(&settings())).is_none());
    assert!(pull_secret("4711", &[], place(&settings())).is_none());
}

#[test]
fn another_secret_is_another_template() {
    let mut spec = web("image: nginx\nenv: {A: '${{ vault.PASS }}'}");
    let template = |spec: &ServiceSpec| deployed(spec, &settings())["spec"]["template"].clone();
    let before = template(&spec);
    spec.env.insert("A".into(), Text::secret("other"));
    assert_ne!(before, template(&spec));
}

#[test]
fn credentials_are_what_docker_writes() {
    let login = |registry: &str, password: &str| Login {
        registry: registry.into(),
        username: "u".into(),
        password: password.into(),
    };
    let logins = [login("registry.example:5000", "p"), login("docker.io", "q")];
    assert!(!format!("{logins:?}").contains("\"p\""));
    let found = json!(pull_secret("4711", &logins, place(&settings())).unwrap());
    assert_eq!(
        (&found["metadata"]["name"], &found["type"]),
        (&json!("ws-pull-4711"), &json!("kubernetes.io/dockerconfigjson"))
    );
    let config = STANDARD.decode(found["data"][".dockerconfigjson"].as_str().unwrap()).unwrap();
    same(
        &serde_json::from_slice(&config).unwrap(),
        &json!({ "auths": {
            "registry.example:5000": { "username": "u", "password": "p", "auth": STANDARD.encode("u:p") },
            "https://index.docker.io/v1/": { "username": "u", "password": "q", "auth": STANDARD.encode("u:q") },
        } }),
    );
}

#[tokio::test]
async fn passwords_are_read_from_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "p w\n").unwrap();
    let mut registries = vec![("index.docker.io".into(), Registry { username: "u".into(), password_file: file })];
    let read = logins(&registries).await.unwrap();
    assert_eq!(read, [Login { registry: "docker.io".into(), username: "u".into(), password: "p w".into() }]);
    registries[0].1.password_file = folder.path().join("none");
    let why = logins(&registries).await.unwrap_err();
    assert!(why.contains("/none cannot be read"), "{why}");
}

proptest! {
    /// A secret is found nowhere but in Secrets: not as it is, not encoded.
    #[test]
    fn nothing_secret_is_outside_of_secrets(
        secrets in prop::collection::btree_map("[A-Za-z_ ]{1,8}", "[!-~]{12,40}", 1..6),
        image in any::<bool>(),
        steps in prop::collection::vec("[ -~]{0,8}", 0..3),
        rolling in any::<bool>(),
    ) {
        let mut spec = web("image: nginx\nenv: {PLAIN: x}");
        if !image {
            let steps = steps.into_iter().map(|command| Step { name: None, command }).collect();
            spec.workload = Workload::Reactive { steps, base: None };
        }
        spec.env.extend(secrets.iter().map(|(name, value)| (name.clone(), Text::secret(value.as_str()))));
        let settings = settings();
        let place = place(&settings);
        let shown = [
            json!(deployment(&spec, place, 1, rolling, GRACE).unwrap()),
            json!(anchor("4711", place)),
            json!(network_policy("4711", &Callers::default(), place)),
        ];
        let all = format!("{shown:?}");
        let made = secret(&spec, place).unwrap();
        prop_assert_eq!(made.data.as_ref().map(|d| d.len()), Some(secrets.len()));
        for value in secrets.values() {
            let escaped = format!("{value:?}");
            prop_assert!(!all.contains(value) && !all.contains(escaped.trim_matches('"')));
            prop_assert!(!all.contains(&STANDARD.encode(value)));
            prop_assert!(made.data.iter().flatten().any(|(_, bytes)| bytes.0 == value.as_bytes()));
        }
    }
}
