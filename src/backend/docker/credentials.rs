//! Credentials for a registry: from router.yaml, else from Docker's own `config.json`.
//!
//! Everything is read at use, so that a changed password counts at the next pull. No secret is kept,
//! logged or part of an error.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use crate::backend::reference::canonical;
use crate::backend::registry::{password, read, server};
use crate::config::settings::Registry;

/// A helper that takes longer waits for someone who is not there.
const HELPER_LIMIT: Duration = Duration::from_secs(20);
/// What a helper sees of the environment: what desktop key rings and the clouds' helpers ask for.
const HELPER_ENV: [&str; 9] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "DOCKER_CONFIG",
];
const HELPER_ENV_PREFIXES: [&str; 4] = ["AWS_", "GOOGLE_", "CLOUDSDK_", "AZURE_"];

/// The part of `config.json` that is about credentials.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: HashMap<String, Auth>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// A helper's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// What is known about `registry` (canonical). `None`: nothing, the pull is anonymous. The error
/// names a file or a helper, never what is in it.
pub(super) async fn find(
    registry: &str,
    configured: &[(String, Registry)],
) -> Result<Option<DockerCredentials>, String> {
    if let Some((_, entry)) = configured.iter().find(|(host, _)| canonical(host) == registry) {
        let password = password(entry).await?;
        return Ok(Some(DockerCredentials {
            username: Some(entry.username.clone()),
            password: Some(password),
            serveraddress: Some(server(registry)),
            ..Default::default()
        }));
    }
    let Some(path) = config_path() else { return Ok(None) };
    let text = match read(&path).await {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("{} cannot be read: {e}", path.display())),
    };
    let config: DockerConfig = serde_json::from_str(&text)
        .map_err(|e| format!("{} line {} is not what Docker writes there", path.display(), e.line()))?;
    from_docker(registry, &config).await
}

async fn from_docker(registry: &str, config: &DockerConfig) -> Result<Option<DockerCredentials>, String> {
    let own_helper = config.cred_helpers.iter().find(|(host, _)| canonical(host) == registry).map(|(_, h)| h);
    if let Some(helper) = own_helper.or(config.creds_store.as_ref()) {
        match ask(helper, registry).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            // A desktop's leftover: what is public needs no credentials, and what is not is refused.
            Err(Unhelpful::Missing(program)) => {
                if MISSED.lock().insert(program.clone()) {
                    tracing::warn!(
                        "Docker's config.json names the credential helper {program}, which is not installed: \
                         images are pulled without it"
                    );
                }
            }
            Err(Unhelpful::Failed(why)) => return Err(why),
        }
    }
    let Some((_, auth)) = config.auths.iter().find(|(host, _)| canonical(host) == registry) else { return Ok(None) };
    let (mut username, mut password) = (auth.username.clone(), auth.password.clone());
    if let Some(both) = auth.auth.as_deref().filter(|a| !a.is_empty()) {
        let both = STANDARD.decode(both).ok().and_then(|b| String::from_utf8(b).ok());
        let Some((user, pass)) = both.as_deref().and_then(|b| b.split_once(':')) else {
            return Err(format!("the entry for {registry} in Docker's config.json has an unreadable `auth`"));
        };
        (username, password) = (Some(user.to_owned()), Some(pass.trim_end_matches('\0').to_owned()));
    }
    if username.is_none() && auth.identitytoken.is_none() && auth.registrytoken.is_none() {
        return Ok(None);
    }
    Ok(Some(DockerCredentials {
        username,
        password,
        identitytoken: auth.identitytoken.clone(),
        registrytoken: auth.registrytoken.clone(),
        serveraddress: Some(server(registry)),
        ..Default::default()
    }))
}

/// Helpers that are not installed, of which that was told.
static MISSED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Why a helper gave no answer.
#[derive(Debug)]
enum Unhelpful {
    /// There is no program of this name.
    Missing(String),
    Failed(String),
}

