//! The tree: every node knows its place.

use super::Place;

/// A node and where it begins.
#[derive(Clone, PartialEq)]
pub struct Node {
    /// Where it stands. A node that came through an alias keeps the place of its anchor's text.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
}

/// The three kinds of node.
#[derive(Clone, PartialEq)]
pub enum Kind {
    /// Text, and what it means.
    Scalar(Scalar),
    /// `- a` or `[a]`.
    Sequence(Vec<Node>),
    /// `a: b` or `{a: b}`.
    Mapping(Mapping),
}

/// A scalar.
#[derive(Clone, PartialEq)]
pub struct Scalar {
    /// As written, escapes and folds resolved.
    pub text: String,
    /// How it was written.
    pub style: Style,
    /// What it means by YAML's core schema.
    pub value: Value,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: its text decides its type.
    Plain,
    /// In quotes or as a block: always a string.
    Quoted,
}

/// A scalar's type and value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Anything else: see [`Scalar::text`].
    String,
}

/// A mapping: entries in the file's order, each key once.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Mapping {
    /// In the file's order.
    pub entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// The value.
    pub value: Node,
}

impl Mapping {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.value)
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }
}

impl Node {
    /// Whether nothing is written, or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(s) if s.value == Value::Null)
    }

    /// The mapping it is, if it is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        if let Kind::Mapping(m) = &self.kind { Some(m) } else { None }
    }

    /// The sequence it is, if it is one.
    pub fn as_sequence(&self) -> Option<&[Node]> {
        if let Kind::Sequence(s) = &self.kind { Some(s) } else { None }
    }

    /// The scalar it is, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        if let Kind::Scalar(s) = &self.kind { Some(s) } else { None }
    }

    /// Its type, in words for people: `a list`; never its value.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(s) => match s.value {
                Value::Null => "nothing",
                Value::Bool(_) => "true or false",
                Value::Int(_) => "a whole number",
                Value::Float(_) => "a number",
                Value::String => "text",
            },
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }

    /// How many nodes it is made of, and the bytes of their text.
    pub(super) fn weight(&self) -> (usize, usize) {
        match &self.kind {
            Kind::Scalar(s) => (1, s.text.len()),
            Kind::Sequence(items) => sum(items.iter()),
            Kind::Mapping(m) => {
                let (nodes, bytes) = sum(m.entries.iter().map(|e| &e.value));
                (nodes + m.entries.len(), bytes + m.entries.iter().map(|e| e.key.len()).sum::<usize>())
            }
        }
    }
}

fn sum<'a>(nodes: impl Iterator<Item = &'a Node>) -> (usize, usize) {
    nodes.fold((1, 0), |(n, b), node| {
        let (nodes, bytes) = node.weight();
        (n + nodes, b + bytes)
    })
}

/// A tree may hold secrets, so that its `Debug` shows its type and place alone.
impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} at {}:{}>", self.type_name(), self.place.line, self.place.column)
    }
}
