//! Where the objects of names are kept.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};

use super::objects::ROUTER;
use crate::backend::kubernetes::names::{MANAGER, selector};
use crate::backend::kubernetes::trouble;

/// An API server that takes longer does not answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The API server said no.
    #[error("{0}")]
    Refused(String),
    /// It did not answer.
    #[error("the API server does not answer: {0}")]
    Silent(String),
}

/// See the module's words. Of one namespace.
#[async_trait]
pub trait Shelf: Send + Sync {
    /// The names of the EndpointSlices of a router, by its label. Costs little.
    async fn look(&self, router: &str) -> Result<BTreeSet<String>, ShelfError>;
    /// Every Service that is there.
    async fn services(&self) -> Result<Vec<Service>, ShelfError>;
    /// Every EndpointSlice that is there.
    async fn slices(&self) -> Result<Vec<EndpointSlice>, ShelfError>;
    /// Writes a Service; as it is then.
    async fn put_service(&self, service: &Service) -> Result<Service, ShelfError>;
    /// Writes an EndpointSlice.
    async fn put_slice(&self, slice: &EndpointSlice) -> Result<(), ShelfError>;
    /// Takes this very Service away.
    async fn remove_service(&self, service: &Service) -> Result<(), ShelfError>;
    /// Takes this very EndpointSlice away, unless it has changed since.
    async fn remove_slice(&self, slice: &EndpointSlice) -> Result<(), ShelfError>;
}

/// A namespace of a cluster.
pub struct ApiShelf {
    namespace: String,
    instance: String,
    services: Api<Service>,
    slices: Api<EndpointSlice>,
}

impl ApiShelf {
    /// What an installation has in a namespace, which has to be there.
    pub fn new(client: &Client, namespace: &str, instance: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            instance: instance.to_owned(),
            services: Api::namespaced(client.clone(), namespace),
            slices: Api::namespaced(client.clone(), namespace),
        }
    }

    async fn asked<T>(&self, what: &str, asking: impl Future<Output = kube::Result<T>>) -> Result<T, ShelfError> {
        match tokio::time::timeout(ANSWER, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => {
                let place = &self.namespace;
                let remedy = match status.code {
                    403 => format!(": give the router's service account a Role in the namespace {place} for this"),
                    404 => format!(": is there a namespace {place}? `kubectl create namespace {place}` makes it"),
                    _ => String::new(),
                };
                Err(ShelfError::Refused(format!("{what}: {}{remedy}", status.message)))
            }
            Ok(Err(error)) => Err(ShelfError::Silent(format!("{what}: {}", trouble::text(&error)))),
            Err(_) => Err(ShelfError::Silent(format!("{what}: not within {} s", ANSWER.as_secs()))),
        }
    }
}

fn apply() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

fn this<K: kube::Resource>(object: &K) -> DeleteParams {
    let preconditions = Preconditions { uid: object.meta().uid.clone(), resource_version: None };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
}

/// What is gone already is as wanted.
fn gone(removed: kube::Result<impl Sized>) -> kube::Result<()> {
    match removed {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(|_| ()),
    }
}

#[async_trait]
impl Shelf for ApiShelf {
    async fn look(&self, router: &str) -> Result<BTreeSet<String>, ShelfError> {
        let own = ListParams::default().labels(&format!("{},{ROUTER}={router}", selector(&self.instance)));
        let list = self.asked("list EndpointSlices", self.slices.list_metadata(&own)).await?;
        Ok(list.items.into_iter().filter_map(|slice| slice.metadata.name).collect())
    }

    async fn services(&self) -> Result<Vec<Service>, ShelfError> {
        Ok(self.asked("list Services", self.services.list(&ListParams::default())).await?.items)
    }

    async fn slices(&self) -> Result<Vec<EndpointSlice>, ShelfError> {
        Ok(self.asked("list EndpointSlices", self.slices.list(&ListParams::default())).await?.items)
    }

    async fn put_service(&self, service: &Service) -> Result<Service, ShelfError> {
        let name = service.name_any();
        let what = format!("apply the Service {name}");
        self.asked(&what, self.services.patch(&name, &apply(), &Patch::Apply(service))).await
    }

    async fn put_slice(&self, slice: &EndpointSlice) -> Result<(), ShelfError> {
        let name = slice.name_any();
        let what = format!("apply one of the EndpointSlices, {name}");
        self.asked(&what, self.slices.patch(&name, &apply(), &Patch::Apply(slice))).await.map(|_| ())
    }

    async fn remove_service(&self, service: &Service) -> Result<(), ShelfError> {
        let name = service.name_any();
        let removing = async { gone(self.services.delete(&name, &this(service)).await) };
        self.asked(&format!("delete the Service {name}"), removing).await
    }

    async fn remove_slice(&self, slice: &EndpointSlice) -> Result<(), ShelfError> {
        let name = slice.name_any();
        let mut params = this(slice);
        if let Some(preconditions) = &mut params.preconditions {
            preconditions.resource_version.clone_from(&slice.metadata.resource_version);
        }
        let removing = async { gone(self.slices.delete(&name, &params).await) };
        self.asked(&format!("delete one of the EndpointSlices, {name}"), removing).await
    }
}
