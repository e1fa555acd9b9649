//! Somebody else sets the number of replicas.

use super::*;

fn key() -> ServiceKey {
    ServiceKey::new("4711", "web")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_scales_is_followed_and_says_so() {
    let r = Router::new(|_| {});
    let web = r.web(fixtures::policy());
    let mut events = r.life.events();
    r.backend.see(&key(), Seen::Scaled(3));
    until(|| web.status().replicas.iter().filter(|r| r.state == ReplicaState::Ready).count() == 3).await;
    let status = serde_json::to_value(web.status()).unwrap();
    assert_eq!((&status["wantedReplicas"], &status["outsideReplicas"]), (&3.into(), &3.into()));
    r.backend.see(&key(), Seen::Scaled(0));
    r.until("web", StateName::Off).await;
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let What::Start { .. } | What::Stop { .. } = event.what {
            told.push(serde_json::to_value(event).unwrap()["cause"].clone());
        }
    }
    assert_eq!(told, ["outside", "outside"]);
    drop(web.hold(demand()).await.unwrap());
    until(|| r.backend.running.lock().len() == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_router_keeps_as_many_as_somebody_else_has_set() {
    let r = Router::new(|f| (f.scaled, f.unreachable) = (Some(3), AtomicUsize::new(1)));
    let spec = Arc::new(fixtures::spec("web", 1, 1));
    for ordinal in 0..3 {
        let id = ReplicaId { ordinal, generation: 7 };
        r.backend.start(&key(), &WantReplica { id, spec: spec.clone(), goal: Goal::Run });
    }
    let web = r.web(policy(|p| p.mode = Mode::AlwaysOn));
    until(|| web.status().replicas.iter().filter(|r| r.state == ReplicaState::Ready).count() == 3).await;
    assert_eq!((r.starts(), web.status().outside_replicas), (3, Some(3)), "none is stopped or started");
    assert_eq!(web.status().why, [Why::AlwaysOn], "nor does anybody wake it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_none_of_them_is_found_a_next_router_wakes_as_many() {
    let r = Router::new(|f| f.scaled = Some(2));
    let web = r.web(fixtures::policy());
    until(|| web.status().replicas.iter().filter(|r| r.state == ReplicaState::Ready).count() == 2).await;
}
