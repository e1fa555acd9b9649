//! The shared file system inside a container.

use std::os::unix::fs::symlink;

use landscape_router::backend::{FailureKind, Goal};

use crate::need_engine;
use crate::rig::{ONE, Rig, image, mount, open_to_all, random};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_and_files_are_mounted_and_a_missing_directory_is_made() {
    need_engine!();
    let mut rig = Rig::new();
    let root = rig.root();
    std::fs::create_dir(root.join("data")).unwrap();
    std::fs::write(root.join("data/there"), "there").unwrap();
    std::fs::write(root.join("one.conf"), "one").unwrap();
    let mut spec = rig.shell("true");
    spec.mounts = vec![
        mount("data", "/srv/data"),
        mount("one.conf", "/etc/one.conf"),
        mount("new/deep", "/srv/new"),
        mount("", "/all"),
    ];
    rig.up(&spec).await;
    assert_eq!(rig.exec("cat /srv/data/there"), "there");
    assert_eq!(rig.exec("cat /etc/one.conf"), "one");
    assert_eq!(rig.exec("cat /all/data/there"), "there");
    rig.exec("echo written > /srv/new/file; echo changed > /etc/one.conf");
    assert_eq!(std::fs::read_to_string(root.join("new/deep/file")).unwrap(), "written\n");
    assert_eq!(std::fs::read_to_string(root.join("one.conf")).unwrap(), "changed\n");
    // What was needed to bind the file is gone, and the file stays.
    let private = std::fs::read_dir(rig.dir.path().join("state/docker-mounts")).unwrap().count();
    assert_eq!(private, 0);
    assert_eq!(rig.listed("volume").len(), 3);
    rig.want(&spec, &[]);
    rig.stopped(ONE).await;
    assert!(rig.listed("volume").is_empty());
    assert!(root.join("data/there").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_image_has_at_the_target_is_not_copied_out() {
    need_engine!();
    let mut rig = Rig::new();
    let mut spec = rig.shell("true");
    spec.mounts = vec![mount("empty", "/www")];
    rig.up(&spec).await;
    assert_eq!(rig.exec("ls /www"), "");
    assert_eq!(std::fs::read_dir(rig.root().join("empty")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_made_directory_is_writable_for_another_uid() {
    need_engine!();
    let mut rig = Rig::new();
    let mut spec = rig.spec("u", image("lr-test/user:1", Some(&["sleep", "1000"])));
    spec.mounts = vec![mount("made", "/made")];
    rig.up(&spec).await;
    rig.exec("echo x > /made/file");
    assert!(rig.root().join("made/file").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_out_of_the_root_are_refused_for_good() {
    need_engine!();
    let mut rig = Rig::new();
    let outside = rig.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    symlink("../outside", rig.root().join("up")).unwrap();
    symlink("/etc", rig.root().join("etc")).unwrap();
    symlink("/proc/1/root", rig.root().join("magic")).unwrap();
    for (n, path) in ["up", "up/secret", "etc", "etc/passwd", "magic"].into_iter().enumerate() {
        let id = crate::rig::id(0, n as u64 + 1);
        let mut spec = rig.shell("true");
        spec.mounts = vec![mount(path, "/m")];
        rig.want(&spec, &[(id, Goal::Run)]);
        let failure = rig.ended(id).await;
        assert!(failure.permanent && failure.kind == FailureKind::NotRunnable, "{path}: {failure:?}");
        assert!(failure.detail.contains(path), "{failure:?}");
        assert!(!failure.public.contains(path), "{failure:?}");
    }
    assert!(rig.containers().is_empty());
}

/// A tenant that swaps its directory for a link while the container starts: whatever the moment, the
/// container sees a directory that was beneath the root, or is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_during_the_start_gains_nothing() {
    need_engine!();
    let mut rig = Rig::new();
    let secret = format!("secret-{}", random(8));
    let outside = rig.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("x"), &secret).unwrap();
    let root = rig.root();
    std::fs::create_dir(root.join("dir")).unwrap();
    std::fs::write(root.join("dir/x"), "mine").unwrap();
    std::fs::write(root.join("file"), "mine").unwrap();
    symlink(&outside, root.join("dir-link")).unwrap();
    symlink(outside.join("x"), root.join("file-link")).unwrap();
    open_to_all(&root);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = {
        let (stop, root) = (std::sync::Arc::clone(&stop), root.clone());
        std::thread::spawn(move || {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for name in ["dir", "file"] {
                    let (a, b) = (root.join(name), root.join(format!("{name}-link")));
                    renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
                }
            }
        })
    };
    let (mut started, mut refused) = (0, 0);
    for generation in 1.. {
        let id = crate::rig::id(0, generation);
        let mut spec = rig.shell("true");
        spec.mounts = vec![if generation % 2 == 0 { mount("dir/x", "/m") } else { mount("file", "/m") }];
        if generation % 4 == 0 {
            spec.mounts = vec![mount("dir", "/d")];
        }
        rig.want(&spec, &[(id, Goal::Run)]);
        let ran = rig
            .until("a start or a refusal", |seen| match seen {
                landscape_router::backend::Seen::Running(i, _) if *i == id => Some(true),
                landscape_router::backend::Seen::Ended(i, f) if *i == id => {
                    assert!(f.permanent, "{f:?}");
                    Some(false)
                }
                _ => None,
            })
            .await;
        if ran {
            started += 1;
            assert_eq!(rig.exec("cat /m /d/x 2>/dev/null || true"), "mine");
        } else {
            refused += 1;
        }
        rig.want(&spec, &[]);
        rig.stopped(id).await;
        if generation >= 12 && started > 2 && refused > 2 {
            break;
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    eprintln!("{started} starts met what is beneath the root, {refused} a link");
}

/// A router in a mount or process namespace of its own: its descriptors mean something else to the
/// engine, or nothing. That is found out, and nothing is mounted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_sees_other_files_is_found_out() {
    need_engine!();
    if !rustix::process::geteuid().is_root() {
        eprintln!("*** SKIPPED: namespaces need root");
        return;
    }
    for namespace in [&["-m"][..], &["-p", "-f", "--mount-proc"]] {
        let inside = std::process::Command::new("unshare")
            .args(namespace)
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "mounts::in_a_namespace_of_its_own"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inside.stdout);
        assert!(inside.status.success() && said.contains("1 passed"), "{namespace:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by an_engine_that_sees_other_files_is_found_out, in a namespace"]
async fn in_a_namespace_of_its_own() {
    let mut rig = Rig::new();
    std::fs::create_dir(rig.root().join("dir")).unwrap();
    std::fs::write(rig.root().join("file"), "x").unwrap();
    for (generation, path) in [(1, "dir"), (2, "file")] {
        let id = crate::rig::id(0, generation);
        let mut spec = rig.shell("true");
        spec.mounts = vec![mount(path, "/m")];
        rig.want(&spec, &[(id, Goal::Run)]);
        let failure = rig.ended(id).await;
        assert!(failure.kind == FailureKind::NotRunnable && failure.permanent, "{failure:?}");
        assert!(failure.detail.contains("the engine's own host"), "{failure:?}");
    }
}
