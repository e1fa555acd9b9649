//! Watches.

use serde_json::{Value, json};

use crate::fixture::knobs::WatchList;
use crate::fixture::object::Object;
use crate::need_fixture;
use crate::town::Town;

fn config(name: &str, label: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "color": label } } })
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[test]
fn a_watch_tells_what_enters_and_leaves_its_selection() {
    let town = Town::new();
    let listed = town.client.call("GET", &town.path("configmaps", ""), "", None).good();
    let from = listed.text("/metadata/resourceVersion");
    let at = format!("{}?watch=true&labelSelector=color%3Dred&resourceVersion={from}", town.path("configmaps", ""));
    let watch = town.client.watch(&at);
    town.create("configmaps", &config("one", "red")).good();
    town.create("configmaps", &config("two", "green")).good();
    assert_eq!(watch.next_named(), event("ADDED", "one"));
    town.merge("configmaps", "two", &config("two", "red")).good();
    assert_eq!(watch.next_named(), event("ADDED", "two"));
    town.merge("configmaps", "one", &json!({ "data": { "a": "b" } })).good();
    assert_eq!(watch.next_named(), event("MODIFIED", "one"));
    town.merge("configmaps", "two", &config("two", "green")).good();
    assert_eq!(watch.next_named(), event("DELETED", "two"));
    town.delete("configmaps", "one", &json!({})).good();
    let last = watch.next().unwrap();
    assert_eq!((last.text("/type"), last.text("/object/metadata/name")), ("DELETED", "one"));
    let revision = |o: &Value| o.text("/object/metadata/resourceVersion").parse::<u64>().unwrap();
    assert!(revision(&last) > from.parse().unwrap());
}

#[test]
fn a_watch_without_a_revision_begins_with_what_is_there() {
    let town = Town::new();
    town.create("configmaps", &config("one", "red")).good();
    for version in ["", "&resourceVersion=0"] {
        let at = format!("{}?watch=1&labelSelector=color{version}", town.path("configmaps", ""));
        assert_eq!(town.client.watch(&at).next_named(), event("ADDED", "one"));
    }
}

#[test]
fn a_watch_goes_on_after_a_revision_and_ends_in_time() {
    let town = Town::new();
    let one = town.create("configmaps", &config("one", "red")).good();
    town.create("configmaps", &config("two", "red")).good();
    let from = one.text("/metadata/resourceVersion");
    let at = format!(
        "{}?watch=true&labelSelector=color&resourceVersion={from}&timeoutSeconds=1",
        town.path("configmaps", "")
    );
    let watch = town.client.watch(&at);
    assert_eq!(watch.next_named(), event("ADDED", "two"));
    while let Some(event) = watch.next() {
        assert_eq!(event["type"], "BOOKMARK", "{event}");
    }
}

#[test]
fn a_revision_that_is_too_old_is_expired() {
    let town = Town::new();
    if let Some(fixture) = town.on_fixture() {
        fixture.compact();
    }
    let at = format!("{}?watch=true&resourceVersion=1", town.path("configmaps", ""));
    let event = town.client.watch(&at).next().unwrap();
    // A stream's error, or the answer to the request itself.
    let status = if event["type"] == "ERROR" { &event["object"] } else { &event };
    assert_eq!((status.int("/code"), status.text("/reason")), (410, "Expired"), "{event}");
    assert!(status.text("/message").starts_with("too old resource version"), "{event}");
}

#[test]
fn a_page_that_is_too_old_is_expired_with_a_way_on() {
    need_fixture!("its history cannot be made to be forgotten");
    let town = Town::new();
    for name in ["a", "b", "c"] {
        town.create("configmaps", &config(name, "red")).good();
    }
    let at = |more: &str| format!("{}?labelSelector=color&limit=1{more}", town.path("configmaps", ""));
    let first = town.client.call("GET", &at(""), "", None).good();
    town.create("configmaps", &config("d", "red")).good();
    town.fixture().compact();
    let token = |body: &Value| format!("&continue={}", body.text("/metadata/continue").replace('=', "%3D"));
    let reply = town.client.call("GET", &at(&token(&first)), "", None);
    let on = token(&reply.body);
    reply.refused(410, "Expired");
    assert_eq!(town.client.call("GET", &at(&on), "", None).good().text("/items/0/metadata/name"), "b");
}

#[test]
fn bookmarks_come_where_they_are_asked_for() {
    need_fixture!("a server sends them once a minute");
    let town = Town::new();
    town.fixture().turn(|k| k.bookmarks = std::time::Duration::from_millis(50));
    let at = format!(
        "{}?watch=true&allowWatchBookmarks=true&resourceVersion=0&labelSelector=color",
        town.path("configmaps", "")
    );
    let watch = town.client.watch(&at);
    let first = watch.next().unwrap();
    assert_eq!((first.text("/type"), first.text("/object/kind")), ("BOOKMARK", "ConfigMap"));
    town.create("configmaps", &config("one", "red")).good();
    let made = watch.next_named();
    assert_eq!(made, event("ADDED", "one"));
}

#[test]
fn initial_events_are_served_refused_or_not_known() {
    need_fixture!("a server does one of the three");
    let town = Town::new();
    town.create("configmaps", &config("one", "red")).good();
    let at = format!(
        "{}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=color",
        town.path("configmaps", "")
    );
    town.fixture().turn(|k| k.watch_list = WatchList::On);
    let watch = town.client.watch(&at);
    assert_eq!(watch.next().unwrap().text("/type"), "ADDED");
    let end = watch.next().unwrap();
    assert_eq!(end.text("/type"), "BOOKMARK");
    assert_eq!(end.at("/object/metadata/annotations/k8s.io~1initial-events-end"), "true");
    town.fixture().turn(|k| k.watch_list = WatchList::Off);
    town.client.call("GET", &at, "", None).refused(422, "Invalid");
}

#[test]
fn an_api_server_comes_back_with_its_data() {
    need_fixture!("it is not ours to kill");
    let mut town = Town::new();
    town.create("configmaps", &config("one", "red")).good();
    let watch = town.client.watch(&format!("{}?watch=true&labelSelector=color", town.path("configmaps", "")));
    assert_eq!(watch.next_named(), event("ADDED", "one"));
    town.fixture_mut().kill();
    assert!(watch.next().is_none(), "the stream is cut");
    let address = town.fixture().address();
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens");
    town.fixture_mut().restart();
    assert_eq!(town.fixture().address(), address);
    town.get("configmaps", "one").good();
}
