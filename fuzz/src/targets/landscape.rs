//! An installation for what reads a ci.yml.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use landscape_router::landscape::{Allowances, Context, Home, LandscapeSpec, Plan, Plans, TargetGuard, Vault, load};
use landscape_router::yaml::{Mistake, Severity};

/// The only secret there is.
pub const SECRET: &str = "kx9-never-to-be-seen-q7";

/// Reads a ci.yml as the router does.
///
/// # Panics
/// When what comes back contradicts itself: a landscape beside an error, neither of both, or a mistake
/// that shows a secret.
pub fn read(bytes: &[u8]) -> Option<LandscapeSpec> {
    let home = Arc::new(Home::new("4711", "7", "localhost", PathBuf::from("/srv/landscape")));
    let env = BTreeMap::from([("KEY".to_owned(), "value".to_owned())]);
    let vault = Vault::new([("TOKEN", SECRET), ("name", SECRET)]);
    let plan = Plan { id: "default".into(), cpu: 1.0, memory: 1 << 30, max_replicas: 10 };
    let plans = Plans { by_id: BTreeMap::new(), default: Some(plan) };
    let context = Context {
        home: &home,
        env: &env,
        vault: &vault,
        plans: &plans,
        targets: &TargetGuard::new([].into(), [], None, []),
        allowances: &|_| Allowances::default(),
    };
    let (spec, mistakes) = load(Arc::new(PathBuf::from("ci.yml")), bytes, &context);
    let refused = mistakes.iter().any(|mistake| mistake.severity == Severity::Error);
    assert_ne!(spec.is_some(), refused, "a landscape or an error, not both and not neither");
    for mistake in &mistakes {
        check(mistake);
    }
    assert!(!format!("{spec:?}").contains(SECRET), "a secret is shown by Debug");
    spec
}

/// A mistake names a place in the file and shows no secret.
pub fn check(mistake: &Mistake) {
    let text = format!("{mistake} {:?}", mistake.excerpt);
    assert!(!text.contains(SECRET), "a secret is shown: {text}");
    assert!(!mistake.message.is_empty(), "a mistake without words");
}
