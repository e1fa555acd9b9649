//! Any prefixes and paths: the tree finds what a search through all of them finds.
//!
//! Lines are prefixes up to the first empty one, then paths.

use landscape_router::route::PrefixTree;

/// See the module's words.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (prefixes, paths) = text.split_once("\n\n").unwrap_or((text, "/\n/a/b"));
    let mut tree = PrefixTree::default();
    let mut known: Vec<&str> = Vec::new();
    for prefix in prefixes.lines().filter(|line| line.starts_with('/') && !line.contains('?')) {
        let fresh = !known.iter().any(|other| trimmed(other) == trimmed(prefix));
        assert_eq!(tree.insert(prefix, prefix).is_ok(), fresh, "{prefix} beside {known:?}");
        if fresh {
            known.push(prefix);
        }
    }
    for path in paths.lines().filter(|line| line.starts_with('/')) {
        let plain = path.split('?').next().unwrap_or_default();
        let naive = known.iter().filter(|prefix| covers(trimmed(prefix), plain)).max_by_key(|p| trimmed(p).len());
        assert_eq!(tree.longest(path), naive, "{path} among {known:?}");
    }
}

fn trimmed(prefix: &str) -> &str {
    prefix.trim_end_matches('/')
}

/// Whole segments: `/foo` covers `/foo`, `/foo/` and `/foo/bar`, and never `/foobar`.
fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