impl From<String> for Unhelpful {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

/// Asks a credential helper: `docker-credential-<name> get`, the registry on its input.
async fn ask(helper: &str, registry: &str) -> Result<Option<DockerCredentials>, Unhelpful> {
    if helper.is_empty() || helper.contains('/') {
        return Err(format!("the credential helper `{helper}` in Docker's config.json is no program's name").into());
    }
    let program = format!("docker-credential-{helper}");
    let environment = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        HELPER_ENV.contains(&name.as_ref()) || HELPER_ENV_PREFIXES.iter().any(|p| name.starts_with(p))
    });
    let mut child = tokio::process::Command::new(&program)
        .arg("get")
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Unhelpful::Missing(program.clone()),
            _ => format!("the credential helper {program} does not start: {e}").into(),
        })?;
    let input = child.stdin.take();
    let talk = async {
        if let Some(mut input) = input {
            // A helper that does not read its input answers all the same or fails by its status.
            let _ = input.write_all(server(registry).as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(HELPER_LIMIT, talk)
        .await
        .map_err(|_| format!("the credential helper {program} did not answer within {} s", HELPER_LIMIT.as_secs()))?
        .map_err(|e| format!("the credential helper {program} failed: {e}"))?;
    if !output.status.success() {
        // By the helpers' protocol, what it prints then is an error text, not a secret.
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(format!("the credential helper {program} failed ({})", output.status).into());
    }
    let helped: Helped = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("the credential helper {program} answered something unreadable"))?;
    let server = Some(server(registry));
    Ok(Some(if helped.username == "<token>" {
        DockerCredentials { identitytoken: Some(helped.secret), serveraddress: server, ..Default::default() }
    } else {
        DockerCredentials {
            username: Some(helped.username),
            password: Some(helped.secret),
            serveraddress: server,
            ..Default::default()
        }
    }))
}

fn config_path() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG").filter(|d| !d.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(dir: &tempfile::TempDir, password: &str) -> (String, Registry) {
        let file = dir.path().join("password");
        std::fs::write(&file, password).unwrap();
        ("https://reg.example.com".into(), Registry { username: "u".into(), password_file: file })
    }

    #[tokio::test]
    async fn the_password_file_is_read_without_its_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let found = find("reg.example.com", &[registry(&dir, "p w\r\n")]).await.unwrap().unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("u"), Some("p w")));
    }

    #[tokio::test]
    async fn a_missing_password_file_is_named() {
        let entry = Registry { username: "u".into(), password_file: "/nonexistent/pw".into() };
        let error = find("r.io", &[("r.io".into(), entry)]).await.unwrap_err();
        assert!(error.contains("/nonexistent/pw"), "{error}");
    }

    #[tokio::test]
    async fn docker_s_own_file_in_its_forms() {
        let config: DockerConfig = serde_json::from_str(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnA="},"t.io":{"identitytoken":"x"},"e.io":{}},"HttpHeaders":{}}"#,
        )
        .unwrap();
        let hub = from_docker("docker.io", &config).await.unwrap().unwrap();
        assert_eq!((hub.username.as_deref(), hub.password.as_deref()), (Some("u"), Some("p:p")));
        assert_eq!(hub.serveraddress.as_deref(), Some("https://index.docker.io/v1/"));
        assert_eq!(from_docker("t.io", &config).await.unwrap().unwrap().identitytoken.as_deref(), Some("x"));
        assert_eq!(from_docker("e.io", &config).await.unwrap(), None);
        assert_eq!(from_docker("other.io", &config).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_helper_s_name_is_no_path() {
        let error = ask("../evil", "r.io").await.unwrap_err();
        assert!(matches!(&error, Unhelpful::Failed(why) if why.contains("no program's name")), "{error:?}");
    }

    #[tokio::test]
    async fn a_helper_that_is_not_installed_keeps_nobody_from_what_is_public() {
        let config: DockerConfig = serde_json::from_str(
            r#"{"credsStore":"surely-not-installed","credHelpers":{"h.io":"nor-is-this"},"auths":{"h.io":{"auth":"dTpw"}}}"#,
        )
        .unwrap();
        assert_eq!(from_docker("docker.io", &config).await.unwrap(), None);
        let kept = from_docker("h.io", &config).await.unwrap().unwrap();
        assert_eq!(kept.username.as_deref(), Some("u"), "what else there is counts");
        let told = MISSED.lock();
        assert!(
            told.contains("docker-credential-surely-not-installed") && told.contains("docker-credential-nor-is-this")
        );
    }
}
