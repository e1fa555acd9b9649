//! `landscape-router plan`, against what is in a cluster.

use std::process::{Command, Output};

use landscape_router::backend::kubernetes::manifest::{self, Callers, Place};
use landscape_router::config::{Purpose, load};
use serde_json::{Value, json};

use crate::fixture::knobs::Deny;
use crate::need_fixture;
use crate::support::Site;
use crate::town::{Town, image};

/// A site that is planned for, never run.
struct Drawing {
    site: Site,
    town: Town,
}

fn ci(env: &str) -> String {
    format!(
        "schemaVersion: v0.4\nrun:\n  web:\n    image: {}\n    env: {{ {env} }}\n    network: {{ ports: [{{ port: 3000, isPublic: \
         false }}], paths: [{{ port: 3000, path: / }}] }}\n",
        image()
    )
}

impl Drawing {
    fn new(ci: &str) -> Self {
        let drawing = Self { site: Site::new("", ci), town: Town::new() };
        drawing.site.write("secrets.yaml", "PASS: hunter2-hunter2\n");
        drawing.configure("", "");
        drawing
    }

    fn configure(&self, kubernetes: &str, services: &str) {
        let (kubeconfig, namespace) = (self.town.kubeconfig().display(), &self.town.namespace);
        self.site.write(
            "router.yaml",
            &format!(
                "backend: kubernetes\nstate: state\nvault: {{ file: secrets.yaml }}\nkubernetes: {{ kubeconfig: \
                 \"{kubeconfig}\", namespace: {namespace}, pull: never {kubernetes} }}\nlandscapes:\n  - id: shop\n    root: \
                 shop\n    services: {{ {services} }}\n"
            ),
        );
    }

