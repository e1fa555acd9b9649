//! Environment, templates, secrets, plans, users and mounts.

use super::{Installation, clean, judged, one_mistake, refused, service, warned};
use crate::landscape::{Mount, PathTarget, Plans, Vault, Workload};
use crate::yaml::Severity;

const RUNS: &str = "    steps: [{command: x}]\n";

fn web(lines: &str) -> String {
    format!("schemaVersion: v0.4\nrun:\n  web:\n{RUNS}{lines}\n")
}

#[test]
fn a_template_where_none_expands_is_told_as_such() {
    for lines in [
        "    plan: '${{ workspace.env.PLAN }}'",
        "    replicas: ${{ workspace.env.N }}",
        "    healthEndpoint: http://localhost:${{ workspace.env.P }}/",
        "    network: {ports: [{port: '${{ workspace.env.P }}'}]}",
        "    network: {path: '/${{ workspace.id }}'}",
    ] {
        let text = format!("schemaVersion: v0.4\nrun:\n  web:\n    steps: [{{command: x}}]\n{lines}\n");
        let mistakes = refused(&text);
        assert!(mistakes.len() == 1 && mistakes[0].message.contains("templates do not expand here"), "{mistakes:?}");
    }
}

#[test]
fn env_values_become_strings_as_written() {
    let s = service(&format!(
        "{RUNS}    env:\n      A: 5432\n      B: true\n      C: ''\n      D:\n      my.dotted-name: x\n      E: 1.10\n      F: \"{{{{ team.id }}}}\"\n      G: |\n        a\n        b\n"
    ));
    let get = |name: &str| s.env[name].text.to_string();
    assert_eq!([get("A"), get("B"), get("C"), get("D")], ["5432", "true", "", ""]);
    assert_eq!([get("my.dotted-name"), get("E"), get("F")], ["x", "1.10", "{{ team.id }}"]);
    assert_eq!(get("G"), "a\nb\n");
    assert!(s.env.values().all(|v| !v.secret));
    assert!(service(&format!("{RUNS}    env: {{}}")).env.is_empty());
    assert!(service(&format!("{RUNS}    env:")).env.is_empty());
}

