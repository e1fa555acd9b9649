//! Output, per replica and step.

use std::io::Write;
use std::time::Duration;

use landscape_router::backend::{Backend, Goal, LogQuery};

use crate::bench::{Bench, FIRST, SECOND};

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn lines_come_with_replica_step_and_stream_as_they_are_written() {
    let mut bench = Bench::new();
    let spec =
        bench.service(&["printf '\\033[32mgreen\\033[0m\\n'", "echo up >&2; while read -r l; do echo $l; done < say"]);
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, bench.root().join("say"), kind, mode, 0).unwrap();
    // Open for both ways it waits for nobody, and no reader ever sees its end.
    let mut say = std::fs::OpenOptions::new().read(true).write(true).open(bench.root().join("say")).unwrap();
    let mut lines = bench.follow(&spec).await;
    bench.run(&spec).await;
    let green = lines.next().await;
    assert_eq!((green.text.as_str(), green.step, green.stderr), ("\u{1b}[32mgreen\u{1b}[0m", Some(1), false));
    let up = lines.next().await;
    assert_eq!((up.text.as_str(), up.step, up.stderr, up.source.as_str()), ("up", Some(2), true, "0"));
    for word in ["a", "b"] {
        writeln!(say, "{word}").unwrap();
        assert_eq!(lines.next().await.text, word);
    }
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn one_replica_can_be_asked_for() {
    let mut bench = Bench::new();
    let spec = bench.service(&["echo I am $CS_REPLICA; echo > up-$CS_REPLICA; exec sleep 600"]);
    bench.want(&spec, &[FIRST, SECOND], Goal::Run, GRACE);
    bench.running(FIRST).await;
    let mut all = bench.follow(&spec).await;
    all.wait_for("I am 0").await;
    let query = LogQuery { tail: 10, follow: true, replica: Some(1) };
    let mut one = bench.backend.logs(&spec.key, query).await.unwrap();
    let line = tokio::time::timeout(Duration::from_secs(30), one.recv()).await.unwrap().unwrap();
    assert_eq!((line.source.as_str(), line.text.as_str()), ("1", "I am 1"));
    bench.backend.shutdown(true, GRACE).await;
}

#[tokio::test]
async fn an_application_goes_on_when_its_log_cannot_be_written() {
    let mut bench = Bench::new();
    let spec = bench.service(&["echo > up; while [ ! -e go ]; do sleep 0.01; done; echo lost; exit 5"]);
    // A file where the segments' folder would be: every write fails.
    let logs = bench.options.state.join("process/logs/4711/web");
    bench.run(&spec).await;
    bench.file("up").await;
    std::fs::remove_dir_all(&logs).unwrap();
    std::fs::write(&logs, "").unwrap();
    std::fs::write(bench.root().join("go"), "").unwrap();
    let failure = bench.ended(FIRST).await;
    assert!(failure.detail.starts_with("exit status 5"), "{}", failure.detail);
    assert!(failure.detail.contains("1 lines of output could not be written"), "{}", failure.detail);
    assert_eq!(failure.log_tail, ["lost"]);
}
