//! The JSON Schema of router.yaml, generated from the model.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::model::Router;

/// The schema as editors read it.
pub fn public() -> Value {
    let mut schema = internal().clone();
    each_object(&mut schema, &mut |object| object.retain(|key, _| !key.starts_with("x-")));
    schema
}

/// The schema with what our own checks need besides: `x-kind` names a [`super::scalar`], `x-secret` a
/// value that is never shown.
pub(super) fn internal() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<Router>().to_value();
        each_object(&mut schema, &mut |object| {
            without_null(object);
            if let Some(Value::String(words)) = object.get_mut("description") {
                *words = words.replace('\n', " ");
            }
        });
        schema
    })
}

/// An optional key may be left out; that does not mean that it may be `null`, which is most often an
/// indentation gone wrong.
fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|v| !v.is_null());
    }
    let Some(Value::Array(options)) = object.get_mut("anyOf") else {
        return;
    };
    options.retain(|o| o.get("type").is_none_or(|t| t != "null"));
    if let [Value::Object(only)] = options.as_slice() {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

fn each_object(value: &mut Value, change: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            object.values_mut().for_each(|v| each_object(v, change));
            change(object);
        }
        Value::Array(items) => items.iter_mut().for_each(|v| each_object(v, change)),
        _ => {}
    }
}

/// Follows a `$ref` into the definitions.
pub(super) fn resolve(schema: &'static Value) -> &'static Value {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
    name.and_then(|name| internal().get("$defs")?.get(name)).unwrap_or(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_internal_and_no_null_is_public() {
        let text = public().to_string();
        assert!(!text.contains("x-kind") && !text.contains("\"null\""), "{text}");
        assert!(text.contains("idleAfter") && text.contains("\"default\":\"60m\""));
    }
}
