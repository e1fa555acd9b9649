//! A file's text, for the excerpts below mistakes.

use std::path::PathBuf;
use std::sync::Arc;

use super::Place;
use super::field::clean;

/// Longer lines are cut; a mistake further right has no excerpt.
const MAX_EXCERPT: usize = 240;

/// A file's name and lines.
#[derive(Clone)]
pub struct Source {
    file: Arc<PathBuf>,
    lines: Arc<[Box<str>]>,
}

impl Source {
    /// A file as the user named it, and its text.
    pub fn new(file: Arc<PathBuf>, text: &str) -> Self {
        Self { file, lines: lines(text).map(Into::into).collect() }
    }

    /// A file of which nothing is ever shown.
    pub fn hidden(file: Arc<PathBuf>) -> Self {
        Self { file, lines: Arc::new([]) }
    }

    /// The file's name.
    pub fn file(&self) -> &Arc<PathBuf> {
        &self.file
    }

    /// The line of a place, its control characters replaced one for one, so that `column` still fits.
    /// A value whose key sounds like a secret is covered up.
    pub fn excerpt(&self, place: Place) -> Option<String> {
        let line = self.lines.get((place.line as usize).checked_sub(1)?)?;
        if place.column as usize > MAX_EXCERPT || line.trim().is_empty() {
            return None;
        }
        Some(clean(&mask(line), MAX_EXCERPT))
    }

    /// A line without its break.
    pub(super) fn line(&self, number: u32) -> Option<&str> {
        self.lines.get((number as usize).checked_sub(1)?).map(|l| &**l)
    }

    /// The place itself, or the end of the file where it lies behind it: the parser may tell the end as a
    /// line too many.
    pub(super) fn within(&self, place: Place) -> Place {
        let last = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        if place.line <= last || last == 0 {
            return place;
        }
        let line = self.line(last).unwrap_or_default();
        let column = u32::try_from(line.chars().count()).unwrap_or(u32::MAX).saturating_add(1);
        Place { line: last, column }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({})", self.file.display())
    }
}

/// YAML's line breaks: LF, CR LF and a lone CR.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        match text.find(['\n', '\r']) {
            None => {
                rest = None;
                Some(text)
            }
            Some(at) => {
                let width = if text[at..].starts_with("\r\n") { 2 } else { 1 };
                rest = Some(&text[at + width..]);
                Some(&text[..at])
            }
        }
    })
}

/// Covers every value whose key sounds like a secret; a template or a file's name is none.
fn mask(line: &str) -> String {
    const TELLS: [&str; 8] =
        ["password", "passwd", "secret", "token", "apikey", "api_key", "private_key", "credential"];
    // Only ASCII is lowered, so that byte offsets stay the same.
    let lower = line.to_ascii_lowercase();
    let Some(tell) = TELLS.iter().filter_map(|t| lower.find(t)).min() else {
        return line.to_owned();
    };
    let Some(colon) = lower[tell..].find(':').map(|at| tell + at) else {
        return line.to_owned();
    };
    let (head, value) = line.split_at(colon + 1);
    let key = lower[tell..colon].trim_end_matches(['"', '\'', ' ']);
    let shown = value.trim();
    if shown.is_empty() || shown.starts_with("${{") || key.ends_with("file") || key.ends_with("secrets") {
        return line.to_owned();
    }
    let covered = value.chars().map(|c| if c.is_whitespace() { c } else { '•' });
    head.chars().chain(covered).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, line: u32, column: u32) -> Option<String> {
        Source::new(Arc::new("f".into()), text).excerpt(Place { line, column })
    }

    #[test]
    fn lines_break_as_yaml_breaks_them() {
        let got: Vec<_> = lines("a\r\nb\rc\nd").collect();
        assert_eq!(got, ["a", "b", "c", "d"]);
        assert_eq!(excerpt("a\r\nbc", 2, 1).as_deref(), Some("bc"));
    }

    #[test]
    fn columns_survive_tabs_and_control_characters() {
        assert_eq!(excerpt("\ta: \u{1b}x", 1, 1).as_deref(), Some("→a: \u{fffd}x"));
    }

    #[test]
    fn a_secret_is_covered_and_a_template_is_not() {
        assert_eq!(excerpt("DB_PASSWORD: hunter2", 1, 1).as_deref(), Some("DB_PASSWORD: •••••••"));
        assert_eq!(excerpt("\"TOKEN\": \"x y\"", 1, 1).as_deref(), Some("\"TOKEN\": •• ••"));
        assert_eq!(excerpt("P_TOKEN: ${{ vault.P }}", 1, 1).as_deref(), Some("P_TOKEN: ${{ vault.P }}"));
        assert_eq!(excerpt("passwordFile: p", 1, 1).as_deref(), Some("passwordFile: p"));
    }

    #[test]
    fn a_place_outside_has_no_excerpt() {
        assert_eq!(excerpt("a", 7, 1), None);
        assert_eq!(excerpt("a", 0, 0), None);
        assert_eq!(excerpt(&"x".repeat(1000), 1, 900), None);
    }
}
