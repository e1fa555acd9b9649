//! `env`: names and texts.

use super::template;
use crate::landscape::file::Text;
use crate::yaml::field::quote;
use crate::yaml::{At, Diagnostics, Kind, Map, Severity};

/// A service's environment, in the file's order.
pub(super) fn read(map: &mut Map<'_>, d: &mut Diagnostics) -> Vec<(String, Text)> {
    let Some(at) = map.value("env") else { return Vec::new() };
    if matches!(at.node.kind, Kind::Sequence(_)) {
        at.expected(d, "a mapping").help("write each as `NAME: value`, without `- `");
        return Vec::new();
    }
    let entries = at.entries(d).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|(name, place, value)| {
            if name.is_empty() || name.contains(['=', '\0']) {
                d.error(place, &*value.field, format!("{} cannot name a variable", quote(name)))
                    .help("a name is not empty and holds no `=`");
                return None;
            }
            variable(&value, d).map(|text| (name.to_owned(), text))
        })
        .collect()
}

fn variable(at: &At<'_>, d: &mut Diagnostics) -> Option<Text> {
    match &at.node.kind {
        Kind::Scalar(s) if s.text.contains('\0') => {
            at.error(d, "a NUL character, which no variable can hold").help("remove the `\\0`");
            None
        }
        Kind::Scalar(_) => template(at, Severity::Error, d),
        _ => {
            at.expected(d, "text, a number or a boolean").help("put a list or mapping in quotes as one text");
            None
        }
    }
}
