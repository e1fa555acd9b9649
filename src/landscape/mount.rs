//! Paths of mounts, brought into one form by their text alone.

/// Why a path cannot be one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadPath {
    Escapes,
    Relative,
    Root,
    Nul,
}

/// A path below the shared file system: `./a//b/../c/` becomes `a/c`, all of it is `""`. A leading slash
/// means the shared file system's own root.
pub(super) fn below_root(path: &str) -> Result<String, BadPath> {
    normal(path).map(|parts| parts.join("/"))
}

/// Where a mount appears: absolute, and not the root of everything.
pub(super) fn destination(path: &str) -> Result<String, BadPath> {
    if !path.starts_with('/') {
        return Err(BadPath::Relative);
    }
    let parts = normal(path)?;
    if parts.is_empty() { Err(BadPath::Root) } else { Ok(format!("/{}", parts.join("/"))) }
}

fn normal(path: &str) -> Result<Vec<&str>, BadPath> {
    if path.contains('\0') {
        return Err(BadPath::Nul);
    }
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or(BadPath::Escapes)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_brought_into_one_form() {
        for (given, expected) in
            [("", ""), (".", ""), ("./", ""), ("./.data/", ".data"), ("a//b/../c", "a/c"), ("/a", "a"), ("..a", "..a")]
        {
            assert_eq!(below_root(given).as_deref(), Ok(expected), "{given}");
        }
        for given in ["..", "../x", "a/../../x", "/..", "./../a"] {
            assert_eq!(below_root(given), Err(BadPath::Escapes), "{given}");
        }
    }

    #[test]
    fn a_destination_is_absolute() {
        assert_eq!(destination("/app/data/").as_deref(), Ok("/app/data"));
        assert_eq!(destination("/app/./x/../y").as_deref(), Ok("/app/y"));
        assert_eq!(destination("app"), Err(BadPath::Relative));
        assert_eq!(destination(""), Err(BadPath::Relative));
        assert_eq!(destination("/"), Err(BadPath::Root));
        assert_eq!(destination("/a/.."), Err(BadPath::Root));
        assert_eq!(destination("/../etc"), Err(BadPath::Escapes));
        assert_eq!(destination("/a\0b"), Err(BadPath::Nul));
    }
}
