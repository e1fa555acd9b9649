//! Whether a text is an image's reference: `[domain/]path[:tag][@digest]`, as the OCI distribution
//! specification and Docker's own reference grammar have it.

/// Why it is none, without the text itself, which may hold a secret.
pub(super) fn check(reference: &str) -> Result<(), &'static str> {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    if digest.is_some_and(|d| !is_digest(d)) {
        return Err("behind `@` a digest is expected, such as sha256 and 64 hex digits");
    }
    let last = name.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match name[last..].rfind(':') {
        Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
        None => (name, None),
    };
    if tag.is_some_and(|t| !is_tag(t)) {
        return Err("behind `:` a tag is expected: up to 128 letters, digits, `_`, `.` and `-`");
    }
    if name.is_empty() {
        return Err("an image's name is expected");
    }
    if name.len() > 255 {
        return Err("an image's name has at most 255 characters");
    }
    let path = match name.split_once('/') {
        Some((domain, path)) if is_domain_like(domain) => {
            if !is_domain(domain) {
                return Err("before the first `/` a registry's host is expected");
            }
            path
        }
        _ => name,
    };
    if path.contains("://") || name.starts_with("http:") || name.starts_with("https:") {
        return Err("an image's name is expected, found a URL");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("an image's name is in lower case");
    }
    if path.split('/').all(is_component) { Ok(()) } else { Err("this is no image's name") }
}

/// Whether the part before the first slash means a registry rather than a folder on the default one.
fn is_domain_like(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let port_fits = port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok_and(|p| p > 0));
    let v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_fits = match v6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    port_fits && host_fits
}

/// Letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(part: &str) -> bool {
    let is_separator = |c: char| matches!(c, '.' | '_' | '-');
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let words = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|s| !s.is_empty());
    ends_well(part.chars().next())
        && ends_well(part.chars().next_back())
        && words
            .into_iter()
            .all(|s| s.chars().all(is_separator) && (matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-')))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let length_fits = match algorithm {
        "sha256" => hex.len() == 64,
        "sha512" => hex.len() == 128,
        _ => hex.len() >= 32,
    };
    algorithm.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-' | b'_'))
        && length_fits
        && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn references_by_tag_and_digest_are_images() {
        let digest = "a".repeat(64);
        for good in [
            "nginx",
            "nginx:1.27-alpine",
            "ghcr.io/some-org/app:v3.14.0",
            "localhost:5000/a/b_c/d__e--f:latest",
            "[::1]:5000/a",
            "ubuntu-24.04",
            "Registry.example/app",
            &format!("nginx@sha256:{digest}"),
            &format!("r.example:443/x:1@sha256:{digest}"),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn other_texts_are_not() {
        for bad in [
            "",
            ":latest",
            "nginx:",
            "nginx:a b",
            "Nginx",
            "a//b",
            "a/",
            "/a",
            "a/b..c",
            "a/_b",
            "https://r.example/a",
            "nginx@sha256:abc",
            "nginx@",
            "r.example:0/x",
            "r.example:x/y",
            " nginx",
            "nginx\n",
            "a___b",
            "--privileged",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
