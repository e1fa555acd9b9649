//! Who calls a service over the private network, and how much.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::cell::{Counter, Gauge, Moment};

/// The name of what has none here: a caller that is no service of the landscape, and in metrics the landscape and
/// service of requests that no service was found for. No service's name can be so.
pub const NOBODY: &str = "-";

/// The callers of one service. As many as there are services in its landscape, and one for those that
/// nobody can name.
#[derive(Debug, Default)]
pub struct Calls(Mutex<BTreeMap<Arc<str>, Arc<Caller>>>);

/// One of them.
#[derive(Debug, Default)]
pub struct Caller {
    /// Connections that began.
    pub connections: Counter,
    /// Connections that are open.
    pub open: Gauge,
    /// HTTP requests that ended.
    pub requests: Counter,
    /// Bytes from the caller to the service.
    pub received: Counter,
    /// Bytes from the service to the caller.
    pub sent: Counter,
    last: Moment,
}

/// What is known of a caller, for people.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallerView {
    /// The calling service; [`NOBODY`] where it is none of the landscape's.
    pub service: Arc<str>,
    /// Connections so far.
    pub connections: u64,
    /// HTTP requests so far.
    pub requests: u64,
    /// When it last called, in milliseconds of the wall clock since 1970.
    pub last_unix_ms: Option<u64>,
}

impl Calls {
    /// The caller of this name. Asked once a connection.
    pub fn of(&self, caller: &str) -> Arc<Caller> {
        let mut all = self.0.lock();
        match all.get(caller) {
            Some(known) => known.clone(),
            None => all.entry(caller.into()).or_default().clone(),
        }
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<(Arc<str>, Arc<Caller>)> {
        self.0.lock().iter().map(|(name, caller)| (name.clone(), caller.clone())).collect()
    }

    /// All of them, for people.
    pub fn view(&self) -> Vec<CallerView> {
        let view = |(service, c): (Arc<str>, Arc<Caller>)| CallerView {
            service,
            connections: c.connections.get(),
            requests: c.requests.get(),
            last_unix_ms: c.last.get().map(|at| at.as_millis() as u64),
        };
        self.all().into_iter().map(view).collect()
    }
}

impl Caller {
    /// A connection begins; it has ended when what is returned is dropped.
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.connections.inc();
        self.open.inc();
        self.called();
        Connected(self.clone())
    }

    /// It called just now.
    pub fn called(&self) {
        self.last.set(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO));
    }
}

/// An open connection of a caller.
#[derive(Debug)]
pub struct Connected(Arc<Caller>);

impl std::ops::Deref for Connected {
    type Target = Caller;
    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart_and_their_connections_end() {
        let calls = Calls::default();
        let one = calls.of("web").connected();
        let _two = calls.of("api").connected();
        one.received.add(5);
        drop(one);
        let web = calls.of("web");
        assert_eq!((web.connections.get(), web.open.get(), web.received.get()), (1, 0, 5));
        let names: Vec<_> = calls.view().into_iter().map(|v| v.service).collect();
        assert_eq!(names, ["api".into(), "web".into()] as [Arc<str>; 2]);
        assert!(calls.view().iter().all(|v| v.last_unix_ms.is_some()));
    }
}
