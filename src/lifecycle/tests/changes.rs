//! What a changed configuration does to services that run.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_is_rolled_under_load_without_a_failed_request() {
    let r = Router::new(|_| {});
    let web = r.web(fixtures::policy());
    drop(web.hold(demand()).await.unwrap());
    let load = tokio::spawn({
        let web = web.clone();
        async move {
            let mut uids = std::collections::BTreeSet::new();
            while uids.len() < 2 {
                let lease = match web.try_lease(Use::Counts, None) {
                    Some(lease) => lease,
                    None => web.hold(demand()).await.unwrap().lease,
                };
                uids.insert(lease.replica().uid);
                tokio::net::TcpStream::connect(lease.door(3000).unwrap().address).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
    });
    let new = r.setup(fixtures::spec("web", 1, 2), fixtures::policy(), fixtures::landscape(&[]));
    r.life.configure(vec![new]);
    tokio::time::timeout(PATIENCE, load).await.unwrap().unwrap();
    assert_eq!(r.starts(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_and_added_again_the_new_one_waits_for_the_end_of_the_old() {
    let r = Router::new(|f| f.stop_takes = Duration::from_millis(100));
    let web = r.web(fixtures::policy());
    drop(web.hold(demand()).await.unwrap());
    r.life.configure(vec![]);
    assert!(r.life.get(web.key()).is_none());
    let new = r.web(fixtures::policy());
    drop(new.hold(demand()).await.unwrap());
    assert!(matches!(web.hold(demand()).await, Err(Refusal::Removed)));
    assert_eq!((r.starts(), r.backend.running.lock().len()), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_to_another_backend_a_service_keeps_its_pin_its_counters_and_who_waits() {
    let r = Router::new(|_| {});
    let web = r.web(fixtures::policy());
    let other = Fake::connected(&r.life, |f| f.kind = BackendKind::Docker);
    let on = |backend: &Arc<Fake>| {
        let mut setup = r.setup(fixtures::spec("web", 1, 1), fixtures::policy(), fixtures::landscape(&[]));
        setup.backend = backend.clone();
        r.life.configure(vec![setup]);
    };
    r.handle("web").command(Command::Pin).await.unwrap();
    r.until("web", StateName::Ready).await;
    let lease = web.hold(demand()).await.unwrap();
    // There and back again: each life waits for the end of the one before, and requests with it.
    on(&other);
    until(|| !web.is_ready()).await;
    let waits = tokio::spawn({
        let web = web.clone();
        async move { web.hold(demand()).await }
    });
    until(|| r.handle("web").service().held() == 1).await;
    on(&r.backend);
    assert!(r.backend.running.lock().len() == 1 && other.running.lock().is_empty(), "the first one's request goes on");
    drop(lease);
    let held = waits.await.unwrap().unwrap();
    assert!(held.waited > Duration::ZERO);
    let new = r.handle("web");
    assert!(Arc::ptr_eq(held.lease.service(), new.service()) && !Arc::ptr_eq(new.service(), &web));
    assert!(Arc::ptr_eq(new.service().stats(), web.stats()));
    assert!(new.status().why.contains(&Why::Pinned));
    assert_eq!((r.starts(), r.backend.running.lock().len(), other.running.lock().len()), (2, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_bound_of_the_gate_holds_at_once() {
    let r = Router::new(|f| f.stop_takes = Duration::ZERO);
    let web = r.web(fixtures::policy());
    let tight = policy(|p| (p.hold.max_requests, p.hold.max_bytes) = (2, 150));
    r.web(tight.clone());
    until(|| *web.hold_settings() == tight.hold).await;
    let large = Demand { bytes: 151, ..demand() };
    assert!(matches!(web.hold(large).await, Err(Refusal::Overflow { .. })));
    web.hold(Demand { bytes: 150, ..demand() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_change_while_a_preparation_runs_are_run_instead() {
    let r = Router::new(|_| {});
    let configure = |step: &str| {
        let always = policy(|p| p.mode = Mode::AlwaysOn);
        r.life.configure(vec![r.setup(fixtures::spec("web", 1, 1), always, fixtures::landscape(&[step]))]);
    };
    configure(HANGS);
    until(|| r.backend.jobs.load(SeqCst) == 1).await;
    configure("make install");
    r.until("web", StateName::Ready).await;
    assert_eq!((r.backend.jobs.load(SeqCst), r.backend.jobs_now.load(SeqCst)), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_landscape_s_preparation_ends_before_the_next_one_of_its_name_begins() {
    let r = Router::new(|_| {});
    let always = || policy(|p| p.mode = Mode::AlwaysOn);
    let on = |step: &str| vec![r.setup(fixtures::spec("web", 1, 1), always(), fixtures::landscape(&[step]))];
    r.life.configure(on(HANGS));
    until(|| r.backend.jobs.load(SeqCst) == 1).await;
    r.life.configure(vec![]);
    r.life.configure(on(HANGS));
    until(|| r.backend.jobs.load(SeqCst) == 2).await;
    r.life.configure(vec![]);
    until(|| r.backend.jobs_now.load(SeqCst) == 0).await;
    r.life.configure(on("make"));
    r.until("web", StateName::Ready).await;
    assert_eq!(r.backend.jobs.load(SeqCst), 3);
}
