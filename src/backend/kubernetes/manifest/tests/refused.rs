//! What no cluster runs is told with its remedy.

use super::*;
use crate::landscape::{Value as Text, Workload};

#[track_caller]
fn refused(spec: &ServiceSpec, settings: &KubernetesSettings, words: &str) {
    let why = runnable(spec, settings).unwrap_err();
    assert!(why.contains(words), "{why}");
    assert_eq!(deployment(spec, place(settings), 1, false, GRACE).unwrap_err(), why);
}

#[test]
fn what_is_missing_is_named() {
    let bare = KubernetesSettings { base: None, claim: None, ..settings() };
    let based = KubernetesSettings { claim: None, ..settings() };
    refused(&web("steps: [{command: x}]"), &bare, "`kubernetes.base`");
    refused(&web("steps: [{command: x}]"), &based, "`kubernetes.claim`");
    refused(&web("image: nginx\nvolumeMounts: [{workspacePath: ., mountPath: /a}]"), &based, "`kubernetes.claim`");
    assert_eq!(runnable(&web("image: nginx"), &bare), Ok(()));
    assert_eq!(runnable(&web("steps: [{command: x}]"), &settings()), Ok(()));
}

#[test]
fn root_needs_consent() {
    let root = web("image: nginx\nrunAsUser: 0");
    refused(&root, &settings(), "`kubernetes.allowRoot: true`");
    assert_eq!(runnable(&root, &KubernetesSettings { allow_root: true, ..settings() }), Ok(()));
}

#[test]
fn what_a_cluster_would_show_or_refuse() {
    let mut spec = web("image: nginx");
    spec.workload = Workload::Container { image: Text::secret("nginx:hunter2"), command: None };
    refused(&spec, &settings(), "a value from the vault");
    assert!(!runnable(&spec, &settings()).unwrap_err().contains("hunter2"));
    refused(&web("image: nginx\nvolumeMounts: [{workspacePath: ., mountPath: '/a:b'}]"), &settings(), "/a:b");
    refused(&web("image: nginx\nenv: {Ä: x}"), &settings(), "ASCII");
    refused(&web("network: {paths: [{path: /, target: 'http://a.example'}]}"), &settings(), "nothing to run");
}
