//! A panic ends its request and nothing else.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use http::Request;
use tokio::runtime::{Builder, LocalOptions};

use super::support::*;
use crate::lifecycle::Use;
use crate::listen::{Client as Connection, Clock};
use crate::observe::{AccessLog, RouterStats};
use crate::proxy::local::Local;
use crate::proxy::service::guarded;
use crate::proxy::usage::Usage;
use crate::proxy::{Shared, Targets};

#[test]
fn a_panic_is_a_500_and_gives_the_lease_back() {
    let router = Router::new(Setup::default());
    let replica = router.ready(&[router.address]).remove(0);
    let stats = Arc::new(RouterStats::default());
    let shared = Shared {
        stats: stats.clone(),
        log: AccessLog::off(),
        targets: Targets::new(router.control().clone(), rustls::RootCertStore::empty()).unwrap(),
    };
    let local = Local::new(shared, router.current());
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
    let answer = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let peer = stream.peer_addr().unwrap();
        let client = Rc::new(Connection::new(stream, peer, 0, Rc::new(Clock::new()), stats.clone()));
        let mut usage = Usage::begin(&local, &client, &Request::new(()));
        usage.lease(router.service.try_lease(Use::Counts, None).unwrap());
        assert_eq!(replica.word.in_flight(), 1);
        guarded(client, async move {
            let _held = usage;
            tokio::task::yield_now().await;
            panic!("as asked for");
        })
        .await
    });
    assert_eq!((answer.status().as_u16(), answer.headers()["x-landscape-error"].as_bytes()), (500, &b"internal"[..]));
    assert_eq!(replica.word.in_flight(), 0);
    assert_eq!(stats.unrouted.requests_by_code(), [(500, 1)]);
}
