//! Mistakes on standard output: each with its line and a caret below it, and a sum at the end.

use std::fmt::Write;

use serde_json::{Value, json};

use super::terminal::{Out, Tone, count};
use crate::yaml::{Mistake, Severity};

/// All of them, as people read them.
pub(super) fn shown(out: &Out, mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        let told = mistake.to_string();
        let word = word(mistake.severity);
        // Only the first such word is the severity's: what stands before it is a file and a place.
        let line =
            told.replacen(&format!(": {word}: "), &format!(": {}: ", out.paint(tone(mistake.severity), word)), 1);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
        if let Some(excerpt) = &mistake.excerpt {
            let number = mistake.place.line.to_string();
            let gap = " ".repeat(number.len());
            let _ = writeln!(text, "{} {excerpt}", out.paint(Tone::Faint, &format!("  {number} |")));
            if mistake.place.column > 0 {
                let before = " ".repeat(mistake.place.column as usize - 1);
                let caret = out.paint(tone(mistake.severity), "^");
                let _ = writeln!(text, "{} {before}{caret}", out.paint(Tone::Faint, &format!("  {gap} |")));
            }
        }
    }
    text
}

/// All of them, as programs read them.
pub(super) fn as_json(mistakes: &[Mistake]) -> Vec<Value> {
    let one = |m: &Mistake| {
        json!({
            "severity": word(m.severity),
            "file": m.file.to_string_lossy(),
            "line": (m.place.line > 0).then_some(m.place.line),
            "column": (m.place.column > 0).then_some(m.place.column),
            "field": m.field,
            "message": m.message,
            "remedy": m.remedy,
            "excerpt": m.excerpt,
        })
    };
    mistakes.iter().map(one).collect()
}

/// `2 errors, 1 warning`.
pub(super) fn sum(mistakes: &[Mistake]) -> String {
    let part = |severity| {
        let n = mistakes.iter().filter(|m| m.severity == severity).count();
        (n > 0).then(|| count(n as u64, word(severity)))
    };
    let parts: Vec<_> = [Severity::Error, Severity::Warning, Severity::Note].into_iter().filter_map(part).collect();
    if parts.is_empty() { "no mistakes".to_owned() } else { parts.join(", ") }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Note => Tone::Bold,
        Severity::Warning => Tone::Busy,
        Severity::Error => Tone::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Diagnostics, Place};
    use std::sync::Arc;

    #[test]
    fn a_caret_stands_below_the_place() {
        let mut d = Diagnostics::new(Arc::new("f.yml".into()), "a: 1\n  bb: 2\n");
        d.error(Place { line: 2, column: 3 }, "bb", "unknown key `bb`").help("did you mean `b`?");
        d.note(Place::default(), "", "all of it");
        let all = d.finish();
        assert_eq!(
            shown(&Out::plain(), &all),
            "f.yml: note: all of it\nf.yml:2:3: error: bb: unknown key `bb`; did you mean `b`?\n  2 |   bb: 2\n    |   ^\n"
        );
        assert_eq!(sum(&all), "1 error, 1 note");
        assert_eq!(as_json(&all)[1]["line"], 2);
        assert_eq!(as_json(&all)[0]["line"], Value::Null);
    }
}
