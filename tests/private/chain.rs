//! Services call each other by name, asleep or not.

use crate::land::Land;
use crate::need_network;
use crate::support::network::program;
use crate::support::{Router, eventually};

const REDIS: &str = "exec redis-server --port 6379 --save '' --protected-mode no";

fn chain() -> String {
    format!(
        "schemaVersion: v0.2
run:
  frontend:
    steps: [{{ command: ./test-app }}]
    network: {{ ports: [{{ port: 3000, isPublic: false }}], paths: [{{ port: 3000, path: / }}] }}
  api:
    steps: [{{ command: ./test-app }}]
    network: {{ ports: [{{ port: 3000, isPublic: false }}] }}
  store:
    steps: [{{ command: \"{REDIS}\" }}]
    network: {{ ports: [{{ port: 6379, isPublic: false }}] }}
"
    )
}

const ASK: &str = "/fetch/ws-server-shop-api.workspaces:3000/ask/ws-server-shop-store.workspaces:6379/PING";

#[test]
fn one_request_wakes_a_chain_of_three_call_by_call() {
    need_network!("redis-server");
    // Nothing but the calls themselves wakes the two behind.
    let land = Land::shop("defaults: { idleAfter: 2s }", "api: { wake: onCall }, store: { wake: onCall }", &chain());
    let router = Router::start(&land.site);
    for service in ["frontend", "api", "store"] {
        assert_eq!(router.service(service)["state"], "off", "{service}");
    }
    let answer = router.shop(ASK);
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), router.log());
    assert!(answer.text().ends_with("+PONG\r\n"), "{}\n{}", answer.text(), router.log());
    for service in ["frontend", "api", "store"] {
        router.await_state(service, "off");
    }
    let again = router.shop(ASK);
    assert!(again.text().ends_with("+PONG\r\n"), "{}\n{}", again.text(), router.log());
}

#[test]
fn dependents_sleep_before_what_they_depend_on() {
    need_network!("redis-server");
    let services = "frontend: { dependsOn: [api] }, api: { dependsOn: [store] }";
    let land = Land::shop("defaults: { idleAfter: 500ms }", services, &chain());
    let router = Router::start(&land.site);
    let answer = router.shop(ASK);
    assert!(answer.text().ends_with("+PONG\r\n"), "{}\n{}", answer.text(), router.log());
    eventually("sleep", &router, || {
        // Read against the order: what is on when it is read was on when what is behind it was.
        let [(_, store), (api_off, api), (frontend, _)] = ["store", "api", "frontend"].map(|service| {
            let state = router.service(service)["state"].as_str().unwrap().to_owned();
            (state == "off", ["draining", "stopping", "off"].contains(&state.as_str()))
        });
        assert!(api_off || !store, "the store leaves before the api has ended:\n{}", router.log());
        assert!(frontend || !api, "the api leaves before the frontend has ended:\n{}", router.log());
        store
    });
    for service in ["frontend", "api", "store"] {
        router.await_state(service, "off");
    }
}

#[test]
fn redis_cli_reaches_a_sleeping_store_at_the_first_command_by_each_of_its_names() {
    need_network!("redis-server", "redis-cli");
    let names = ["ws-server-shop-store.workspaces", "ws-server-shop-store", "store"];
    let clients: String = (0..)
        .zip(names)
        .map(|(n, name)| {
            format!(
                "  client-{n}:
    steps: [{{ command: \"redis-cli -h {name} set by {n} > said-{n} && redis-cli -h {name} get by >> said-{n} && exec ./test-app\" }}]
    network: {{ paths: [{{ port: 3000, path: /{n} }}] }}
"
            )
        })
        .collect();
    let ci = format!(
        "schemaVersion: v0.2
run:
  store:
    steps: [{{ command: \"{REDIS}\" }}]
    network: {{ ports: [{{ port: 6379, isPublic: false }}] }}
{clients}"
    );
    let land = Land::shop("defaults: { idleAfter: 2s }", "store: { wake: onCall }", &ci);
    let router = Router::start(&land.site);
    for (n, name) in names.iter().enumerate() {
        router.await_state("store", "off");
        let answer = router.shop(&format!("/{n}"));
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), router.log());
        let said = std::fs::read_to_string(land.site.path().join(format!("shop/said-{n}"))).unwrap();
        assert_eq!(said, format!("OK\n{n}\n"), "{name}\n{}", router.log());
    }
}

#[test]
fn psql_reaches_a_sleeping_postgres_at_the_first_command() {
    need_network!("psql", "initdb", "postgres");
    let [initdb, postgres] = ["initdb", "postgres"].map(|name| program(name).unwrap().display().to_string());
    // It refuses to be root, and wants a user that has a name.
    let ci = format!(
        "schemaVersion: v0.2
run:
  store:
    runAsUser: 65534
    runAsGroup: 65534
    steps:
      - {{ command: \"[ -d ~/data ] || {initdb} --auth trust --username shop --no-sync ~/data\" }}
      - {{ command: \"exec {postgres} -D ~/data -p 5432 -h 0.0.0.0 -k ''\" }}
    network: {{ ports: [{{ port: 5432, isPublic: false }}] }}
  client:
    steps: [{{ command: \"psql -h store -U shop -d postgres -Atc 'select 1' >> said 2>&1; exec ./test-app\" }}]
    network: {{ paths: [{{ port: 3000, path: / }}] }}
"
    );
    let land = Land::shop("defaults: { idleAfter: 1s }", "store: { wake: onCall }", &ci);
    let router = Router::start(&land.site);
    // With a start that makes its files, and with one that finds them.
    for said in ["1\n", "1\n1\n"] {
        for service in ["store", "client"] {
            router.await_state(service, "off");
        }
        let answer = router.shop("/");
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), router.log());
        assert_eq!(std::fs::read_to_string(land.site.path().join("shop/said")).unwrap(), said, "{}", router.log());
    }
}
