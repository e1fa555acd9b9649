//! The path that a service sees.

use std::borrow::Cow;

/// Removes a prefix of `strip` bytes from a path and query: `/api/users?x` becomes `/users?x`, `/api`
/// becomes `/`, `/api?x` becomes `/?x`. Only the last of these needs memory of its own. With `strip` 0
/// everything stays as it came.
///
/// Slashes directly behind the prefix become one: `/api//evil.example/x` would otherwise turn into
/// `//evil.example/x`, which a reader of the shorter path takes for a host (RFC 3986, section 4.2)
/// although the client never sent such a reference. Nothing else is touched or decoded.
pub fn strip_prefix(path_and_query: &str, strip: usize) -> Cow<'_, str> {
    if strip == 0 {
        return Cow::Borrowed(if path_and_query.is_empty() { "/" } else { path_and_query });
    }
    let rest = path_and_query.get(strip..).unwrap_or_default();
    let path = rest.trim_start_matches('/');
    let slashes = rest.len() - path.len();
    if slashes > 0 {
        Cow::Borrowed(&rest[slashes - 1..])
    } else if rest.is_empty() {
        Cow::Borrowed("/")
    } else {
        Cow::Owned(format!("/{rest}"))
    }
}

/// How many bytes of a path that `prefix` covers the service does not see.
pub fn strip_prefix_length(prefix: &str, strip: bool) -> usize {
    let prefix = super::prefix::trimmed(prefix);
    if strip && prefix != "/" { prefix.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_goes_and_everything_else_stays() {
        for (given, strip, expected) in [
            ("/api/users?x=1", 4, "/users?x=1"),
            ("/api", 4, "/"),
            ("/api/", 4, "/"),
            ("/api?x", 4, "/?x"),
            ("/api/?x", 4, "/?x"),
            ("/api/a%2Fb/../c//d?e=//f", 4, "/a%2Fb/../c//d?e=//f"),
            ("/api/users", 0, "/api/users"),
            ("//as/it/came", 0, "//as/it/came"),
            ("", 0, "/"),
        ] {
            assert_eq!(strip_prefix(given, strip), expected, "{given}");
        }
    }

    #[test]
    fn a_stripped_path_never_looks_like_a_host() {
        assert_eq!(strip_prefix("/api//evil.example/x", 4), "/evil.example/x");
        assert_eq!(strip_prefix("/api////", 4), "/");
        assert_eq!(strip_prefix("/api//?x=//y", 4), "/?x=//y");
    }

    #[test]
    fn memory_is_needed_for_a_bare_query_alone() {
        assert!(matches!(strip_prefix("/api/users?x", 4), Cow::Borrowed(_)));
        assert!(matches!(strip_prefix("/api", 4), Cow::Borrowed(_)));
        assert!(matches!(strip_prefix("/api//x", 4), Cow::Borrowed(_)));
        assert!(matches!(strip_prefix("/api?x", 4), Cow::Owned(_)));
    }
}
