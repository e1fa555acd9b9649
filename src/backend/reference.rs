//! Image references, as `docker pull` reads them.

/// An image reference taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) struct Reference {
    /// What credentials are kept for: `docker.io`, `registry.example.com:5000`.
    pub(in crate::backend) registry: String,
    /// Without tag and digest, as it was written.
    pub(in crate::backend) repository: String,
    /// A tag (`latest` where none is given) or a digest (`sha256:…`), which wins over a tag.
    pub(in crate::backend) version: String,
}

impl Reference {
    /// Takes a reference apart. What no registry would accept is left for the engine to refuse,
    /// which says why.
    pub(in crate::backend) fn parse(text: &str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let after_slash = name.rfind('/').map_or(0, |i| i + 1);
        let (repository, tag) = match name[after_slash..].find(':') {
            Some(colon) => (&name[..after_slash + colon], Some(&name[after_slash + colon + 1..])),
            None => (name, None),
        };
        let version = digest.or(tag).unwrap_or("latest");
        let registry = match repository.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => "docker.io",
        };
        Self {
            registry: canonical(registry).to_owned(),
            repository: repository.to_owned(),
            version: version.to_owned(),
        }
    }
}

/// The host that credentials for a registry are found under: without scheme and path, and one name
/// for all that Docker Hub is called by.
pub(in crate::backend) fn canonical(registry: &str) -> &str {
    let host = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String, String) {
        let r = Reference::parse(text);
        (r.registry, r.repository, r.version)
    }

    #[test]
    fn references_in_every_form() {
        let d = "sha256:0123";
        for (text, registry, repository, version) in [
            ("nginx", "docker.io", "nginx", "latest"),
            ("nginx:1.2", "docker.io", "nginx", "1.2"),
            ("shop/web", "docker.io", "shop/web", "latest"),
            ("localhost/web:1", "localhost", "localhost/web", "1"),
            ("127.0.0.1:5000/web", "127.0.0.1:5000", "127.0.0.1:5000/web", "latest"),
            ("reg.example.com:5000/a/b:x", "reg.example.com:5000", "reg.example.com:5000/a/b", "x"),
            ("nginx@sha256:0123", "docker.io", "nginx", d),
            ("r.io/nginx:1@sha256:0123", "r.io", "r.io/nginx", d),
        ] {
            assert_eq!(parsed(text), (registry.into(), repository.into(), version.into()), "{text}");
        }
    }

    #[test]
    fn docker_hub_has_one_name() {
        assert_eq!(canonical("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(canonical("registry.example.com:5000"), "registry.example.com:5000");
    }
}
