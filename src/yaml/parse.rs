//! From bytes to the tree, within bounds: a file cannot make us spend more than they allow.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::node::{Entry, Kind, Mapping, Node, Scalar, Style, Value};
use super::{Diagnostics, Mistake, Place, Severity, Source, field, resolve::resolve, scan_error};

/// The largest file, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// How deep lists and mappings may nest.
pub const MAX_DEPTH: usize = 64;
/// How many nodes a file may have, those that aliases repeat included.
pub const MAX_NODES: usize = 100_000;
/// How many bytes of text aliases may repeat.
const MAX_REPEATED: usize = 4 << 20;
/// How many bytes are read anew because of tabs, each after its own.
const MAX_READ_AGAIN: usize = 2 << 20;

/// Reads a file into a tree. `duplicates` is how bad a key is that is given twice; the last one counts.
///
/// No tree comes back where the file is empty, too large, not UTF-8 or not YAML: the mistakes say which.
/// A tree may come with errors.
pub fn parse(file: Arc<PathBuf>, bytes: &[u8], duplicates: Severity) -> (Option<Node>, Vec<Mistake>) {
    let mut diagnostics = Diagnostics::hidden(file.clone());
    if bytes.len() > MAX_BYTES {
        super::file::too_large(bytes.len() as u64).tell(&mut diagnostics);
        return (None, diagnostics.finish());
    }
    let text = match decode(bytes) {
        Ok(text) => text,
        Err((place, message)) => {
            diagnostics.error(place, "", message).help("save it as UTF-8");
            return (None, diagnostics.finish());
        }
    };
    let mut spaced = Cow::Borrowed(text);
    let mut again = MAX_READ_AGAIN / text.len().max(1);
    loop {
        let mut builder = Builder {
            parser: Parser::new_from_str(&spaced),
            diagnostics: Diagnostics::new(file.clone(), text),
            anchors: HashMap::new(),
            nodes: 0,
            repeated: 0,
            duplicates,
            tabs: None,
        };
        let root = builder.document().ok();
        let (mistakes, tabs) = (builder.diagnostics.finish(), builder.tabs);
        match tabs.and_then(|end| tabs_before(&spaced, end)).filter(|_| again > 0) {
            Some(tabs) => spaced.to_mut().replace_range(tabs.clone(), &" ".repeat(tabs.len())),
            None => return (root, mistakes),
        }
        again -= 1;
    }
}

/// The bytes of the tabs before a text's character `end`.
fn tabs_before(text: &str, end: usize) -> Option<Range<usize>> {
    let end = text.char_indices().nth(end).map(|(at, _)| at)?;
    let start = text[..end].trim_end_matches('\t').len();
    (start < end).then_some(start..end)
}

/// The text, without a byte order mark; or where and how it is no UTF-8.
fn decode(bytes: &[u8]) -> Result<&str, (Place, String)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err((Place { line: 1, column: 1 }, "the file is UTF-16, expected UTF-8".into()));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let good = std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default();
        let byte = bytes.get(e.valid_up_to()).copied().unwrap_or_default();
        (end_of(good), format!("the byte 0x{byte:02x} is not UTF-8"))
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The place right behind a text.
fn end_of(text: &str) -> Place {
    let (count, last) = super::source::lines(text).fold((0u32, ""), |(n, _), line| (n.saturating_add(1), line));
    let column = u32::try_from(last.chars().count()).unwrap_or(u32::MAX);
    Place { line: count.max(1), column: column.saturating_add(1) }
}

/// The mistake was told and the file cannot be read further.
struct Stop;

/// An anchored node, kept for its aliases.
struct Anchored {
    node: Node,
    depth: usize,
}

