//! Start, exit, stop, pause.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use landscape_router::backend::{Backend, FailureKind, Goal, ReplicaId};
use landscape_router::landscape::Value;

use crate::bench::{Bench, FIRST, eventually, lives, numbers, shims, signal, state_of};

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_service_runs_and_its_exit_is_told_with_status_step_and_output() {
    let mut bench = Bench::new();
    let spec = bench.service(&["echo first; true", "echo out; echo err >&2; exit 3", "echo never"]);
    bench.run(&spec).await;
    let failure = bench.ended(FIRST).await;
    assert_eq!(failure.kind, FailureKind::Exited);
    assert!(
        failure.detail.starts_with("exit status 3 after ") && failure.detail.ends_with(" in step 2"),
        "{failure:?}"
    );
    let mut tail = failure.log_tail.clone();
    tail.sort();
    assert_eq!(tail, ["err", "first", "out"]);
    // Listed or not, one that exited is not started again.
    bench.want(&spec, &[FIRST], Goal::Run, GRACE);
    bench.want(&spec, &[], Goal::Run, GRACE);
    bench.stopped(FIRST).await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let mut bench = Bench::new();
    let spec = bench.service(&["true"]);
    std::fs::remove_dir(bench.root()).unwrap();
    bench.want(&spec, &[FIRST], Goal::Run, GRACE);
    let failure = bench.ended(FIRST).await;
    assert_eq!(failure.kind, FailureKind::Backend);
    assert!(failure.detail.contains("its working directory") && failure.detail.contains("No such file"), "{failure:?}");
}

#[tokio::test]
async fn a_shim_that_cannot_be_run_is_a_failure() {
    let mut bench = Bench::with(|options| options.shim = "/no/such/program".into());
    let spec = bench.service(&["true"]);
    bench.want(&spec, &[FIRST], Goal::Run, GRACE);
    assert!(bench.ended(FIRST).await.detail.contains("No such file"));
    let mut bench = Bench::with(|options| options.shim = "/bin/false".into());
    let spec = bench.service(&["true"]);
    bench.want(&spec, &[FIRST], Goal::Run, GRACE);
    assert!(bench.ended(FIRST).await.detail.contains("its shim ended"));
}

