//! Steps inside a container: one small shell script that runs each in a shell of its own.

use crate::landscape::Step;

/// What the script writes before a number when it has something to say.
const MARK: &str = "landscape-router: step ";

/// Runs `$@` one after the other. Each runs in the background, so that the wait for it can be
/// interrupted: a polite signal goes on to every process of the container, and the script stays
/// until they have ended, so that a shell that dies early does not take the application's own
/// shutdown away. Kubernetes sends what the image calls its polite signal, which for some is QUIT or
/// WINCH. `kill -1` spares the container's first process and the script itself.
const SCRIPT: &str = r#"
stopping=
trap 'stopping=1; trap "" TERM INT QUIT WINCH; kill -TERM -1 2>/dev/null' TERM INT QUIT WINCH
n=0
for step in "$@"; do
  n=$((n + 1))
  [ -n "$step" ] || continue
  [ -z "$announce" ] || echo "landscape-router: step $n" >&2
  "$shell" -c "$step" &
  wait "$!"
  status=$?
  if [ -n "$stopping" ]; then
    while kill -0 -1 2>/dev/null; do sleep 0.1 2>/dev/null || sleep 1; done
    exit 143
  fi
  if [ "$status" -ne 0 ]; then
    echo "landscape-router: step $n: exit status $status" >&2
    exit "$status"
  fi
done
"#;

/// Which shell runs the steps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum Shell {
    /// `/bin/sh` of an image of the user's own.
    Sh,
    /// bash where the base has it.
    BashOrSh,
}

/// A command line that runs `steps`. With `announce` each step's begin is written to standard error.
pub(in crate::backend) fn command(shell: Shell, steps: &[Step], announce: bool) -> Vec<String> {
    let choose = match shell {
        Shell::Sh => "shell=/bin/sh",
        Shell::BashOrSh => "shell=/bin/sh; command -v bash >/dev/null 2>&1 && shell=bash",
    };
    let announce = if announce { "announce=1" } else { "announce=" };
    let script = format!("{choose}\n{announce}{SCRIPT}");
    let steps = steps.iter().map(|s| s.command.clone());
    ["/bin/sh".to_owned(), "-c".to_owned(), script, "landscape-router".to_owned()].into_iter().chain(steps).collect()
}

/// The number of the step that a line of the script's announces.
pub(in crate::backend) fn announced(line: &str) -> Option<u32> {
    line.strip_prefix(MARK)?.parse().ok()
}

/// The number of the step that failed, where the script's last words are among `lines`.
pub(in crate::backend) fn failed(lines: &[String]) -> Option<u32> {
    lines.iter().rev().find_map(|l| l.strip_prefix(MARK)?.split_once(": exit status ")?.0.parse().ok())
}

/// `step 2 (build)`.
pub(in crate::backend) fn called(steps: &[Step], number: u32) -> String {
    let name = (number as usize)
        .checked_sub(1)
        .and_then(|i| steps.get(i))
        .and_then(|s| s.name.as_deref())
        .filter(|n| !n.is_empty());
    match name {
        Some(name) => format!("step {number} ({name})"),
        None => format!("step {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Output};

    fn run(steps: &[&str], announce: bool) -> Output {
        let steps: Vec<Step> = steps.iter().map(|c| Step { name: None, command: (*c).into() }).collect();
        let argv = command(Shell::Sh, &steps, announce);
        Command::new(&argv[0]).args(&argv[1..]).output().unwrap()
    }

    #[test]
    fn a_failing_step_stops_the_rest_and_is_named() {
        let out = run(&["echo one", "", "exit 3", "echo never"], false);
        assert_eq!(out.status.code(), Some(3));
        assert_eq!(out.stdout, b"one\n");
        let said: Vec<String> = String::from_utf8(out.stderr).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(failed(&said), Some(3));
    }

    #[test]
    fn every_step_has_a_shell_of_its_own() {
        let out = run(&["cd /; x=1; set -e", "echo \"$x-\"; pwd"], true);
        let said = String::from_utf8(out.stdout).unwrap();
        assert!(said.starts_with("-\n") && !said.ends_with("\n/\n"), "{said}");
        let announced: Vec<u32> = String::from_utf8(out.stderr).unwrap().lines().filter_map(announced).collect();
        assert_eq!(announced, [1, 2]);
    }

    #[test]
    fn a_step_is_called_by_its_number_and_name() {
        let steps = [Step { name: Some("build".into()), command: "x".into() }];
        assert_eq!(called(&steps, 1), "step 1 (build)");
        assert_eq!(called(&steps, 9), "step 9");
        assert_eq!(called(&steps, 0), "step 0");
    }
}
