//! What objects in the cluster are called, and what marks them as ours.
//!
//! A name is a function of what it names, so that a restart without memory finds the same object. Where
//! the text alone could be another's as well (`a-b`/`c` and `a`/`b-c`), was too long, or held what names
//! may not hold, a digest of the exact text follows. Labels find objects; annotations say the exact names.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::backend::Stage;
use crate::landscape::{RunDigest, ServiceKey};

/// Who writes fields by server-side apply.
pub const MANAGER: &str = "landscape-router";

/// Label: the program, as Kubernetes recommends.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label: the installation; `kubernetes.instance` of router.yaml.
pub const INSTANCE: &str = "landscape-router/instance";
/// Label, and annotation with the exact id.
pub const LANDSCAPE: &str = "landscape-router/landscape";
/// Label, and annotation with the exact name.
pub const SERVICE: &str = "landscape-router/service";
/// Label of pods: the [`RunDigest`] of what they run.
pub const DIGEST: &str = "landscape-router/digest";
/// Label of pods of jobs: `prepare` or `test`.
pub const JOB: &str = "landscape-router/job";
/// Annotation of pods: which replica of ours one is, `<ordinal>.<generation>`.
pub const REPLICA: &str = "landscape-router/replica";
/// Annotation of Deployments: a digest of the pod template as it was wanted, to tell whether it still is.
pub const TEMPLATE: &str = "landscape-router/template";
/// Annotation of a landscape's ConfigMap: a digest of the `prepare` steps that have been run.
pub const PREPARED: &str = "landscape-router/prepared";
/// Annotation of NetworkPolicies: where the router's traffic comes from.
pub const CALLERS: &str = "landscape-router/callers";

/// What the router's own pods are labelled with, by name.
pub const ROUTER: (&str, &str) = ("app.kubernetes.io/name", "landscape-router");

/// Room for what Kubernetes appends to the names of what it makes of an object; and a name that is no
/// longer than this is good for every kind of object.
const LONGEST_NAME: usize = 59;
const LONGEST_LABEL: usize = 63;
/// Of a kind whose names become nothing else's.
const LONGEST_SUBDOMAIN: usize = 253;
const DIGITS: usize = 10;

/// The Deployment and the Secret of a service.
pub fn workload(key: &ServiceKey) -> String {
    let text = format!("ws-server-{}-{}", key.landscape, key.service);
    // With no hyphen in the landscape's id the first one ends it; and no name of a service imitates a digest.
    let is_unique = !key.landscape.contains('-') && !ends_in_digits(&key.service);
    named(&text, &key.to_string(), is_unique)
}

/// The ConfigMap and the NetworkPolicy of a landscape.
pub fn landscape(id: &str) -> String {
    named(&format!("ws-{id}"), id, true)
}

/// The Secret that images of a landscape are pulled with.
pub fn pull_secret(id: &str) -> String {
    named(&format!("ws-pull-{id}"), id, true)
}

/// The pod of a job; `run` tells one run from others: a few letters and digits.
pub fn job(id: &str, stage: Stage, run: &str) -> String {
    let stage = match stage {
        Stage::Prepare => "prepare",
        Stage::Test => "test",
    };
    named(&format!("ws-job-{id}-{stage}-{run}"), &format!("{id}/{stage}/{run}"), true)
}

/// One router's EndpointSlice of a Service; `family` is `ipv4` or `ipv6`.
pub fn slice(service: &str, family: &str, router: &str) -> String {
    let text = format!("{service}-{family}-{router}");
    fitted(&text, &text, LONGEST_SUBDOMAIN, is_plain)
}

/// What marks everything of an installation.
pub fn installation_labels(instance: &str) -> BTreeMap<String, String> {
    [(MANAGED_BY, MANAGER), (INSTANCE, instance)].map(|(k, v)| (k.to_owned(), label_value(v))).into()
}

/// What marks everything of a landscape.
pub fn landscape_labels(instance: &str, id: &str) -> BTreeMap<String, String> {
    let mut labels = installation_labels(instance);
    labels.insert(LANDSCAPE.into(), label_value(id));
    labels
}