struct Builder<'t> {
    parser: Parser<'t, StrInput<'t>>,
    diagnostics: Diagnostics,
    /// By the parser's number; `None` while the node is still being read.
    anchors: HashMap<usize, Option<Anchored>>,
    nodes: usize,
    repeated: usize,
    duplicates: Severity,
    /// The character before which tabs stand that the parser refuses and YAML allows (1.2.2, 6.2): between
    /// a `:` and its value.
    tabs: Option<usize>,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                if error.info().starts_with("':' must be followed by") {
                    self.tabs = Some(error.marker().index());
                }
                scan_error::tell(&mut self.diagnostics, place(*error.marker()), error.info());
                Err(Stop)
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stop<T>(&mut self, place: Place, field: &str, message: String, remedy: &str) -> Result<T, Stop> {
        self.diagnostics.error(place, field, message).help(remedy);
        Err(Stop)
    }

    fn document(&mut self) -> Result<Node, Stop> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return self.empty(),
                (Event::DocumentStart(_), _) => break,
                _ => {}
            }
        }
        let (event, span) = self.next()?;
        let (root, _) = self.node(event, span, "", 1)?;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::DocumentStart(_), span) => {
                    let message = "a second document begins here, expected one".to_owned();
                    return self.stop(place(span.start), "", message, "remove the `---` or split the file");
                }
                _ => {}
            }
        }
        if root.is_null() { self.empty() } else { Ok(root) }
    }

    fn empty(&mut self) -> Result<Node, Stop> {
        let remedy = "if it is being written, the next version is read as soon as it is complete";
        self.stop(Place::default(), "", "the file is empty".to_owned(), remedy)
    }

    /// Builds the node that `event` begins, and tells how deep it nests (a scalar: 1).
    fn node(&mut self, event: Event<'t>, span: Span, at: &str, depth: usize) -> Result<(Node, usize), Stop> {
        let place = place(span.start);
        if depth > MAX_DEPTH {
            let message = format!("lists and mappings nest deeper than {MAX_DEPTH}");
            return self.stop(place, at, message, "flatten the file");
        }
        self.charge(1, 0, place, at)?;
        let (node, nested, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                let scalar = self.scalar(text.into_owned(), style, tag.as_deref(), place, at);
                (Node { place, kind: Kind::Scalar(scalar) }, 1, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(tag.as_deref(), "seq", place, at);
                self.open(anchor);
                let (node, nested) = self.sequence(place, at, depth)?;
                (node, nested, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(tag.as_deref(), "map", place, at);
                self.open(anchor);
                let (node, nested) = self.mapping(place, at, depth)?;
                (node, nested, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, place, at, depth),
            _ => {
                let message = "the file ends where a value is expected".to_owned();
                return self.stop(place, at, message, "complete it");
            }
        };
        if anchor != 0 {
            let (nodes, bytes) = node.weight();
            self.charge(nodes, bytes, place, at)?;
            self.anchors.insert(anchor, Some(Anchored { node: node.clone(), depth: nested }));
        }
        Ok((node, nested))
    }

    fn open(&mut self, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
    }

    fn alias(&mut self, anchor: usize, place: Place, at: &str, depth: usize) -> Result<(Node, usize), Stop> {
        let Some(Some(anchored)) = self.anchors.get(&anchor) else {
            let message = "this alias stands inside its own anchor".to_owned();
            return self.stop(place, at, message, "write the value out");
        };
        if depth - 1 + anchored.depth > MAX_DEPTH {
            let message = format!("with this alias, lists and mappings nest deeper than {MAX_DEPTH}");
            return self.stop(place, at, message, "write the value out");
        }
        let (nodes, bytes) = anchored.node.weight();
        let (node, nested) = (anchored.node.clone(), anchored.depth);
        self.charge(nodes, bytes, place, at)?;
        Ok((node, nested))
    }

    /// Counts nodes, and bytes that are repeated, against the bounds.
    fn charge(&mut self, nodes: usize, repeated: usize, place: Place, at: &str) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.repeated = self.repeated.saturating_add(repeated);
        if self.nodes > MAX_NODES || self.repeated > MAX_REPEATED {
            let message = format!("the file has more than {MAX_NODES} values, or its aliases repeat too much");
            return self.stop(place, at, message, "use fewer aliases, or split the file");
        }
        Ok(())
    }

    fn sequence(&mut self, place: Place, at: &str, depth: usize) -> Result<(Node, usize), Stop> {
        let (mut items, mut deepest) = (Vec::new(), 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok((Node { place, kind: Kind::Sequence(items) }, deepest + 1));
            }
            let (item, nested) = self.node(event, span, &field::index(at, items.len()), depth + 1)?;
            deepest = deepest.max(nested);
            items.push(item);
        }
    }

    fn mapping(&mut self, place: Place, at: &str, depth: usize) -> Result<(Node, usize), Stop> {
        let (mut entries, mut merges, mut deepest) = (Entries::default(), Vec::new(), 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let (key, nested) = self.node(event, span, at, depth + 1)?;
            deepest = deepest.max(nested);
            let name = match key.kind {
                Kind::Scalar(s) => Some((s.text, s.style)),
                _ => None,
            };
            let path = name.as_ref().map_or_else(|| at.to_owned(), |(k, _)| field::key(at, k));
            let (event, span) = self.next()?;
            let (mut value, nested) = self.node(event, span, &path, depth + 1)?;
            deepest = deepest.max(nested);
            if matches!(&value.kind, Kind::Scalar(s) if s.text.is_empty() && s.style == Style::Plain) {
                // Nothing is written, so that the parser's place for it is wherever it noticed.
                value.place = key.place;
            }
            match name {
                Some((k, Style::Plain)) if k == "<<" => merges.push((value, path)),
                Some((k, _)) if !k.is_empty() => {
                    let entry = Entry { key: k, place: key.place, value };
                    if let Some(before) = entries.put(entry) {
                        self.duplicate(key.place, before, path);
                    }
                }
                _ => {
                    self.diagnostics
                        .error(key.place, at, "expected a plain name as the key")
                        .help("write `name: value`");
                }
            }
        }
        for (value, path) in merges {
            self.merge(&mut entries, value, &path);
        }
        Ok((Node { place, kind: Kind::Mapping(Mapping { entries: entries.list }) }, deepest + 1))
    }

    fn duplicate(&mut self, place: Place, before: Place, path: String) {
        let message = format!("this key is given twice, before on line {}; the last one counts", before.line);
        self.diagnostics.tell(self.duplicates, place, path, message).help("remove one of them");
    }

    /// `<<`: what the mapping does not say itself comes from another, or from several, the first first.
    fn merge(&mut self, into: &mut Entries, value: Node, at: &str) {
        let from = match value.kind {
            Kind::Sequence(items) => items,
            _ => vec![value],
        };
        for node in from {
            let Kind::Mapping(mapping) = node.kind else {
                let found = node.type_name();
                self.diagnostics
                    .error(node.place, at, format!("expected a mapping to merge, found {found}"))
                    .help("`<<` takes `*name` of a mapping, or a list of such");
                continue;
            };
            for entry in mapping.entries {
                into.put_if_absent(entry);
            }
        }
    }

    fn scalar(&mut self, text: String, style: Style, tag: Option<&Tag>, place: Place, at: &str) -> Scalar {
        let plain = resolve(&text, style);
        let value = match tag {
            None => plain,
            Some(tag) if tag.suffix.is_empty() || is_core(tag, "str") => Value::String,
            Some(tag) if is_core(tag, "null") && plain == Value::Null => plain,
            Some(tag) => match resolve(&text, Style::Plain) {
                v @ Value::Bool(_) if is_core(tag, "bool") => v,
                v @ Value::Int(_) if is_core(tag, "int") => v,
                v @ (Value::Float(_) | Value::Int(_)) if is_core(tag, "float") => v,
                _ => {
                    self.unknown_tag(tag, place, at);
                    plain
                }
            },
        };
        Scalar { text, style, value }
    }

    fn tag(&mut self, tag: Option<&Tag>, expected: &str, place: Place, at: &str) {
        if let Some(tag) = tag
            && !tag.suffix.is_empty()
            && !is_core(tag, expected)
        {
            self.unknown_tag(tag, place, at);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, place: Place, at: &str) {
        let shown = field::quote(&tag.to_string());
        self.diagnostics.error(place, at, format!("the tag {shown} does not fit here")).help("remove it");
    }
}

fn is_core(tag: &Tag, suffix: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == suffix
}

/// The parser counts columns from 0.
fn place(mark: Marker) -> Place {
    let clamp = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: clamp(mark.line()), column: clamp(mark.col()).saturating_add(1) }
}

/// Entries in order, found by key in constant time.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    index: HashMap<String, usize>,
}

impl Entries {
    /// Adds or replaces; returns the replaced one's place.
    fn put(&mut self, entry: Entry) -> Option<Place> {
        if let Some(&at) = self.index.get(&entry.key) {
            return Some(std::mem::replace(&mut self.list[at], entry).place);
        }
        self.index.insert(entry.key.clone(), self.list.len());
        self.list.push(entry);
        None
    }

    fn put_if_absent(&mut self, entry: Entry) {
        if !self.index.contains_key(&entry.key) {
            self.put(entry);
        }
    }
}

impl Source {
    /// A file's source for mistakes that are found after [`parse`]; bytes that are not UTF-8 have no lines.
    pub fn of_bytes(file: Arc<PathBuf>, bytes: &[u8]) -> Self {
        match decode(bytes) {
            Ok(text) if bytes.len() <= MAX_BYTES => Self::new(file, text),
            _ => Self::hidden(file),
        }
    }
}
