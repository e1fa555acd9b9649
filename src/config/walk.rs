//! Finds every structural mistake of a router.yaml at once, led by the JSON Schema.

use serde_json::{Map, Value};

use super::later;
use super::scalar;
use super::schema::{internal, resolve};
use crate::yaml::diagnostics::nearest;
use crate::yaml::field::{self, quote};
use crate::yaml::{At, Diagnostics, Kind, Node, Place};

/// Checks a whole tree.
pub(super) fn walk(root: &Node, diagnostics: &mut Diagnostics) {
    Walker { diagnostics }.node(internal(), &At::root(root));
}

struct Walker<'d> {
    diagnostics: &'d mut Diagnostics,
}

type Object = Map<String, Value>;

impl Walker<'_> {
    fn node(&mut self, schema: &'static Value, at: &At<'_>) {
        let options = options(schema);
        match (&at.node.kind, options.as_slice()) {
            (_, [only]) => self.against(only, at),
            (Kind::Mapping(mapping), many) => {
                // Of several kinds of mapping, the one that knows most of what is written was meant.
                let known = |o: &'static Object| {
                    let names = properties(o);
                    names.map_or(0, |p| mapping.entries.iter().filter(|e| p.contains_key(&e.key)).count())
                };
                match many.iter().copied().filter(|o| has_type(o, "object")).max_by_key(|o| known(o)) {
                    Some(option) => self.against(option, at),
                    None => self.mismatch(many, at),
                }
            }
            (_, many) => self.mismatch_unless_word(many, at),
        }
    }

    /// Several options and a node that is no mapping: words, or a scalar of some type.
    fn mismatch_unless_word(&mut self, options: &[&'static Object], at: &At<'_>) {
        let words = words(options);
        match at.node.as_scalar() {
            Some(s) if !words.is_empty() && !at.node.is_null() => {
                if !words.contains(&&*s.text) {
                    self.not_a_word(&words, &s.text, options.iter().any(|o| has_type(o, "object")), at);
                }
            }
            _ => self.mismatch(options, at),
        }
    }

    fn mismatch(&mut self, options: &[&'static Object], at: &At<'_>) {
        let mut what: Vec<String> = words(options).iter().map(|w| format!("`{w}`")).collect();
        what.extend(options.iter().filter(|o| has_type(o, "object")).filter_map(|o| shape(o)));
        let mistake = at.expected(self.diagnostics, &one_of(&what));
        if at.node.is_null() {
            mistake.help("give it a value, or remove the key");
        }
    }

    fn not_a_word(&mut self, words: &[&str], found: &str, or_mapping: bool, at: &At<'_>) {
        if let Some(feature) = later::feature(found) {
            let message = format!("{} ({feature}) is not available in this version", quote(found));
            at.error(self.diagnostics, message).help(format!("choose {}", one_of(&ticked(words))));
            return;
        }
        let what = one_of(&ticked(words));
        let more = if or_mapping { ", or a mapping" } else { "" };
        let mistake = at.error(self.diagnostics, format!("expected {what}{more}, found {}", quote(found)));
        mistake.help_nearest(found, words.iter().copied());
    }

    fn against(&mut self, schema: &'static Object, at: &At<'_>) {
        let words = words(&[schema]);
        if !words.is_empty() {
            return self.mismatch_unless_word(&[schema], at);
        }
        match &at.node.kind {
            Kind::Mapping(_) if has_type(schema, "object") => self.mapping(schema, at),
            Kind::Sequence(items) if has_type(schema, "array") => {
                if items.is_empty() && schema.get("minItems").is_some() {
                    at.error(self.diagnostics, "expected at least one item").help("add one, or remove the key");
                }
                let Some(item) = schema.get("items") else { return };
                for (i, node) in items.iter().enumerate() {
                    self.node(item, &At { node, field: field::index(&at.field, i) });
                }
            }
            Kind::Scalar(_) => self.scalar(schema, at),
            _ => self.wrong_type(schema, at),
        }
    }

    fn mapping(&mut self, schema: &'static Object, at: &At<'_>) {
        let Some(mapping) = at.node.as_mapping() else { return };
        let properties = properties(schema);
        let rest = schema.get("additionalProperties").filter(|v| v.is_object());
        let key_kind = schema.get("propertyNames").and_then(|n| n.get("x-kind")).and_then(Value::as_str);
        for entry in &mapping.entries {
            let child = At { node: &entry.value, field: field::key(&at.field, &entry.key) };
            if let Some(known) = properties.and_then(|p| p.get(&entry.key)) {
                self.node(known, &child);
            } else if let Some(rest) = rest {
                if let Some(Err(message)) = key_kind.map(|kind| scalar::check(kind, &entry.key)) {
                    self.diagnostics.error(entry.place, &*child.field, message);
                }
                self.node(rest, &child);
            } else {
                self.unknown(entry.place, &entry.key, properties, child.field);
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str).filter(|k| mapping.get(k).is_none()) {
            let mistake = at.error(self.diagnostics, format!("the key `{key}` is missing"));
            if let Some(words) =
                properties.and_then(|p| p.get(key)).and_then(|s| s.get("description")).and_then(Value::as_str)
            {
                let first = words.split(". ").next().unwrap_or(words);
                mistake.help(format!("add `{key}`: {}", first.trim_end_matches('.')));
            }
        }
    }

    fn unknown(&mut self, place: Place, key: &str, properties: Option<&'static Object>, path: String) {
        let names: Vec<&str> = properties.into_iter().flat_map(|p| p.keys()).map(String::as_str).collect();
        let near = nearest(key, names.iter().copied());
        let later = later::feature(key);
        let message = match later {
            Some(feature) => format!("the key {} ({feature}) is not available in this version", quote(key)),
            None => format!("unknown key {}", quote(key)),
        };
        let mistake = self.diagnostics.error(place, path, message);
        match (later, near) {
            (Some(_), _) => mistake.help("remove it"),
            (None, Some(near)) => mistake.help(format!("did you mean `{near}`?")),
            (None, None) => mistake.help(format!("known here: {}", names.join(", "))),
        };
    }

    fn scalar(&mut self, schema: &'static Object, at: &At<'_>) {
        use crate::yaml::Value as V;
        let Some(scalar) = at.node.as_scalar() else { return };
        let secret = schema.contains_key("x-secret");
        let good = match scalar.value {
            V::Null => false,
            V::String => has_type(schema, "string"),
            V::Bool(_) => has_type(schema, "boolean"),
            V::Int(_) => has_type(schema, "integer") || has_type(schema, "number"),
            V::Float(_) => has_type(schema, "number"),
        };
        if !good {
            self.wrong_type(schema, at);
            return;
        }
        if secret {
            return;
        }
        match scalar.value {
            V::Int(n) => self.range(schema, n as f64, at),
            V::Float(n) => self.range(schema, n, at),
            V::String => {
                if let Some(kind) = schema.get("x-kind").and_then(Value::as_str) {
                    if let Err(message) = scalar::check(kind, &scalar.text) {
                        at.error(self.diagnostics, message);
                    }
                } else if scalar.text.is_empty() && schema.get("minLength").is_some() {
                    at.error(self.diagnostics, "expected a text that is not empty");
                }
            }
            V::Null | V::Bool(_) => {}
        }
    }

    fn range(&mut self, schema: &Object, found: f64, at: &At<'_>) {
        let bound = |key| schema.get(key).and_then(Value::as_f64);
        let (low, high) = (bound("minimum"), bound("maximum"));
        let inside = low.is_none_or(|l| found >= l) && high.is_none_or(|h| found <= h) && !found.is_nan();
        if !inside {
            let what = numbers(schema);
            at.error(self.diagnostics, format!("expected {what}, found {found}"));
        }
    }

    fn wrong_type(&mut self, schema: &'static Object, at: &At<'_>) {
        let what = describe(schema);
        let is_text = has_type(schema, "string");
        let secret = schema.contains_key("x-secret");
        let is_size =
            schema.get("x-kind").and_then(Value::as_str).is_some_and(|k| k == "size" || k.ends_with("duration"));
        let mistake = at.expected(self.diagnostics, &what);
        if secret {
            mistake.hide();
        }
        match &at.node.kind {
            Kind::Scalar(_) if at.node.is_null() => mistake.help("give it a value, or remove the key"),
            Kind::Scalar(_) if is_text && is_size => mistake.help("add a unit"),
            Kind::Scalar(s) if is_text && !secret => mistake.help(format!("put it in quotes: \"{}\"", s.text)),
            Kind::Scalar(_) if has_type(schema, "array") => mistake.help("write it as a list: `[…]`"),
            Kind::Scalar(_) if has_type(schema, "boolean") => mistake.help("write `true` or `false`"),
            Kind::Sequence(_) if is_text => mistake.help("a text that begins with `[` needs quotes"),
            _ => mistake,
        };
    }
}

/// The alternatives of a schema, or itself.
fn options(schema: &'static Value) -> Vec<&'static Object> {
    let schema = resolve(schema);
    for key in ["oneOf", "anyOf"] {
        if let Some(list) = schema.get(key).and_then(Value::as_array) {
            return list.iter().flat_map(options).collect();
        }
    }
    schema.as_object().into_iter().collect()
}

fn properties(schema: &'static Object) -> Option<&'static Object> {
    schema.get("properties").and_then(Value::as_object)
}

fn has_type(schema: &Object, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(t)) => t == name,
        Some(Value::Array(types)) => types.iter().any(|t| t == name),
        _ => false,
    }
}

/// The fixed texts that some options allow.
fn words(options: &[&'static Object]) -> Vec<&'static str> {
    let mut all = Vec::new();
    for option in options {
        all.extend(option.get("const").and_then(Value::as_str));
        all.extend(option.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str));
    }
    all
}

fn ticked(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| format!("`{w}`")).collect()
}

fn one_of(what: &[String]) -> String {
    match what {
        [] => "another value".into(),
        [one] => one.clone(),
        [some @ .., last] => format!("{} or {last}", some.join(", ")),
    }
}

/// `{ pause: …, then: … }`
fn shape(schema: &'static Object) -> Option<String> {
    let keys: Vec<_> = properties(schema)?.keys().map(|k| format!("{k}: …")).collect();
    Some(format!("`{{ {} }}`", keys.join(", ")))
}

fn numbers(schema: &Object) -> String {
    let word = if has_type(schema, "integer") { "a whole number" } else { "a number" };
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(low), Some(high)) => format!("{word} from {low} to {high}"),
        (Some(low), None) => format!("{word} from {low} on"),
        (None, Some(high)) => format!("{word} up to {high}"),
        (None, None) => word.into(),
    }
}

fn describe(schema: &'static Object) -> String {
    if let Some(what) = schema.get("x-kind").and_then(Value::as_str).and_then(scalar::expected) {
        return what.into();
    }
    if has_type(schema, "string") && has_type(schema, "number") {
        return "a text, a number, true or false".into();
    }
    if has_type(schema, "string") {
        return "text".into();
    }
    if has_type(schema, "boolean") {
        return "true or false".into();
    }
    if has_type(schema, "array") {
        return "a list".into();
    }
    if has_type(schema, "object") {
        return "a mapping".into();
    }
    numbers(schema)
}
