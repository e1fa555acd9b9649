//! What was planned, and what the router makes of it.

use super::rig::{Rig, ci, service};
use crate::support::Router;

#[test]
fn a_running_router_leaves_nothing_to_plan() {
    let rig = Rig::new("", &ci(&[service("web", 1, "/", ""), service("api", 2, "/api", "")]));
    let router = Router::start(&rig.site);
    let config = rig.site.path().join("router.yaml").display().to_string();
    rig.eventually("a plan without changes", &router, || {
        let output = router.cli(&rig.site, &["plan", "--config", &config]);
        output.status.success() && String::from_utf8_lossy(&output.stdout).ends_with(": no changes\n")
    });
    assert_eq!(router.shop("/").status, 200, "{}", router.log());
    let awake = router.cli(&rig.site, &["plan", "--config", &config]);
    assert!(String::from_utf8_lossy(&awake.stdout).ends_with(": no changes\n"), "{awake:?}");
}
