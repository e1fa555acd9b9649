//! Names: ids, hosts, paths, profiles.

use super::Scalar;

/// A landscape's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub String);

impl Scalar for Id {
    const KIND: &'static str = "id";
    const PATTERN: &'static str = "^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$";
    const EXPECTED: &'static str = "an id of 1 to 42 lower-case letters, digits and inner hyphens";
    fn read(text: &str) -> Result<Self, Option<String>> {
        let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let good = inner && (1..=42).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-');
        if good { Ok(Self(text.to_owned())) } else { Err(None) }
    }
}

/// A host name, lower case, without a port; `*.` may stand for one or more first labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(pub String);

impl Scalar for Host {
    const KIND: &'static str = "host";
    const PATTERN: &'static str = r"^(\*\.)?[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?$";
    const EXPECTED: &'static str = "a host name such as `shop.example.com` or `*.example.com`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        if name.contains(':') || name.contains('/') {
            return Err(Some("leave out scheme, port and path".into()));
        }
        if !name.is_ascii() {
            return Err(Some("write it in its xn-- form".into()));
        }
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if text.len() <= 253 && name.split('.').all(label) { Ok(Self(text.to_ascii_lowercase())) } else { Err(None) }
    }
}

/// A path prefix; kept without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(pub String);

impl Scalar for Prefix {
    const KIND: &'static str = "path";
    const PATTERN: &'static str = "^/[!-~]*$";
    const EXPECTED: &'static str = "a path that begins with `/`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        if !text.starts_with('/') || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(None);
        }
        if text.contains(['?', '#']) {
            return Err(Some("a path has no query and no fragment".into()));
        }
        if text.split('/').any(|s| s == "." || s == "..") || text.contains("//") {
            return Err(Some("a path has no empty segment, no `.` and no `..`".into()));
        }
        let kept = text.trim_end_matches('/');
        Ok(Self(if kept.is_empty() { "/".into() } else { kept.into() }))
    }
}

/// A profile: `prod` reads `ci.prod.yml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile(pub String);

impl Scalar for Profile {
    const KIND: &'static str = "profile";
    const PATTERN: &'static str = "^[A-Za-z0-9_-]{1,64}$";
    const EXPECTED: &'static str = "a profile of letters, digits, `-` and `_`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        let good = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if good && (1..=64).contains(&text.len()) { Ok(Self(text.to_owned())) } else { Err(None) }
    }
}
