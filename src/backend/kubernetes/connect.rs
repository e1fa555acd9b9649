//! The connection to a cluster.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::config::settings::KubernetesSettings;

/// Why there is no connection. No cluster was asked anything yet.
#[derive(Debug, thiserror::Error)]
#[error("no way to a Kubernetes cluster is known: {0}; set `kubernetes.kubeconfig` in router.yaml, or KUBECONFIG")]
pub struct ConnectError(String);

/// A client of the cluster that the settings name, and the namespace for workloads.
pub async fn connect(settings: &KubernetesSettings) -> Result<(Client, String), ConnectError> {
    let failed = |e: &dyn std::fmt::Display| ConnectError(e.to_string());
    let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
    let config = match &settings.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|e| failed(&e))?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(|e| failed(&e))?
        }
        None if settings.context.is_some() => Config::from_kubeconfig(&options).await.map_err(|e| failed(&e))?,
        None => Config::infer().await.map_err(|e| failed(&e))?,
    };
    let namespace = settings.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    Ok((Client::try_from(config).map_err(|e| failed(&e))?, namespace))
}
