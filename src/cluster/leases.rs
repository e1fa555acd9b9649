//! Leases as the API server has them: one watch of all of ours, and the writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use tokio::sync::mpsc;

use super::core::{Trouble, When, Write};
use super::object::{Content, Item};
use super::view::News;
use crate::backend::kubernetes::{names, trouble};

/// What a Lease of ours says beside its holder.
const NOTE: &str = "landscape-router/cluster";
/// A call without an answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// A watch is asked for anew after so long, in seconds.
const WATCH: u32 = 290;
/// After a failure, the first wait and the longest.
const WAIT: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The Leases of one installation.
#[derive(Clone)]
pub(super) struct Leases {
    api: Api<Lease>,
    instance: Arc<str>,
    /// A failure was told, and nothing has been written since.
    told: Arc<AtomicBool>,
}

impl Leases {
    pub fn new(client: kube::Client, namespace: &str, instance: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), instance: instance.into(), told: Arc::default() }
    }

    /// Tells what there is and every change of it, in their order, until nobody listens.
    pub async fn watch(self, to: mpsc::UnboundedSender<News>) {
        let mut wait = WAIT.0;
        let mut told = false;
        while !to.is_closed() {
            match self.follow(&to, &mut wait).await {
                Ok(()) => told = false,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!("the routers' Leases cannot be watched: {}", trouble::text(&error));
                    }
                    tokio::time::sleep(wait / 2 + wait.mul_f32(fastrand::f32() / 2.0)).await;
                    wait = (wait * 2).min(WAIT.1);
                }
            }
        }
    }

    /// From one list to the end of what the API server tells after it.
    async fn follow(&self, to: &mpsc::UnboundedSender<News>, wait: &mut Duration) -> Result<(), kube::Error> {
        let selector = names::selector(&self.instance);
        let asked = Instant::now();
        let params = ListParams::default().labels(&selector);
        let list = within(self.api.list(&params)).await?;
        let mut version = list.metadata.resource_version.clone().unwrap_or_default();
        let items = list.items.iter().filter_map(item).collect();
        drop(to.send(News::Listed { items, version: number(&version), asked }));
        *wait = WAIT.0;
        loop {
            let params = WatchParams::default().labels(&selector).timeout(WATCH);
            let stream = within(self.api.watch(&params, &version)).await?;
            let mut stream = std::pin::pin!(stream);
            // Our own renewal comes back by it: one that is silent for longer is dead.
            let silence = super::Timing::default().lease;
            loop {
                let event = match tokio::time::timeout(silence, stream.next()).await {
                    Ok(Some(event)) => event?,
                    Ok(None) => break,
                    Err(_) => return Err(late()),
                };
                let news = match event {
                    WatchEvent::Added(lease) | WatchEvent::Modified(lease) => {
                        version = lease.metadata.resource_version.clone().unwrap_or(version);
                        item(&lease).map(News::Changed)
                    }
                    WatchEvent::Deleted(lease) => {
                        version = lease.metadata.resource_version.clone().unwrap_or(version);
                        lease.metadata.name.map(|name| News::Gone { name: name.into(), version: number(&version) })
                    }
                    WatchEvent::Bookmark(mark) => {
                        version = mark.metadata.resource_version;
                        None
                    }
                    WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                    WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
                };
                let Some(news) = news else { continue };
                if to.send(news).is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// Carries a write out; the new version.
    pub async fn write(&self, write: &Write) -> Result<u64, Trouble> {
        match within(self.try_to(write)).await {
            Ok(version) => {
                self.told.store(false, Ordering::Relaxed);
                Ok(version)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Err(Trouble::Conflict),
            Err(error) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(lease = %write.name, "the routers' Leases cannot be written: {}", trouble::text(&error));
                }
                Err(Trouble::Unknown)
            }
        }
    }

    async fn try_to(&self, write: &Write) -> Result<u64, kube::Error> {
        let Some(content) = &write.content else {
            let mut params = DeleteParams::default();
            if let When::Version(version) = write.when {
                params.preconditions = Some(Preconditions { resource_version: Some(version.to_string()), uid: None });
            }
            self.api.delete(&write.name, &params).await?;
            return Ok(0);
        };
        let mut lease = self.lease(&write.name, content);
        let post = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
        let made = match write.when {
            When::Always => {
                let params = PatchParams::apply(names::MANAGER).force();
                self.api.patch(&write.name, &params, &Patch::Apply(&lease)).await?
            }
            When::Absent => self.api.create(&post, &lease).await?,
            When::Version(version) => {
                lease.metadata.resource_version = Some(version.to_string());
                self.api.replace(&write.name, &post, &lease).await?
            }
        };
        Ok(made.metadata.resource_version.as_deref().map(number).unwrap_or_default())
    }

    fn lease(&self, name: &str, content: &Content) -> Lease {
        let note = content.note.clone().map(|note| [(NOTE.to_owned(), note)].into());
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(names::installation_labels(&self.instance)),
                annotations: note,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: content.holder.clone(),
                lease_duration_seconds: i32::try_from(content.duration.as_secs()).ok(),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }

    /// What the Lease of this name says now.
    pub async fn read(&self, name: &str) -> Result<Option<Content>, kube::Error> {
        let lease = within(self.api.get_opt(name)).await?;
        Ok(lease.as_ref().and_then(item).map(|item| item.content))
    }
}

fn item(lease: &Lease) -> Option<Item> {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(15);
    Some(Item {
        name: lease.metadata.name.as_deref()?.into(),
        version: number(lease.metadata.resource_version.as_deref()?),
        content: Content {
            holder: spec.holder_identity,
            duration: Duration::from_secs(seconds),
            note: lease.metadata.annotations.as_ref().and_then(|a| a.get(NOTE)).cloned(),
        },
    })
}

/// A resourceVersion; greater is later.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or_default()
}

/// A call, which is given up when it takes too long.
pub(super) async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(late()))
}

/// No answer in time.
fn late() -> kube::Error {
    kube::Error::Service(Box::new(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time")))
}