#[tokio::test]
async fn steps_without_a_command_do_nothing() {
    let mut bench = Bench::new();
    let spec = bench.service(&["", "  \n", "echo here; exec sleep 60"]);
    let mut lines = bench.follow(&spec).await;
    bench.run(&spec).await;
    assert_eq!(lines.wait_for("here").await.step, Some(3));
    let spec = bench.service(&["", ""]);
    let id = ReplicaId { ordinal: 0, generation: 2 };
    bench.want(&spec, &[id], Goal::Run, GRACE);
    assert!(bench.ended(id).await.detail.contains("no step has a command"));
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn the_environment_is_exactly_what_is_listed() {
    let mut bench = Bench::new();
    let mut spec =
        bench.service(&["env -0 | tr '\\0' '\\n' > env.new; echo >> env.new; mv env.new env; exec sleep 60"]);
    spec.env.insert("PORT".into(), Value::plain("1"));
    spec.env.insert("SECRET".into(), Value::secret("s3cret"));
    let addresses = bench.run(&spec).await;
    let text = bench.file("env").await;
    let mut env: BTreeMap<&str, &str> = text.lines().filter_map(|l| l.split_once('=')).collect();
    let port = addresses.of(spec.primary_port).unwrap().address.port().to_string();
    let root = bench.root();
    let state = bench.options.state.join("process/home/4711");
    assert_eq!(env.remove("PATH"), std::env::var("PATH").ok().as_deref());
    assert_eq!(env.remove("TZ").map(String::from), std::env::var("TZ").ok());
    assert!(env.remove("LANG").is_some());
    assert!(env.remove("LANDSCAPE_ROUTER_REPLICA").is_some());
    // These three are bash's own.
    for own in ["PWD", "SHLVL", "_"] {
        env.remove(own);
    }
    let of_port = format!("PORT_{}", spec.primary_port);
    let expected = BTreeMap::from([
        ("HOME", state.to_str().unwrap()),
        ("GREETING", "hello"),
        ("SECRET", "s3cret"),
        ("CS_REPLICA", "0"),
        ("CS_SERVER", "web"),
        ("WORKSPACE_ID", "4711"),
        ("TEAM_ID", "7"),
        ("WORKSPACE_DEV_DOMAIN", "4711.localhost"),
        ("PORT", &port),
        (&of_port, &port),
    ]);
    assert_eq!(env, expected);
    assert_eq!(std::fs::read_link(state.join("app")).unwrap(), root);
    // Nothing of it is on disk.
    let run = bench.options.state.join("process/run");
    for entry in std::fs::read_dir(run).unwrap() {
        let meta = std::fs::read_to_string(entry.unwrap().path().join("meta.json")).unwrap();
        assert!(!meta.contains("s3cret"));
    }
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn nothing_but_the_three_streams_is_inherited() {
    let mut bench = Bench::new();
    // A descriptor without close-on-exec, as a careless parent leaves them.
    let leaked = rustix::io::dup(std::fs::File::open("/dev/null").unwrap()).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let spec = bench.service(&["ls /proc/$$/fd > fds.new; mv fds.new fds; exec sleep 60"]);
    bench.run(&spec).await;
    let mut fds = numbers(&bench.file("fds").await);
    fds.retain(|fd| *fd != 255); // bash's own
    assert_eq!(fds, [0, 1, 2]);
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn a_hardened_router_keeps_its_limits_to_itself() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, dumpable_behavior, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Nofile).maximum;
    let soft = hard.map_or(1 << 16, |h| h - 1);
    setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: hard }).unwrap();
    landscape_router::backend::process::harden().unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, hard);
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    let mut bench = Bench::new();
    let spec = bench.service(&["ulimit -Sn > limit.new; mv limit.new limit; exec sleep 600"]);
    bench.run(&spec).await;
    assert_eq!(bench.file("limit").await.trim(), soft.to_string());
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn a_stop_is_polite_and_confirmed_when_nothing_is_left() {
    let mut bench = Bench::new();
    let spec =
        bench.service(&["trap 'echo bye; exit 0' TERM; echo $$ > pid; echo ready; while :; do sleep 60 & wait; done"]);
    let mut lines = bench.follow(&spec).await;
    bench.run(&spec).await;
    lines.wait_for("ready").await;
    let pid = numbers(&bench.file("pid").await)[0];
    bench.want(&spec, &[], Goal::Run, GRACE);
    bench.stopped(FIRST).await;
    assert_eq!(state_of(pid), None);
    lines.wait_for("bye").await;
    // The same is wanted again: a new life under the same number.
    bench.run(&spec).await;
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn what_ignores_the_polite_signal_is_killed_after_its_grace() {
    let mut bench = Bench::new();
    let spec = bench.service(&["trap '' TERM; echo $$ > pid; while :; do sleep 1; done"]);
    bench.run(&spec).await;
    let pid = numbers(&bench.file("pid").await)[0];
    let asked = Instant::now();
    bench.want(&spec, &[], Goal::Run, Duration::from_millis(300));
    bench.stopped(FIRST).await;
    assert_eq!(state_of(pid), None);
    assert!(asked.elapsed() >= Duration::from_millis(300), "killed after {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_shorter_grace_replaces_a_longer_one() {
    let mut bench = Bench::new();
    let spec = bench.service(&["trap '' TERM; echo > up; while :; do sleep 1; done"]);
    bench.run(&spec).await;
    bench.file("up").await;
    bench.want(&spec, &[], Goal::Run, Duration::from_secs(3600));
    bench.want(&spec, &[], Goal::Run, Duration::from_millis(10));
    bench.stopped(FIRST).await;
}

#[tokio::test]
async fn a_paused_replica_stands_still_and_goes_on() {
    let mut bench = Bench::new();
    pause_and_resume(&mut bench).await;
}

#[tokio::test]
async fn a_freezer_pauses_where_there_is_one() {
    let mut bench = Bench::with(|options| options.control_groups = true);
    pause_and_resume(&mut bench).await;
}

async fn pause_and_resume(bench: &mut Bench) {
    let spec = bench.service(&["echo $$ > pid; (while :; do date +%s%N > beat; sleep 0.01; done) & wait"]);
    bench.run(&spec).await;
    bench.file("pid").await;
    bench.file("beat").await;
    bench.want(&spec, &[FIRST], Goal::Pause, GRACE);
    bench.paused(FIRST).await;
    let beat = std::fs::read_to_string(bench.root().join("beat")).unwrap();
    // Not a wait for something to happen, but for it not to.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(std::fs::read_to_string(bench.root().join("beat")).unwrap(), beat);
    bench.want(&spec, &[FIRST], Goal::Run, GRACE);
    bench.running(FIRST).await;
    eventually(|| (std::fs::read_to_string(bench.root().join("beat")).ok()? != beat).then_some(())).await;
    // Frozen ones end, too, and politely.
    bench.want(&spec, &[FIRST], Goal::Pause, GRACE);
    bench.paused(FIRST).await;
    bench.want(&spec, &[], Goal::Run, Duration::from_secs(600));
    bench.stopped(FIRST).await;
}

#[tokio::test]
async fn another_user_has_its_own_home_and_the_workspaces_group() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can choose users");
        return;
    }
    let mut bench = Bench::new();
    // Temporary folders are private; the user has to reach the root.
    for dir in [bench.dir.path(), &bench.root()] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut spec = bench.service(&["
        { id -u; id -g; id -G; stat -c %u \"$HOME\"; readlink \"$HOME/app\"; touch \"$HOME/mine\" && echo mine; } > id.new; echo \"$HOME\" > home
        echo to-stdout > /dev/stdout; mv id.new id; exec sleep 600"]);
    spec.user = Some(1501);
    let mut lines = bench.follow(&spec).await;
    bench.run(&spec).await;
    let text = bench.file("id").await;
    assert_eq!(text, format!("1501\n1010\n1010\n1501\n{}\nmine\n", bench.root().display()));
    lines.wait_for("to-stdout").await;
    bench.backend.shutdown(true, GRACE).await;
    let home = PathBuf::from(bench.file("home").await.trim());
    assert!(home.starts_with("/run/landscape-router/home"));
    std::fs::remove_dir_all(home.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_shim_that_hangs_does_not_keep_its_replica_from_ending() {
    let mut bench = Bench::new();
    let spec = bench.service(&["echo $$ > pid; exec sleep 600"]);
    bench.run(&spec).await;
    let pid = numbers(&bench.file("pid").await)[0];
    let shim = shims(&bench.options.state)[0];
    signal(shim, rustix::process::Signal::STOP);
    bench.want(&spec, &[], Goal::Run, Duration::from_millis(10));
    bench.stopped(FIRST).await;
    assert!(!lives(pid) && !lives(shim));
}

#[tokio::test]
async fn what_makes_processes_without_end_is_ended() {
    let mut bench = Bench::new();
    let spec = bench.service(&["
        trap '' TERM
        breed() { while :; do (sleep 0.05; echo > alive) & sleep 0.02; done; }
        breed & breed & breed & echo > up; wait"]);
    bench.run(&spec).await;
    bench.file("up").await;
    bench.want(&spec, &[], Goal::Run, Duration::from_millis(10));
    bench.stopped(FIRST).await;
    std::fs::remove_file(bench.root().join("alive")).ok();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!bench.root().join("alive").exists());
}
