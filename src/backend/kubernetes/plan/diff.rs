//! What is different between two versions of an object, field by field.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::backend::kubernetes::names;

/// One field that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// `spec.template.spec.containers[app].image`.
    pub path: String,
    /// As it is; `None`: not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// As it would be; `None`: gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// Neither value may be shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// What the API server itself writes, and what only tells the router something.
const LEFT_OUT: [&str; 4] = ["managedFields", "resourceVersion", "generation", "selfLink"];

/// What is no secret in a Secret. Tools keep a copy of the rest in annotations.
const SHOWN_OF_SECRETS: [&str; 3] = ["type", "metadata.labels", "metadata.ownerReferences"];

/// What an item of a list is told from the others by, as server-side apply merges them.
const KEYS: [&str; 4] = ["name", "mountPath", "containerPort", "uid"];

/// Fields of `after` that `before` does not have so. Nothing that a Secret holds is told.
pub fn fields(before: &Value, after: &Value) -> Vec<Field> {
    let is_secret = after["kind"] == "Secret" || before["kind"] == "Secret";
    let mut found = Vec::new();
    between(String::new(), Some(&shown(before)), Some(&shown(after)), &mut found);
    for field in &mut found {
        if is_secret && !SHOWN_OF_SECRETS.iter().any(|part| field.path.starts_with(part)) {
            *field = Field { path: std::mem::take(&mut field.path), before: None, after: None, hidden: true };
        }
    }
    found
}

/// The object without what says nothing.
fn shown(object: &Value) -> Value {
    let mut object = object.clone();
    if let Value::Object(all) = &mut object {
        all.remove("status");
        if let Some(Value::Object(metadata)) = all.get_mut("metadata") {
            metadata.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                annotations.retain(|key, _| key != names::TEMPLATE && key != names::CALLERS);
            }
        }
    }
    object
}

fn between(path: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Field>) {
    match (before, after) {
        (Some(a), Some(b)) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => mappings(&path, a, b, found),
        (Some(Value::Array(a)), Some(Value::Array(b))) => match (keyed(a), keyed(b)) {
            (Some((one, a)), Some((other, b))) if one == other || a.is_empty() || b.is_empty() => {
                for (key, value) in &a {
                    between(
                        format!("{path}[{key}]"),
                        Some(value),
                        b.iter().find(|(k, _)| k == key).map(|(_, v)| *v),
                        found,
                    );
                }
                for (key, value) in b.iter().filter(|(key, _)| !a.iter().any(|(k, _)| k == key)) {
                    between(format!("{path}[{key}]"), None, Some(value), found);
                }
            }
            _ => found.push(field(path, before, after)),
        },
        _ => found.push(field(path, before, after)),
    }
}

fn mappings(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, found: &mut Vec<Field>) {
    let new = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(new) {
        let path = match (path, key.contains(['.', '/', ' '])) {
            (path, true) => format!("{path}[{key}]"),
            ("", false) => key.clone(),
            (path, false) => format!("{path}.{key}"),
        };
        between(path, before.get(key), after.get(key), found);
    }
}

fn field(path: String, before: Option<&Value>, after: Option<&Value>) -> Field {
    Field { path, before: before.cloned(), after: after.cloned(), hidden: false }
}

/// The items of a list by their keys, if each has one of its own.
fn keyed(items: &[Value]) -> Option<(&'static str, Vec<(String, &Value)>)> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    KEYS.into_iter().find_map(|key| {
        let all: Option<Vec<_>> = items.iter().map(|item| Some((text(item.get(key)?)?, item))).collect();
        let all = all?;
        let mut names: Vec<&String> = all.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        (names.len() == all.len()).then_some((key, all))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(before: &Value, after: &Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        fields(before, after).into_iter().map(|f| (f.path, f.before, f.after)).collect()
    }

    #[test]
    fn what_the_server_writes_is_no_difference() {
        let before = json!({
            "metadata": { "name": "a", "resourceVersion": "1", "generation": 1, "managedFields": [1],
                          "annotations": { "landscape-router/template": "x", "a.b/c": "1" } },
            "status": { "replicas": 1 },
        });
        let mut after = json!({
            "metadata": { "name": "a", "resourceVersion": "2", "generation": 2, "managedFields": [],
                          "annotations": { "landscape-router/template": "y", "a.b/c": "1" } },
        });
        assert_eq!(told(&before, &after), []);
        after["metadata"]["annotations"]["a.b/c"] = "2".into();
        assert_eq!(told(&before, &after), [("metadata.annotations[a.b/c]".into(), Some(json!("1")), Some(json!("2")))]);
    }

    #[test]
    fn items_are_told_apart_by_their_names() {
        let of = |env: Value| json!({ "spec": { "containers": [{ "name": "app", "env": env, "args": ["a", "b"] }] } });
        let before =
            of(json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }, { "name": "D", "value": "4" }]));
        let mut after =
            of(json!([{ "name": "B", "value": "3" }, { "name": "C", "value": "5" }, { "name": "D", "value": "4" }]));
        after["spec"]["containers"][0]["args"] = json!(["a"]);
        assert_eq!(
            told(&before, &after),
            [
                ("spec.containers[app].args".into(), Some(json!(["a", "b"])), Some(json!(["a"]))),
                ("spec.containers[app].env[A]".into(), Some(json!({ "name": "A", "value": "1" })), None),
                ("spec.containers[app].env[B].value".into(), Some(json!("2")), Some(json!("3"))),
                ("spec.containers[app].env[C]".into(), None, Some(json!({ "name": "C", "value": "5" }))),
            ]
        );
    }

    #[test]
    fn items_without_names_of_their_own_are_told_whole() {
        let (before, after) = (json!({ "a": [{ "name": "x" }, { "name": "x" }] }), json!({ "a": [{ "name": "x" }] }));
        assert_eq!(told(&before, &after).len(), 1);
        assert_eq!(
            told(&json!({ "a": [1] }), &json!({ "a": [2] })),
            [("a".into(), Some(json!([1])), Some(json!([2])))]
        );
        assert_eq!(told(&json!({ "a": 1 }), &json!({ "a": 1 })), []);
    }

    #[test]
    fn nothing_of_a_secret_is_told() {
        let before = json!({ "kind": "Secret", "data": { "A": "aHVudGVyMg==", "B": "eA==" }, "type": "Opaque" });
        let after = json!({ "kind": "Secret", "data": { "A": "b3RoZXI=", "C": "eQ==" }, "type": "Other" });
        let all = fields(&before, &after);
        let shown = format!("{all:?}");
        for value in ["aHVudGVyMg==", "b3RoZXI=", "eA==", "eQ=="] {
            assert!(!shown.contains(value), "{shown}");
        }
        let paths: Vec<&str> = all.iter().map(|f| &*f.path).collect();
        assert_eq!(paths, ["data.A", "data.B", "data.C", "type"]);
        // All of it at once.
        let copy = |text: &str| json!({ "kind": "Secret", "metadata": { "annotations": { "last-applied": text } } });
        assert!(!format!("{:?}", fields(&copy("hunter2"), &copy("other"))).contains("hunter2"));
        let gone = format!("{:?}", fields(&before, &json!({ "kind": "Secret", "type": "Opaque" })));
        assert!(gone.contains("data") && !gone.contains("aHVudGVyMg=="), "{gone}");
    }
}
