//! Connections to headless targets: names resolved off the data threads, TLS with the target's name.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::upstream::{self, Stream};
use crate::backend::Door;
use crate::landscape::{TargetGuard, TargetRefusal, TargetUrl};

/// An answer of the resolver is used for so long; it tells no lifetime.
const RESOLVED_FOR: Duration = Duration::from_secs(5);
/// Names resolved at a time: each takes a thread while it lasts.
const AT_A_TIME: usize = 16;
/// Names remembered.
const MOST: usize = 1024;

/// What connections to targets need; one a process.
#[derive(Clone)]
pub struct Targets(Arc<Inner>);

struct Inner {
    control: Handle,
    tls: TlsConnector,
    turns: Arc<Semaphore>,
    known: Mutex<HashMap<(Arc<str>, u16), Resolved>>,
}

/// When, and what.
type Resolved = (Instant, Arc<[SocketAddr]>);

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Targets")
    }
}

/// Why there is no connection to a target.
#[derive(Debug, thiserror::Error)]
pub(super) enum TargetError {
    #[error("the name has no address: {0}")]
    Unresolved(io::Error),
    #[error("{address} is {why}: {}", why.remedy())]
    Refused { address: IpAddr, why: TargetRefusal },
    #[error("{0}")]
    Connect(io::Error),
}

impl Targets {
    /// Resolves names on `control`'s blocking threads and trusts the certificate authorities in
    /// `roots`.
    pub fn new(control: Handle, roots: rustls::RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(Inner {
            control,
            tls: TlsConnector::from(Arc::new(config)),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            known: Mutex::default(),
        })))
    }

    /// Trusts what this machine trusts. Reads files: for start-up.
    pub fn with_native_roots(control: Handle) -> Result<Self, rustls::Error> {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!("a trusted certificate cannot be read: {error}");
        }
        let mut roots = rustls::RootCertStore::empty();
        let (_, unusable) = roots.add_parsable_certificates(found.certs);
        if unusable > 0 {
            tracing::debug!(unusable, "some of this machine's trusted certificates cannot be used");
        }
        if roots.is_empty() {
            tracing::warn!(
                "this machine trusts no certificate authority: https targets will fail; install ca-certificates"
            );
        }
        Self::new(control, roots)
    }

    /// A connection to a target, within `limit`.
    pub(super) async fn connect(
        &self,
        target: &TargetUrl,
        guard: &TargetGuard,
        limit: Duration,
    ) -> Result<Stream, TargetError> {
        let timed_out = |_| TargetError::Connect(io::ErrorKind::TimedOut.into());
        tokio::time::timeout(limit, self.open(target, guard, limit)).await.map_err(timed_out)?
    }

    async fn open(&self, target: &TargetUrl, guard: &TargetGuard, limit: Duration) -> Result<Stream, TargetError> {
        let addresses = self.resolve(target).await.map_err(TargetError::Unresolved)?;
        let mut failure = TargetError::Unresolved(io::ErrorKind::NotFound.into());
        for &address in addresses.iter() {
            if let Err(why) = guard.judge(address) {
                failure = TargetError::Refused { address: address.ip(), why };
                continue;
            }
            match upstream::connect(&Door::at(address), limit).await {
                Ok(stream) if target.tls => {
                    let name = ServerName::try_from(target.host.to_string())
                        .map_err(|e| TargetError::Connect(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
                    let stream = self.0.tls.connect(name, stream).await.map_err(TargetError::Connect)?;
                    return Ok(Stream::Tls(Box::new(stream)));
                }
                Ok(stream) => return Ok(Stream::Plain(stream.into())),
                Err(e) => failure = TargetError::Connect(e),
            }
        }
        // The resolver's answer may be what is wrong.
        self.0.known.lock().remove(&(target.host.clone(), target.port));
        Err(failure)
    }

    async fn resolve(&self, target: &TargetUrl) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(ip) = target.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(ip, target.port)].into());
        }
        let key = (target.host.clone(), target.port);
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let turn = self.0.turns.clone().acquire_owned().await.map_err(io::Error::other)?;
        // Whoever had the turn before may have asked the same.
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let (host, port) = key.clone();
        let asked = self.0.control.spawn(async move {
            // The turn is given back when the resolver is done, not when the asker stops waiting.
            let _turn = turn;
            let found: Vec<SocketAddr> = tokio::net::lookup_host((&*host, port)).await?.collect();
            io::Result::Ok(found)
        });
        let found: Arc<[SocketAddr]> = asked.await.map_err(io::Error::other)??.into();
        let mut known = self.0.known.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, (Instant::now(), found.clone()));
        Ok(found)
    }

    fn known(&self, key: &(Arc<str>, u16)) -> Option<Arc<[SocketAddr]>> {
        let known = self.0.known.lock();
        let (at, addresses) = known.get(key)?;
        (at.elapsed() < RESOLVED_FOR).then(|| addresses.clone())
    }
}
