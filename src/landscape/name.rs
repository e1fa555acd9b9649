//! The names that services may have.

/// `^(?:[a-z]|[a-z][-a-z0-9]{0,30}[a-z0-9])$`: a DNS label of at most 32 characters.
pub(super) fn is_service_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= 32
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(plain)
        && bytes.iter().all(|b| plain(b) || *b == b'-')
}

/// A valid name near an invalid one, where there is one.
pub(super) fn suggestion(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let mapped: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(32).collect();
    let trimmed = mapped.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
    is_service_name(trimmed).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_that_begin_with_a_letter() {
        for good in ["a", "ab", "a-b", "a1", "web-2", &"a".repeat(32)] {
            assert!(is_service_name(good), "{good}");
        }
        for bad in ["", "-", "a-", "-a", "1a", "A", "a_b", "a b", "ä", "a.b", &"a".repeat(33)] {
            assert!(!is_service_name(bad), "{bad}");
        }
        assert_eq!(suggestion("My Web_App").as_deref(), Some("my-web-app"));
        assert_eq!(suggestion("1st").as_deref(), Some("st"));
        assert_eq!(suggestion("123"), None);
    }
}