    fn plan(&self, more: &[&str]) -> Output {
        let config = self.site.path().join("router.yaml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_landscape-router"));
        command.arg("plan").arg("--config").arg(config).args(more).output().unwrap()
    }

    /// What it prints where all can be told, but for the line with the sum; and the sum.
    fn good(&self) -> (String, String) {
        let output = self.plan(&[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (rest, sum) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
        (rest.to_owned(), sum.rsplit_once(": ").unwrap().1.to_owned())
    }

    /// Applies what is planned, as the router does.
    fn build(&self) {
        let loaded = load(&self.site.path().join("router.yaml"), Purpose::Check);
        let settings = loaded.settings.unwrap();
        let place = Place { settings: &settings.kubernetes, namespace: &self.town.namespace, owner: None };
        let anchor = self.apply("configmaps", &json!(manifest::anchor("shop", place)));
        let owner = manifest::owner(&serde_json::from_value(anchor).unwrap()).unwrap();
        let place = Place { owner: Some(&owner), ..place };
        let callers = Callers { namespace: None, addresses: vec!["10.9.8.7/32".parse().unwrap()] };
        self.apply("networkpolicies", &json!(manifest::network_policy("shop", &callers, place)));
        let landscape = &settings.landscapes[0];
        for (key, policy) in landscape.policies.iter().filter(|(_, policy)| policy.attach.is_none()) {
            let spec = &landscape.spec.as_ref().unwrap().services[&key.service];
            if let Some(secret) = manifest::secret(spec, place) {
                self.apply("secrets", &json!(secret));
            }
            let deployment = manifest::deployment(spec, place, 0, false, policy.stop_grace).unwrap();
            self.apply("deployments", &json!(deployment));
        }
    }

    fn apply(&self, plural: &str, object: &Value) -> Value {
        self.town.apply(plural, object, "landscape-router", true).good()
    }

    fn errors(&self) -> String {
        let output = self.plan(&[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn what_is_built_as_planned_needs_no_change() {
    let drawing = Drawing::new(&ci("DB: 'pg:${{ vault.PASS }}', TRICKY: '$(HOME) $$'"));
    let all = "shop\n  + ConfigMap ws-shop\n  + NetworkPolicy ws-shop\nshop/web\n  + Secret ws-server-shop-web\n  \
               + Deployment ws-server-shop-web";
    assert_eq!(drawing.good(), (all.to_owned(), "4 created".to_owned()));
    assert!(drawing.town.list("deployments", "").is_empty(), "nothing is made");
    drawing.build();
    assert_eq!(drawing.good(), (String::new(), "no changes".to_owned()));
    // The number of replicas is the life cycle's.
    drawing.town.scale("deployments", "ws-server-shop-web", 1).good();
    assert_eq!(drawing.good().1, "no changes");
}

#[test]
fn what_is_different_is_told_field_by_field() {
    let drawing = Drawing::new(&ci("DB: 'pg:${{ vault.PASS }}', OLD: a, SAME: b"));
    drawing.build();
    drawing
        .site
        .write("shop/ci.yml", &ci("DB: 'sql:${{ vault.PASS }}', SAME: c").replace("  web:", "  web:\n    plan: 8"));
    drawing.configure(", allowFrom: [10.1.0.0/16]", "");
    let (told, sum) = drawing.good();
    assert_eq!(sum, "3 changed");
    for line in [
        "  ~ NetworkPolicy ws-shop\n      spec.ingress",
        "  ~ Secret ws-server-shop-web\n      data.DB: changed\n",
        "      spec.template.spec.containers[app].env[OLD]: removed {\"name\":\"OLD\",\"value\":\"a\"}\n",
        "      spec.template.spec.containers[app].env[SAME].value: \"b\" → \"c\"",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let output = drawing.plan(&["--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for secret in ["hunter2", "aHVudGVyMg", "pg:", "sql:"] {
        assert!(!text.contains(secret) && !told.contains(secret), "{text}");
    }
    let plan: Value = serde_json::from_str(&text).unwrap();
    let changes = plan["changes"].as_array().unwrap();
    assert!(changes.len() == 3 && changes.iter().all(|change| change["action"] == "change"), "{text}");
    assert_eq!(plan["problems"], json!([]));
    // Nothing of it was done.
    let noted = &drawing.town.get("deployments", "ws-server-shop-web").good()["spec"]["template"]["spec"];
    assert!(noted.to_string().contains("\"OLD\""), "{noted}");
}

#[test]
fn secrets_that_may_not_be_read_are_said_to_be_unknown_and_all_else_is_told() {
    need_fixture!("its rights are its administrator's");
    let drawing = Drawing::new(&ci("DB: 'pg:${{ vault.PASS }}', COLOR: red"));
    let deny = |verbs: &[&str]| {
        let denied = verbs.iter().map(|verb| Deny { verb: (*verb).to_owned(), resource: "secrets".into() }).collect();
        drawing.town.fixture().turn(|knobs| knobs.denied = denied);
    };
    drawing.build();
    drawing.site.write("shop/ci.yml", &ci("DB: 'pg:${{ vault.PASS }}', COLOR: blue"));
    // As the router's own account, which writes them and never reads them.
    deny(&["list", "get", "watch"]);
    let (told, sum) = drawing.good();
    assert_eq!(sum, "1 changed, 1 not compared");
    let expected = "shop/web\n  ? Secret ws-server-shop-web cannot be compared: this account may not read it\n\
                    ? Secrets may not be listed: which of them would be removed is not known";
    assert!(told.contains("  ~ Deployment ws-server-shop-web\n") && told.ends_with(expected), "{told}");
    let plan: Value = serde_json::from_slice(&drawing.plan(&["--json"]).stdout).unwrap();
    assert_eq!(
        (&plan["notCompared"], &plan["notListed"], &plan["problems"]),
        (
            &json!([{ "kind": "Secret", "name": "ws-server-shop-web", "landscape": "shop", "service": "web",
                      "reason": "this account may not read it" }]),
            &json!(["Secret"]),
            &json!([])
        )
    );
    // One by one they may be read: then they are compared.
    deny(&["list"]);
    drawing.site.write("shop/ci.yml", &ci("DB: 'sql:${{ vault.PASS }}', COLOR: red"));
    let (told, sum) = drawing.good();
    assert!(told.contains("  ~ Secret ws-server-shop-web\n      data.DB: changed\n"), "{told}");
    assert!(!sum.contains("not compared"), "{sum}");
    // What would be refused is a problem still.
    deny(&["list", "get", "patch"]);
    assert!(drawing.errors().contains("Secret ws-server-shop-web would be refused"));
}

#[test]
fn what_left_the_configuration_is_removed() {
    let two = format!("{}  old:\n    image: {}\n    env: {{ A: '${{{{ vault.PASS }}}}' }}\n", ci(""), image());
    let drawing = Drawing::new(&two);
    drawing.build();
    drawing.site.write("shop/ci.yml", &ci(""));
    let (told, sum) = drawing.good();
    assert_eq!(
        (told.as_str(), sum.as_str()),
        ("shop/old\n  - Secret ws-server-shop-old\n  - Deployment ws-server-shop-old", "2 removed")
    );
    // Another installation's are none of ours.
    drawing.configure(", instance: another", "");
    let errors = drawing.errors();
    assert!(errors.contains("Deployment ws-server-shop-web is there already and not ours"), "{errors}");
    assert!(!errors.contains("old"), "{errors}");
}

#[test]
fn a_workload_to_be_attached_has_to_be_there() {
    let drawing = Drawing::new(&ci(""));
    drawing.configure("", "web: { attach: { deployment: theirs } }");
    let errors = drawing.errors();
    assert!(
        errors.starts_with("error: shop/web is attached to Deployment theirs, which is not in namespace lr-"),
        "{errors}"
    );
    drawing.town.create("deployments", &crate::town::deployment("theirs", 0, &[])).good();
    let (told, sum) = drawing.good();
    let expected = format!("shop/web\n  = Deployment {}/theirs is only scaled; now 0 replicas", drawing.town.namespace);
    assert_eq!((told, sum), (expected, "no changes".to_owned()));
}

#[test]
fn what_cannot_be_told_is_an_error() {
    let drawing = Drawing::new(&ci(""));
    let was = drawing.town.namespace.clone();
    let text = std::fs::read_to_string(drawing.site.path().join("router.yaml")).unwrap();
    drawing.site.write("router.yaml", &text.replace(&was, "lr-nowhere"));
    assert_eq!(
        drawing.errors(),
        "error: there is no namespace lr-nowhere: make it (`kubectl create namespace lr-nowhere`)\n"
    );
    drawing.site.write("dead.yaml", "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                                     users: [{name: u, user: {}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n");
    let kubeconfig = drawing.town.kubeconfig().display().to_string();
    drawing.site.write("router.yaml", &text.replace(&kubeconfig, "dead.yaml"));
    assert_eq!(
        drawing.errors(),
        "error: no cluster answers at http://127.0.0.1:1: Connection refused (os error 111)\n"
    );
    drawing.site.write("router.yaml", "landscapes: 3\n");
    assert!(drawing.errors().contains("router.yaml:1:13"));
}
