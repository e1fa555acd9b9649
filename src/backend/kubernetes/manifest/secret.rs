//! What only Secrets hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use super::{Place, names};
use crate::backend::reference::canonical;
use crate::backend::registry::{password, server};
use crate::config::settings::Registry;
use crate::landscape::ServiceSpec;

/// Credentials of one registry, as read.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// The registry's host, as `docker.io` or `registry.example.com:5000`.
    pub registry: String,
    /// The user.
    pub username: String,
    /// Never shown.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.username, self.registry)
    }
}

/// Reads the passwords of router.yaml's `registries`. The error names the file.
pub async fn logins(registries: &[(String, Registry)]) -> Result<Vec<Login>, String> {
    let mut all = Vec::with_capacity(registries.len());
    for (host, registry) in registries {
        all.push(Login {
            registry: canonical(host).to_owned(),
            username: registry.username.clone(),
            password: password(registry).await?,
        });
    }
    Ok(all)
}

/// The values of a service's variables that a vault key went into; `None` where there are none.
pub fn secret(spec: &ServiceSpec, place: Place<'_>) -> Option<Secret> {
    let secrets = spec.env.iter().filter(|(_, value)| value.secret);
    let data: std::collections::BTreeMap<_, _> =
        secrets.map(|(name, value)| (names::secret_key(name), ByteString(value.text.as_bytes().to_vec()))).collect();
    (!data.is_empty()).then(|| Secret {
        metadata: place.of_service(&spec.key),
        type_: Some("Opaque".into()),
        data: Some(data),
        ..Default::default()
    })
}

/// What the images of a landscape are pulled with; `None` without credentials.
pub fn pull_secret(id: &str, logins: &[Login], place: Place<'_>) -> Option<Secret> {
    if logins.is_empty() {
        return None;
    }
    let entry = |login: &Login| {
        let auth = STANDARD.encode(format!("{}:{}", login.username, login.password));
        (server(&login.registry), json!({ "username": login.username, "password": login.password, "auth": auth }))
    };
    let auths: serde_json::Map<_, _> = logins.iter().map(entry).collect();
    let config = json!({ "auths": auths }).to_string();
    Some(Secret {
        metadata: place.of_landscape(names::pull_secret(id), id),
        type_: Some("kubernetes.io/dockerconfigjson".into()),
        data: Some([(".dockerconfigjson".to_owned(), ByteString(config.into_bytes()))].into()),
        ..Default::default()
    })
}
