//! The way to a cluster: which API server, as whom, and in which namespace.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::config::settings::KubernetesSettings;

/// Set in every pod.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";
/// An API server that is there accepts sooner.
const CONNECT: Duration = Duration::from_secs(5);

/// A cluster as the settings name it; nothing has been asked of it yet.
#[derive(Clone)]
pub struct Cluster {
    /// Where requests go.
    pub client: Client,
    /// `https://host:port`, for people.
    pub url: String,
    /// Where workloads are.
    pub namespace: String,
}

/// The cluster that the settings name. `read_timeout`: how long an answer may take; `None` for watches. The
/// error says what is missing and its remedy, no secrets.
pub async fn connect(settings: &KubernetesSettings, read_timeout: Option<Duration>) -> Result<Cluster, String> {
    let mut config = configuration(settings).await?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = read_timeout;
    config.reset_reader_on_write = true;
    let namespace = settings.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    // A user and a password may stand in it.
    let host = config.cluster_url.authority().map(|a| a.as_str().rsplit('@').next().unwrap_or_default().to_owned());
    let url = format!("{}://{}", config.cluster_url.scheme_str().unwrap_or("https"), host.unwrap_or_default());
    let client =
        Client::try_from(config).map_err(|e| format!("the cluster's credentials cannot be used: {}", cause(&e)))?;
    Ok(Cluster { client, url, namespace })
}

async fn configuration(settings: &KubernetesSettings) -> Result<Config, String> {
    let options = KubeConfigOptions { context: settings.context.clone(), ..Default::default() };
    let given = settings.kubeconfig.as_deref();
    if given.is_none() && settings.context.is_none() && std::env::var_os(IN_CLUSTER).is_some() {
        return Config::incluster_env().map_err(|e| {
            format!(
                "this is a pod, and its service account cannot be used: {}; let it have its token \
                 (`automountServiceAccountToken`), or set `kubernetes.kubeconfig`",
                cause(&e)
            )
        });
    }
    let read = match given {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let named = || match given {
        Some(path) => path.display().to_string(),
        None => "KUBECONFIG or ~/.kube/config".to_owned(),
    };
    let unusable = |e: &KubeconfigError| {
        format!("{} says of no cluster how it is reached: {}; set `kubernetes.kubeconfig`", named(), cause(e))
    };
    let kubeconfig = read.map_err(|e| unusable(&e))?;
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|e| unusable(&e))
}

/// What an error came from in the first place: `connection refused`, without all that passed it on.
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::kubernetes::manifest::fixtures::settings;

    const CONFIG: &str = "apiVersion: v1
kind: Config
clusters:
  - {name: c, cluster: {server: 'http://127.0.0.1:1'}}
users:
  - {name: u, user: {token: s3cret}}
contexts:
  - {name: one, context: {cluster: c, user: u, namespace: theirs}}
  - {name: two, context: {cluster: c, user: u}}
current-context: one
";

    fn there() {
        // The tests' binary has no main that does so.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }

    #[tokio::test]
    async fn a_kubeconfig_says_where_and_which_namespace() {
        there();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, CONFIG).unwrap();
        let settings = KubernetesSettings { kubeconfig: Some(path), ..settings() };
        let cluster = connect(&settings, None).await.unwrap();
        assert_eq!((&*cluster.url, &*cluster.namespace), ("http://127.0.0.1:1", "theirs"));
        let other = KubernetesSettings { context: Some("two".into()), ..settings.clone() };
        assert_eq!(connect(&other, None).await.unwrap().namespace, "default");
        let own = KubernetesSettings { namespace: Some("ours".into()), ..settings.clone() };
        assert_eq!(connect(&own, None).await.unwrap().namespace, "ours");
        let none = KubernetesSettings { context: Some("three".into()), ..settings };
        let why = connect(&none, None).await.err().unwrap();
        assert!(why.contains("three") && why.contains("kubernetes.kubeconfig") && !why.contains("s3cret"), "{why}");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let settings = KubernetesSettings { kubeconfig: Some("/nowhere/config".into()), ..settings() };
        let why = connect(&settings, None).await.err().unwrap();
        assert!(why.starts_with("/nowhere/config says of no cluster"), "{why}");
    }
}
