//! Reading a tree: typed getters that tell mistakes and go on.

use std::ops::RangeInclusive;

use super::diagnostics::nearest;
use super::field::{self, quote};
use super::node::{Kind, Mapping, Node, Value};
use super::{Diagnostics, Mistake, Place, Severity};

/// A node, and the path of keys to it.
#[derive(Clone, Debug)]
pub struct At<'n> {
    /// The node.
    pub node: &'n Node,
    /// Such as `run.web.network.ports[0]`.
    pub field: String,
}

impl<'n> At<'n> {
    /// A file's whole tree.
    pub fn root(node: &'n Node) -> Self {
        Self { node, field: String::new() }
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        self.node.place
    }

    /// Tells an error here.
    pub fn error<'d>(&self, diagnostics: &'d mut Diagnostics, message: impl Into<String>) -> &'d mut Mistake {
        diagnostics.error(self.node.place, &*self.field, message)
    }

    /// Tells a warning here.
    pub fn warning<'d>(&self, diagnostics: &'d mut Diagnostics, message: impl Into<String>) -> &'d mut Mistake {
        diagnostics.warning(self.node.place, &*self.field, message)
    }

    /// Tells a note here.
    pub fn note<'d>(&self, diagnostics: &'d mut Diagnostics, message: impl Into<String>) -> &'d mut Mistake {
        diagnostics.note(self.node.place, &*self.field, message)
    }

    /// Tells that another type was expected. The value itself is not shown.
    pub fn expected<'d>(&self, diagnostics: &'d mut Diagnostics, what: &str) -> &'d mut Mistake {
        let found = self.node.type_name();
        self.error(diagnostics, format!("expected {what}, found {found}"))
    }

    /// A text, or a number or boolean as it is written.
    pub fn text(&self, diagnostics: &mut Diagnostics) -> Option<&'n str> {
        match &self.node.kind {
            Kind::Scalar(s) if s.value != Value::Null => Some(&s.text),
            _ => {
                self.expected(diagnostics, "text");
                None
            }
        }
    }

    /// A text, `""` where nothing is written.
    pub fn text_or_empty(&self, diagnostics: &mut Diagnostics) -> Option<&'n str> {
        if self.node.is_null() { Some("") } else { self.text(diagnostics) }
    }

    /// `true` or `false`.
    pub fn bool(&self, diagnostics: &mut Diagnostics) -> Option<bool> {
        match &self.node.kind {
            Kind::Scalar(s) => match s.value {
                Value::Bool(b) => return Some(b),
                Value::String if ["yes", "on"].iter().any(|w| s.text.eq_ignore_ascii_case(w)) => {
                    self.expected(diagnostics, "true or false").help("write `true`");
                }
                Value::String if ["no", "off"].iter().any(|w| s.text.eq_ignore_ascii_case(w)) => {
                    self.expected(diagnostics, "true or false").help("write `false`");
                }
                _ => {
                    self.expected(diagnostics, "true or false");
                }
            },
            _ => {
                self.expected(diagnostics, "true or false");
            }
        }
        None
    }

    /// A whole number of a range. One in quotes is taken too.
    pub fn int(&self, diagnostics: &mut Diagnostics, range: RangeInclusive<i64>) -> Option<i64> {
        let (low, high) = (range.start(), range.end());
        let what = format!("a whole number from {low} to {high}");
        let number = self.node.as_scalar().and_then(|s| match s.value {
            Value::Int(n) => Some(n),
            Value::String => s.text.trim().parse().ok(),
            _ => None,
        });
        match number {
            Some(n) if range.contains(&n) => Some(n),
            Some(n) => {
                self.error(diagnostics, format!("expected {what}, found {n}"));
                None
            }
            None => {
                self.expected(diagnostics, &what);
                None
            }
        }
    }

    /// The items of a list.
    pub fn items(&self, diagnostics: &mut Diagnostics) -> Option<Vec<At<'n>>> {
        match &self.node.kind {
            Kind::Sequence(items) => Some(
                items.iter().enumerate().map(|(i, node)| At { node, field: field::index(&self.field, i) }).collect(),
            ),
            _ => {
                self.expected(diagnostics, "a list").help("begin each item with `- `");
                None
            }
        }
    }

    /// A mapping to take keys from.
    pub fn map(&self, diagnostics: &mut Diagnostics) -> Option<Map<'n>> {
        match &self.node.kind {
            Kind::Mapping(mapping) => {
                Some(Map { mapping, place: self.node.place, field: self.field.clone(), known: Vec::new() })
            }
            _ => {
                self.expected(diagnostics, "a mapping").help("write `key: value` lines below it");
                None
            }
        }
    }

    /// Every entry of a mapping whose keys are names, with where each key stands.
    pub fn entries(&self, diagnostics: &mut Diagnostics) -> Option<Vec<(&'n str, Place, At<'n>)>> {
        let map = self.map(diagnostics)?;
        let at = |key: &str, node| At { node, field: field::key(&map.field, key) };
        Some(map.mapping.entries.iter().map(|e| (&*e.key, e.place, at(&e.key, &e.value))).collect())
    }
}

/// A mapping whose keys are taken by name; what nobody took is unknown.
#[derive(Debug)]
pub struct Map<'n> {
    mapping: &'n Mapping,
    /// Where it stands.
    pub place: Place,
    /// The path of keys to it.
    pub field: String,
    known: Vec<&'static str>,
}

impl<'n> Map<'n> {
    /// The value of a key, `null` included.
    pub fn get(&mut self, key: &'static str) -> Option<At<'n>> {
        self.known.push(key);
        let node = self.mapping.get(key)?;
        Some(At { node, field: field::key(&self.field, key) })
    }

    /// The value of a key, unless nothing is written there.
    pub fn value(&mut self, key: &'static str) -> Option<At<'n>> {
        self.get(key).filter(|at| !at.node.is_null())
    }

    /// Where a key stands.
    pub fn key_place(&self, key: &str) -> Option<Place> {
        self.mapping.entry(key).map(|e| e.place)
    }

    /// Whether a key is there; it stays unknown until it is taken.
    pub fn has(&self, key: &str) -> bool {
        self.mapping.get(key).is_some()
    }

    /// Whether something is written at a key; it stays unknown until it is taken.
    pub fn holds(&self, key: &str) -> bool {
        self.mapping.get(key).is_some_and(|node| !node.is_null())
    }

    /// The value of a key that has to be there.
    pub fn require(&mut self, diagnostics: &mut Diagnostics, key: &'static str) -> Option<At<'n>> {
        let found = self.value(key);
        if found.is_none() {
            let place = self.key_place(key).unwrap_or(self.place);
            diagnostics.error(place, &*self.field, format!("`{key}` is missing"));
        }
        found
    }

    /// Tells every key that was not taken, with the nearest that could have been.
    pub fn finish(self, diagnostics: &mut Diagnostics, severity: Severity) {
        for entry in &self.mapping.entries {
            let key = &*entry.key;
            if self.known.contains(&key) {
                continue;
            }
            let path = field::key(&self.field, key);
            let mistake = diagnostics.tell(severity, entry.place, path, format!("unknown key {}", quote(key)));
            match nearest(key, self.known.iter().copied()) {
                Some(near) => mistake.help(format!("did you mean `{near}`?")),
                None if self.known.len() <= 12 => mistake.help(format!("known here: {}", self.known.join(", "))),
                None => mistake,
            };
        }
    }
}
