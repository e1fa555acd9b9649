//! Host names as requests spell them.

/// The longest host name that DNS can carry, as text without the final dot.
const LONGEST: usize = 253;

/// The name in a `Host` field's value: without its port and without a final dot. An IPv6 literal
/// keeps its brackets.
pub fn hostname(host: &str) -> &str {
    let name = if host.starts_with('[') {
        host.find(']').map_or(host, |end| &host[..=end])
    } else {
        host.split_once(':').map_or(host, |(name, _)| name)
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Calls `then` with [`hostname`] in lower case, copied to the stack only where it has capitals; `None`
/// where there is no name, or a longer one than there can be.
pub(super) fn with_name<R>(host: &str, then: impl FnOnce(&str) -> R) -> Option<R> {
    let name = hostname(host);
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    if !name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Some(then(name));
    }
    let mut copy = [0; LONGEST];
    let copy = &mut copy[..name.len()];
    copy.copy_from_slice(name.as_bytes());
    copy.make_ascii_lowercase();
    // Lower-casing ASCII bytes keeps UTF-8 valid, so that this never fails.
    std::str::from_utf8(copy).ok().map(then)
}

/// `<id>-<port>` taken apart, the port written as a number is: 1 to 65535 without leading zeros.
pub(super) fn split_port(label: &str) -> Option<(&str, u16)> {
    let (id, port) = label.rsplit_once('-')?;
    if id.is_empty() || port.starts_with('0') || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((id, port.parse().ok()?))
}

/// Pairs of ids that a host could confuse: the same one twice, or `a-3000` beside `a`, whose port 3000
/// would have the same host.
pub fn confused_ids<'i>(ids: impl IntoIterator<Item = &'i str>) -> Vec<(&'i str, &'i str)> {
    let mut seen = std::collections::HashSet::new();
    let mut pairs = Vec::new();
    let all: Vec<&str> = ids.into_iter().collect();
    for id in &all {
        if !seen.insert(*id) {
            pairs.push((*id, *id));
        }
    }
    for id in &all {
        if let Some((shorter, _)) = split_port(id)
            && let Some(shorter) = seen.get(shorter)
        {
            pairs.push((*shorter, *id));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port_its_final_dot_and_its_capitals() {
        for (given, expected) in [
            ("4711.localhost", "4711.localhost"),
            ("4711.LocalHost:8080", "4711.localhost"),
            ("4711.localhost.", "4711.localhost"),
            ("4711.localhost.:80", "4711.localhost"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("ÄB.localhost", "Äb.localhost"),
        ] {
            assert_eq!(with_name(given, str::to_owned).as_deref(), Some(expected), "{given}");
        }
        let has_name = |host: &str| with_name(host, |_| ()).is_some();
        assert!(!has_name(""));
        assert!(!has_name(":80"));
        assert!(!has_name(&"a".repeat(254)));
        assert!(has_name(&"A".repeat(253)));
    }

    #[test]
    fn a_port_in_a_host_is_canonical() {
        assert_eq!(split_port("a-3000"), Some(("a", 3000)));
        assert_eq!(split_port("a-b-1"), Some(("a-b", 1)));
        for bad in ["a", "a-", "-3000", "a-0", "a-03000", "a-65536", "a-+1", "a-3000x", "a-99999999999999999999"] {
            assert_eq!(split_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_that_a_host_could_confuse_are_found() {
        assert_eq!(confused_ids(["a", "b", "a"]), [("a", "a")]);
        assert_eq!(confused_ids(["a-3000", "a"]), [("a", "a-3000")]);
        assert!(confused_ids(["a-x", "a", "b-3000", "a-99999"]).is_empty());
    }
}
