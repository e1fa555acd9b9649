//! Paths of keys, as mistakes show them: `run.web.network.ports[0].port`.

/// The path of `key` inside the mapping at `base`.
pub fn key(base: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    match (plain, base.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{base}.{key}"),
        (false, _) => format!("{base}[\"{}\"]", clean(key, 60)),
    }
}

/// The path of the item `index` (from 0) of the list at `base`.
pub fn index(base: &str, index: usize) -> String {
    format!("{base}[{index}]")
}

/// A text from a file between back quotes, fit for a terminal and a log line: control characters
/// replaced, cut after 60 characters.
pub fn quote(text: &str) -> String {
    format!("`{}`", clean(text, 60))
}

/// Replaces control characters by visible ones and cuts after `max` characters.
pub(super) fn clean(text: &str, max: usize) -> String {
    let mut out: String = text.chars().take(max).map(visible).collect();
    if text.chars().nth(max).is_some() {
        out.push('…');
    }
    out
}

fn visible(c: char) -> char {
    match c {
        '\t' => '→',
        '\n' | '\r' => '↵',
        // Bidirectional overrides would let a line show what it does not say.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        assert_eq!(key("", "run"), "run");
        assert_eq!(index(&key("run.web", "ports"), 0), "run.web.ports[0]");
        assert_eq!(key("run", "DP default DB"), "run[\"DP default DB\"]");
    }

    #[test]
    fn what_would_move_the_cursor_is_replaced() {
        assert_eq!(quote("a\u{1b}[2Jb\n"), "`a\u{fffd}[2Jb↵`");
        assert_eq!(quote(&"x".repeat(70)), format!("`{}…`", "x".repeat(60)));
    }
}