/// What marks everything of a service; a Deployment selects its pods by it.
pub fn labels(instance: &str, key: &ServiceKey) -> BTreeMap<String, String> {
    let mut labels = landscape_labels(instance, &key.landscape);
    labels.insert(SERVICE.into(), label_value(&key.service));
    labels
}

/// What marks the pods of a service that run a certain specification.
pub fn pod_labels(instance: &str, key: &ServiceKey, digest: &RunDigest) -> BTreeMap<String, String> {
    let mut labels = labels(instance, key);
    labels.insert(DIGEST.into(), label_value(&digest.0));
    labels
}

/// The selector that finds everything of an installation, for list and watch.
pub fn selector(instance: &str) -> String {
    in_words(&installation_labels(instance)).join(",")
}

/// Labels as people and selectors write them: `key=value`.
pub fn in_words(labels: &BTreeMap<String, String>) -> Vec<String> {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// Whether an object with these labels is this installation's.
pub fn is_ours(instance: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
    carries(labels, &installation_labels(instance))
}

/// Whether all of `wanted` is among what an object has, of labels or of annotations.
pub fn carries(has: Option<&BTreeMap<String, String>>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| has.is_some_and(|has| has.get(key) == Some(value)))
}

/// The exact names of a service.
pub fn annotations(key: &ServiceKey) -> BTreeMap<String, String> {
    [(LANDSCAPE, &key.landscape), (SERVICE, &key.service)].map(|(k, v)| (k.to_owned(), v.to_string())).into()
}

/// The service that an object's annotations name.
pub fn service_of(annotations: &BTreeMap<String, String>) -> Option<ServiceKey> {
    Some(ServiceKey::new(annotations.get(LANDSCAPE)?.as_str(), annotations.get(SERVICE)?.as_str()))
}

/// A text as a label's value: itself if it can be one.
pub fn label_value(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    fitted(text, text, LONGEST_LABEL, plain)
}

/// The key of a variable's value in a Secret.
pub fn secret_key(variable: &str) -> String {
    const LONGEST_KEY: usize = 253;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !variable.is_empty()
        && variable.len() <= LONGEST_KEY
        && variable.chars().all(plain)
        && !variable.starts_with("..")
        && variable != "."
    {
        return variable.to_owned();
    }
    let kept: String = variable
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(LONGEST_KEY - DIGITS - 2)
        .collect();
    format!("v{kept}-{}", digits(variable))
}

/// A name that is unique as `text` if `is_unique` says so; else, or where it cannot stay as it is, with a
/// digest of `exact`.
fn named(text: &str, exact: &str, is_unique: bool) -> String {
    if is_unique {
        return fitted(text, exact, LONGEST_NAME, is_plain);
    }
    digested(text, exact, LONGEST_NAME, is_plain)
}

/// What every name may consist of.
fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn fitted(text: &str, exact: &str, longest: usize, plain: impl Fn(char) -> bool + Copy) -> String {
    let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let fits = text.len() <= longest
        && text.chars().all(plain)
        && ends_well(text.chars().next())
        && ends_well(text.chars().next_back());
    if fits { text.to_owned() } else { digested(text, exact, longest, plain) }
}

