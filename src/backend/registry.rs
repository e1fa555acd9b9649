//! What router.yaml's `registries` say, as engines and clusters take it.

use std::path::Path;

use crate::config::settings::Registry;

/// A password or a `config.json` larger than this is a mistake.
const FILE_LIMIT: u64 = 1024 * 1024;
/// What Docker Hub is called where credentials are kept.
const HUB: &str = "https://index.docker.io/v1/";

/// The password of a registry, read anew. The error names the file, never what is in it.
pub(super) async fn password(of: &Registry) -> Result<String, String> {
    let file = &of.password_file;
    let text = read(file).await.map_err(|e| format!("the password file {} cannot be read: {e}", file.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// What a registry (canonical) is called beside its credentials.
pub(super) fn server(registry: &str) -> String {
    if registry == "docker.io" { HUB.into() } else { registry.into() }
}

/// A small text file.
pub(super) async fn read(path: &Path) -> std::io::Result<String> {
    let size = tokio::fs::metadata(path).await?.len();
    if size > FILE_LIMIT {
        return Err(std::io::Error::other(format!("{size} bytes are too many")));
    }
    tokio::fs::read_to_string(path).await
}