#[test]
fn templates_expand_in_env_image_and_target() {
    let spec = clean(
        "schemaVersion: v0.4
run:
  web:
    image: registry.example/app:${{ workspace.env.VERSION }}
    env:
      URL: https://${{ workspace.devDomain }}/?w=${{workspace.id}}&t=${{ team['id'] }}
      FOLDED: >-
        a ${{
          workspace.env['VERSION']
        }} b
  ext:
    network: {paths: [{path: /x, target: \"https://${{ vault.HOST }}/w/${{ workspace.id }}\"}]}
",
    );
    let web = &spec.services["web"];
    let Workload::Container { image, .. } = &web.workload else { panic!() };
    assert_eq!(&*image.text, "registry.example/app:1.2");
    assert_eq!(&*web.env["URL"].text, "https://4711.localhost/?w=4711&t=7");
    assert_eq!(&*web.env["FOLDED"].text, "a 1.2 b");
    let PathTarget::Url(url) = &spec.services["ext"].paths[0].to else { panic!() };
    assert_eq!((&*url.host, &*url.base_path, url.secret), ("db.example", "/w/4711", true));
}

#[test]
fn commands_do_not_expand() {
    let spec = clean(
        "schemaVersion: v0.4
prepare: {steps: [{command: 'echo ${{ vault.PASS }}'}]}
run:
  web:
    image: nginx
    command: ['${{ workspace.id }}']
  app:
    steps: [{command: 'echo ${{ nope }}'}]
",
    );
    assert_eq!(spec.prepare[0].command, "echo ${{ vault.PASS }}");
    let Workload::Container { command, .. } = &spec.services["web"].workload else { panic!() };
    assert_eq!(command.as_deref(), Some(&["${{ workspace.id }}".to_owned()][..]));
}

#[test]
fn a_secret_reaches_who_names_it_and_is_not_shown() {
    let spec = clean(
        "schemaVersion: v0.4
run:
  one:
    steps: [{command: x}]
    env: {URL: \"pg://u:${{ vault['PASS'] }}@db\", PLAIN: x}
  two:
    steps: [{command: x}]
",
    );
    let url = &spec.services["one"].env["URL"];
    assert_eq!((&*url.text, url.secret), ("pg://u:hunter2@db", true));
    assert!(!spec.services["one"].env["PLAIN"].secret);
    assert!(spec.services["two"].env.is_empty());
    assert!(!format!("{spec:?}").contains("hunter2"));
}

#[test]
fn a_value_that_looks_like_a_template_is_not_expanded_again() {
    let s = service(&format!("{RUNS}    env: {{A: \"${{{{ vault['with space'] }}}}\"}}"));
    assert_eq!(&*s.env["A"].text, "${{ team.id }}");
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let text = web("    env:\n      A: x ${{ vault.PASSS }} y");
    one_mistake(&text, Severity::Error, (6, 10), &["run.web.env.A", "`vault['PASSS']`", "did you mean `PASS`?"]);
    let text = web("    env:\n      A: ${{ workspace.env.OTHER }}");
    one_mistake(&text, Severity::Error, (6, 10), &["`workspace.env['OTHER']`", "add the name to `env`"]);
    let text = web("    env:\n      A: ${{ workspace.ID }}");
    one_mistake(
        &text,
        Severity::Error,
        (6, 10),
        &["unknown template key `workspace.ID`", "did you mean `workspace.id`?"],
    );
    let text = web("    env:\n      A: ${{ vault.PASS");
    one_mistake(&text, Severity::Error, (6, 10), &["cannot be read"]);
}

#[test]
fn what_only_an_installation_knows_is_a_note() {
    let notes = judged(&web(
        "    plan: 8\n    runAsUser: 0\n    env: {A: '${{ vault.X }}', B: '${{ workspace.env.Y }}'}\n    network: {ports: [{port: 80}, {port: 443}]}",
    ));
    assert_eq!(notes.len(), 5, "{notes:#?}");
    assert!(notes.iter().all(|n| n.contains(": note: ")), "{notes:#?}");
    for words in ["plan 8", "uid 0", "vault['X']", "workspace.env['Y']", "80, 443"] {
        assert!(notes.iter().any(|n| n.contains(words)), "{words}: {notes:#?}");
    }
}

#[test]
fn an_image_is_checked_again_when_it_is_expanded() {
    let mut here = Installation::default();
    here.env.insert("TAG".into(), "not a tag".into());
    here.vault = Vault::new([("TAG", "s3cret tag")]);
    let image = |key: &str| format!("schemaVersion: v0.4\nrun:\n  web:\n    image: nginx:${{{{ {key} }}}}\n");
    let (spec, mistakes) = here.load(&image("workspace.env.TAG"));
    assert!(spec.is_none());
    assert!(mistakes[0].to_string().contains("found `nginx:not a tag`"), "{}", mistakes[0]);
    let (spec, mistakes) = here.load(&image("vault.TAG"));
    assert!(spec.is_none());
    assert!(!format!("{mistakes:?}").contains("s3cret"));
    assert!(mistakes[0].message.contains("a secret"));
}

#[test]
fn a_target_is_checked_again_when_it_is_expanded() {
    let mut here = Installation::default();
    let text = "schemaVersion: v0.4\nrun:\n  ext:\n    network: {paths: [{path: /, target: \"http://${{ workspace.env.H }}/\"}]}\n";
    for (host, words) in [
        ("169.254.169.254", "metadata"),
        ("127.0.0.1:9090", "admin"),
        ("localhost", "loopback"),
        ("u:p@a", "password"),
        ("a b", "white space"),
    ] {
        here.env.insert("H".into(), host.into());
        let (spec, mistakes) = here.load(text);
        assert!(spec.is_none(), "{host}");
        assert!(mistakes[0].to_string().contains(words), "{host}: {}", mistakes[0]);
        assert_eq!((mistakes[0].place.line, &*mistakes[0].field), (4, "run.ext.network.paths[0].target"));
    }
    here.env.insert("H".into(), "127.0.0.1:3001".into());
    here.allow = vec!["127.0.0.0/8".parse().unwrap()];
    assert!(here.load(text).0.is_some());
}

#[test]
fn what_expands_is_bounded() {
    let here = Installation { vault: Vault::new([("BIG", "x".repeat(100 << 10))]), ..Installation::default() };
    let once = web("    env: {A: '${{ vault.BIG }}'}");
    assert!(here.load(&once).0.is_some());
    let twice = web("    env: {A: '${{ vault.BIG }}${{ vault.BIG }}'}");
    assert!(here.load(&twice).1[0].message.contains("when expanded"));
    let many: Vec<_> = (0..50).map(|i| format!("A{i}: '${{{{ vault.BIG }}}}'")).collect();
    assert!(here.load(&web(&format!("    env: {{{}}}", many.join(", ")))).0.is_none());
}

#[test]
fn a_team_that_is_not_configured_is_warned_of() {
    let here = Installation { team: "", ..Installation::default() };
    let (spec, mistakes) = here.load(&web("    env: {A: 'a${{ team.id }}b'}"));
    assert_eq!(&*spec.unwrap().services["web"].env["A"].text, "ab");
    assert_eq!(mistakes[0].severity, Severity::Warning);
}

#[test]
fn plans_give_shares_and_bound_replicas() {
    let s = service(&format!("{RUNS}    plan: 8\n    replicas: 3"));
    assert_eq!((&*s.plan.id, s.replicas), ("8", 3));
    one_mistake(
        &web("    plan: 8\n    replicas: 4"),
        Severity::Error,
        (6, 15),
        &["plan 8 has at most 3 replicas, found 4"],
    );
    one_mistake(&web("    replicas: 0"), Severity::Error, (5, 15), &["from 1 to"]);
    one_mistake(&web("    plan: small"), Severity::Error, (5, 11), &["whole number"]);
    one_mistake(&web("    plan: 77"), Severity::Warning, (5, 11), &["plan 77 is unknown; the default plan is taken"]);
    let (spec, _) = warned(&web("    plan: 77\n    replicas: 10"));
    assert_eq!((&*spec.services["web"].plan.id, spec.services["web"].replicas), ("default", 10));
}

#[test]
fn without_a_default_plan_an_unknown_one_is_refused() {
    let mut here = Installation::default();
    here.plans = Plans { default: None, ..here.plans };
    assert!(here.load(&web("    plan: 8")).0.is_some());
    for lines in ["    plan: 77", ""] {
        let (spec, mistakes) = here.load(&web(lines));
        assert!(spec.is_none());
        assert!(mistakes[0].to_string().contains("no default plan"), "{}", mistakes[0]);
    }
}

#[test]
fn root_needs_the_operators_consent() {
    one_mistake(&web("    runAsUser: 0"), Severity::Error, (5, 16), &["run.web.runAsUser", "consent"]);
    let mut here = Installation::default();
    here.allowances.root = true;
    let (spec, _) = here.load(&web("    runAsUser: 0\n    runAsGroup: 0"));
    let web_spec = spec.unwrap().services["web"].clone();
    assert_eq!((web_spec.user, web_spec.group), (Some(0), Some(0)));
    assert!(refused(&web("    runAsUser: -1"))[0].message.contains("from 0"));
}

#[test]
fn mounts_are_normalised_in_both_spellings() {
    let mount = |w: &str, m: &str| Mount { workspace_path: w.into(), mount_path: m.into() };
    let s = service(
        "    image: nginx\n    volumeMounts:\n      - {name: _workspace, mountPath: /app/data/, workspacePath: ./.data/}\n      - {name: _workspace, mountPath: /all, workspacePath: ''}\n      - {mountPath: /also-all}",
    );
    assert_eq!(s.mounts, [mount(".data", "/app/data"), mount("", "/all"), mount("", "/also-all")]);
    let s = service("    image: nginx\n    volumes:\n      - {name: _workspace, mountPath: /x, mountSubPath: a/b}");
    assert_eq!(s.mounts, [mount("a/b", "/x")]);
}

#[test]
fn mounts_that_leave_their_place_are_refused() {
    for (mount, words) in [
        ("{mountPath: /x, workspacePath: ../y}", "leads out of the shared file system"),
        ("{mountPath: /x, workspacePath: a/../../y}", "leads out of the shared file system"),
        ("{mountPath: x}", "is not absolute"),
        ("{mountPath: /}", "root of the whole file system"),
        ("{mountPath: /../x}", "above the root"),
        ("{workspacePath: x}", "`mountPath` is missing"),
        ("{name: other, mountPath: /x}", "no volume `other`"),
        ("{mountPath: /x, workspacePath: a, mountSubPath: b}", "both are given"),
        ("{mountPath: /x}, {mountPath: /x/}", "is mounted already at 5:"),
    ] {
        let text = format!("schemaVersion: v0.4\nrun:\n  web:\n    image: nginx\n    volumeMounts: [{mount}]\n");
        let errors = refused(&text);
        assert!(errors[0].to_string().contains(words), "{mount}: {}", errors[0]);
    }
    let (spec, warnings) = warned(
        "schemaVersion: v0.4\nrun:\n  web:\n    image: nginx\n    volumeMounts: [{mountPath: /x, workspacePath: /data}]\n",
    );
    assert_eq!(spec.services["web"].mounts[0].workspace_path, "data");
    assert!(warnings[0].to_string().contains("write `data`"));
}