fn digested(text: &str, exact: &str, longest: usize, plain: impl Fn(char) -> bool) -> String {
    let kept: String = text
        .chars()
        .map(|c| {
            if plain(c) {
                c
            } else if plain(c.to_ascii_lowercase()) {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(longest - DIGITS - 1)
        .collect();
    let kept = kept.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{}{}", if kept.is_empty() { "x-".into() } else { format!("{kept}-") }, digits(exact))
}

/// Whether a service's name looks as if a digest followed it.
fn ends_in_digits(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, last)| {
        last.len() == DIGITS && last.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn digits(text: &str) -> String {
    let sum = Sha256::digest(text.as_bytes());
    sum.iter().take(DIGITS / 2).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(landscape: &str, service: &str) -> String {
        workload(&ServiceKey::new(landscape, service))
    }

    #[test]
    fn plain_names_stay_as_they_are() {
        assert_eq!(name("4711", "web"), "ws-server-4711-web");
        assert_eq!(name("4711", "my-web"), "ws-server-4711-my-web");
        assert_eq!(landscape("4711"), "ws-4711");
        assert_eq!(landscape("my-shop"), "ws-my-shop");
        assert_eq!(pull_secret("4711"), "ws-pull-4711");
        assert_eq!(job("4711", Stage::Test, "x1"), "ws-job-4711-test-x1");
    }

    #[test]
    fn what_could_be_two_has_a_digest() {
        assert_ne!(name("a-b", "c"), name("a", "b-c"));
        assert_eq!(name("a", "b-c"), "ws-server-a-b-c");
        assert_eq!(name("a-b", "c"), "ws-server-a-b-c-4e84717d75");
        // A service that is called like it.
        assert_ne!(name("a", "b-c-4e84717d75"), name("a-b", "c"));
        assert_ne!(name("A", "web"), name("a", "web"));
        assert_ne!(name("4711", "DP default DB"), name("4711", "dp-default-db"));
        assert!(name("4711", "DP default DB").starts_with("ws-server-4711-dp-default-db-"));
    }

    #[test]
    fn the_longest_are_cut_and_told_apart() {
        let (id, service) = ("a".repeat(42), "b".repeat(31));
        let (one, other) = (name(&id, &format!("{service}1")), name(&id, &format!("{service}2")));
        assert_eq!((one.len(), other.len()), (59, 59));
        assert_ne!(one, other);
        assert!(landscape(&id).len() <= 63 && job(&id, Stage::Prepare, "x1y2z3").len() <= 63);
    }

    #[test]
    fn labels_hold_what_they_can() {
        let marked = labels("prod.1", &ServiceKey::new("4711", "web"));
        let expected = [(MANAGED_BY, "landscape-router"), (INSTANCE, "prod.1"), (LANDSCAPE, "4711"), (SERVICE, "web")];
        assert_eq!(marked, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(
            selector("prod.1"),
            "app.kubernetes.io/managed-by=landscape-router,landscape-router/instance=prod.1"
        );
        let odd = ServiceKey::new("4711", "DP default DB");
        assert_ne!(label_value(&odd.service), label_value("DP-default-DB"));
        assert_eq!(service_of(&annotations(&odd)), Some(odd));
        assert_eq!(service_of(&BTreeMap::new()), None);
    }

    #[test]
    fn keys_of_secrets_are_file_names() {
        for name in ["PASS", "my.dotted-name", "_x", ".hidden"] {
            assert_eq!(secret_key(name), name);
        }
        for name in ["a b", "", ".", "..", "..data", "ä", &"x".repeat(300)] {
            let key = secret_key(name);
            assert!(key.starts_with('v') && key.len() <= 253 && key != name, "{key}");
        }
        assert_ne!(secret_key("a b"), secret_key("a_b"));
    }

    proptest! {
        #[test]
        fn names_and_values_are_valid(landscape in ".{0,80}", service in ".{0,80}") {
            let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            for name in [name(&landscape, &service), super::landscape(&landscape), pull_secret(&landscape), job(&landscape, Stage::Test, &service)] {
                prop_assert!(!name.is_empty() && name.len() <= 63, "{}", name);
                prop_assert!(name.chars().all(|c| dns(c) || c == '-'), "{}", name);
                prop_assert!(name.starts_with(dns) && name.ends_with(dns), "{}", name);
            }
            let value = label_value(&service);
            let plain = |c: char| c.is_ascii_alphanumeric();
            prop_assert!(value.len() <= 63 && value.starts_with(plain) && value.ends_with(plain), "{}", value);
            prop_assert!(value.chars().all(|c| plain(c) || matches!(c, '-' | '_' | '.')), "{}", value);
        }

        #[test]
        fn no_two_services_have_one_name(
            (a, b) in ("[ab0-]{1,5}", "[ab0-]{1,5}"),
            (c, d) in ("[ab0-]{1,5}", "[ab0-]{1,5}"),
        ) {
            prop_assert_eq!(name(&a, &b) == name(&c, &d), (a, b) == (c, d));
        }
    }
}
