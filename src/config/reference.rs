//! The reference page of router.yaml, written from its JSON Schema.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::schema::{internal, resolve};

type Object = Map<String, Value>;

const HEAD: &str = "# router.yaml

<!-- Written by `landscape-router schema --markdown`; change the types in src/config/model.rs instead. -->

Every key of `router.yaml`. `landscape-router check --config FILE` tells every mistake of a file with its
line and column, and `landscape-router schema` prints the same as a JSON Schema for editors. Unknown keys
are errors. Paths are relative to the file. `config/router.yaml` is an example with every key.

| written as | means |
|---|---|
| duration | a number and `ms`, `s`, `m`, `h` or `d`, also several: `500ms`, `60m`, `1h30m`; at most a year |
| size | a number and `B`, `KiB`, `MiB`, `GiB`, `TiB`, or `kB`, `MB`, `GB`, `TB`: `64MiB` |
| network | `10.0.0.0/8`, `::1/128`, or one address |
| address | an address and a port: `127.0.0.1:8080`, `[::]:8080` |
| path | begins with `/`; a prefix covers whole segments |

How a service runs is said in `defaults`, in `landscapes[].defaults` and in `landscapes[].services.<name>`: the
last of these that has a key decides. Lists of `traffic` rules are joined, the service's first.
";

/// The page.
pub fn markdown() -> String {
    let mut page = Page { text: HEAD.to_owned(), sections: Vec::new(), seen: HashMap::new() };
    page.sections.push(("Top level".to_owned(), String::new(), internal()));
    let mut done = 0;
    while let Some((title, path, schema)) = page.sections.get(done).cloned() {
        page.section(&title, &path, schema);
        done += 1;
    }
    page.text
}

struct Page {
    text: String,
    /// Title, path and schema of what has a table of its own.
    sections: Vec<(String, String, &'static Value)>,
    /// The title under which a definition is found.
    seen: HashMap<&'static str, String>,
}

impl Page {
    fn section(&mut self, title: &str, path: &str, schema: &'static Value) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "\n## {title}\n");
        if let Some(words) = schema.get("description").and_then(Value::as_str) {
            let _ = writeln!(self.text, "{words}\n");
        }
        self.text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for (key, value) in properties {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let kind = self.kind(value, &path);
            let default = match value.get("default") {
                _ if required.contains(&key.as_str()) => "required".to_owned(),
                Some(default) if is_trivial(default) => String::new(),
                Some(default) => format!("`{}`", plain(default)),
                None => String::new(),
            };
            let mut meaning = value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
            for (word, says) in words(value) {
                let _ = write!(meaning, "<br>`{word}`: {says}");
            }
            let _ = writeln!(self.text, "| `{key}` | {kind} | {default} | {} |", meaning.replace('|', "\\|"));
        }
    }

    /// The value column; queues a section for a mapping.
    fn kind(&mut self, given: &'static Value, path: &str) -> String {
        let schema = resolve(given);
        let choices = options(schema);
        if choices.len() > 1 || !words(schema).is_empty() {
            let mut all: Vec<String> = words(schema).iter().map(|(word, _)| format!("`{word}`")).collect();
            let mappings = choices.into_iter().filter(|(_, o)| o.get("properties").is_some());
            all.extend(mappings.map(|(name, o)| self.mapping(o, name, path)));
            return all.join(", ");
        }
        match schema.get("type") {
            Some(Value::String(t)) if t == "object" => {
                match (schema.get("properties"), schema.get("additionalProperties")) {
                    (Some(_), _) => self.mapping(schema, name(given), path),
                    (None, Some(value)) if value.is_object() => {
                        let inner = self.kind(value, &format!("{path}.<name>"));
                        let key = schema.get("propertyNames").and_then(kind_of).unwrap_or("name");
                        format!("mapping of {key} to {inner}")
                    }
                    _ => "mapping".into(),
                }
            }
            Some(Value::String(t)) if t == "array" => match schema.get("items") {
                Some(items) => format!("list of {}", self.kind(items, &format!("{path}[]"))),
                None => "list".into(),
            },
            Some(Value::Array(_)) => "text, number or boolean".into(),
            Some(Value::String(t)) => scalar(schema, t),
            _ => String::new(),
        }
    }

    fn mapping(&mut self, schema: &'static Value, definition: Option<&'static str>, path: &str) -> String {
        let title = match definition.and_then(|name| self.seen.get(name)) {
            Some(title) => title.clone(),
            None => {
                let title = format!("`{path}`");
                self.sections.push((title.clone(), path.to_owned(), schema));
                if let Some(name) = definition {
                    self.seen.insert(name, title.clone());
                }
                title
            }
        };
        format!("[{title}](#{})", anchor(&title))
    }
}

/// As GitHub makes anchors of headings.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn name(schema: &'static Value) -> Option<&'static str> {
    schema.get("$ref").and_then(Value::as_str)?.strip_prefix("#/$defs/")
}

/// The alternatives of a schema, or itself, each with the name of its definition.
fn options(given: &'static Value) -> Vec<(Option<&'static str>, &'static Value)> {
    let schema = resolve(given);
    for key in ["oneOf", "anyOf"] {
        if let Some(list) = schema.get(key).and_then(Value::as_array) {
            return list.iter().flat_map(options).collect();
        }
    }
    vec![(name(given), schema)]
}

/// Fixed texts and what they mean.
fn words(schema: &'static Value) -> Vec<(&'static str, &'static str)> {
    let word = |(_, o): (_, &'static Value)| {
        let text = o.get("const").and_then(Value::as_str)?;
        Some((text, o.get("description").and_then(Value::as_str).unwrap_or_default()))
    };
    options(schema).into_iter().filter_map(word).collect()
}

fn kind_of(schema: &'static Value) -> Option<&'static str> {
    schema.get("x-kind").and_then(Value::as_str)
}

fn scalar(schema: &'static Value, kind: &str) -> String {
    let of_text = || match kind_of(schema) {
        Some("positive duration") => "duration",
        Some("admin address") => "address, `off`",
        Some(kind) => kind,
        None => "text",
    };
    let word = match kind {
        "string" => return of_text().to_owned(),
        "boolean" => return "`true`, `false`".to_owned(),
        "integer" => "whole number",
        _ => "number",
    };
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(low), Some(high)) => format!("{word}, {low} to {high}"),
        _ => word.to_owned(),
    }
}

/// Empty defaults say nothing.
fn is_trivial(value: &Value) -> bool {
    match value {
        Value::Object(o) => object_is_trivial(o),
        Value::Array(a) => a.is_empty(),
        Value::String(s) => s.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

fn object_is_trivial(object: &Object) -> bool {
    object.values().all(|v| is_trivial(v) || *v == Value::Bool(false))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == markdown(),
            "docs/configuration.md is out of date: landscape-router schema --markdown > docs/configuration.md"
        );
    }

    #[test]
    fn every_link_leads_to_a_heading() {
        let page = markdown();
        let headings: Vec<String> = page.lines().filter_map(|l| l.strip_prefix("## ")).map(anchor).collect();
        for link in page.split("](#").skip(1) {
            let link = link.split(')').next().unwrap();
            assert!(headings.iter().any(|h| h == link), "{link} in {headings:?}");
        }
        let defined = headings.len();
        assert_eq!(headings.into_iter().collect::<std::collections::HashSet<_>>().len(), defined);
    }
}
