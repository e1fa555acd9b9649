//! Endings in words, for the operator and for who waits.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::listeners;
use super::ports::PortError;
use super::protocol::{Ending, Outcome};
use crate::backend::{Failure, FailureKind};

/// Ended sooner than this, it counts as never having worked.
const RIGHT_AFTER_START: Duration = Duration::from_secs(10);

/// What is shorter is no time that was measured.
const MEASURED: Duration = Duration::from_micros(100);

/// Of a replica that ended by itself. `ports` are those of this machine that it was given; what has none can
/// have lost none.
pub fn of_replica(ending: &Ending, ports: &[(u16, SocketAddr)]) -> Failure {
    let early = Duration::from_micros(ending.ran_us) < RIGHT_AFTER_START;
    let mut kind = match ending.outcome {
        _ if ending.out_of_memory => FailureKind::OutOfMemory,
        Outcome::NotStarted(_) => FailureKind::Backend,
        _ => FailureKind::Exited,
    };
    let mut detail = describe(ending);
    if kind == FailureKind::Exited && ending.outcome != Outcome::Exited(0) {
        let complains = !ports.is_empty() && says_in_use(&ending.tail);
        let holder = foreign_holder(ports, complains);
        if let Some(holder) = &holder {
            detail = format!("{detail}; {holder}");
        } else if complains && early {
            // Whoever had it may be gone by now.
            detail = format!("{detail}; it found a port in use that nobody holds any more");
        }
        if complains && (early || holder.is_some()) {
            kind = FailureKind::PortTaken;
        }
    }
    let public = match kind {
        FailureKind::OutOfMemory => "The service ran out of memory.",
        FailureKind::PortTaken => "A port that the service needs is taken.",
        FailureKind::Backend => "The service could not be started.",
        _ if early => "The service exited right after its start.",
        _ => "The service exited.",
    };
    Failure { kind, public: public.into(), detail, log_tail: ending.tail.clone(), permanent: false }
}

/// Of a `prepare` or `test`.
pub fn of_job(ending: &Ending, stage: &str) -> Failure {
    Failure {
        kind: FailureKind::Prepare,
        public: format!("The landscape's {stage} failed."),
        detail: format!("{stage}: {}", describe(ending)),
        log_tail: ending.tail.clone(),
        permanent: false,
    }
}

/// Of a start for which there is no network.
pub fn of_network(error: &io::Error) -> Failure {
    backend(format!("its network cannot be made: {error}"))
}

/// Of a start that did not get as far as a process.
pub fn of_start(error: &io::Error) -> Failure {
    let remedy = match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => {
            ": no file descriptors are left; raise LimitNOFILE or listen.maxConnections"
        }
        Some(libc::EAGAIN | libc::ENOMEM) => ": the system's limit of processes or memory is reached",
        Some(libc::ENOSPC | libc::EDQUOT) => ": the disk that holds `state` is full",
        _ => "",
    };
    backend(format!("cannot start: {error}{remedy}"))
}

/// Of the backend's own making.
pub fn backend(detail: String) -> Failure {
    Failure {
        kind: FailureKind::Backend,
        public: "The service could not be started.".into(),
        detail,
        log_tail: Vec::new(),
        permanent: false,
    }
}

/// No port was found.
pub fn ports(error: PortError) -> Failure {
    match error {
        PortError::Io(error) => of_start(&error),
        PortError::Taken(detail) => Failure {
            kind: FailureKind::PortTaken,
            public: "A port that the service needs is taken.".into(),
            ..backend(detail)
        },
    }
}

/// It cannot run here at all.
pub fn not_runnable(remedy: String) -> Failure {
    Failure {
        kind: FailureKind::NotRunnable,
        public: "The service cannot run here.".into(),
        permanent: true,
        ..backend(format!("not runnable here: {remedy}"))
    }
}

fn describe(ending: &Ending) -> String {
    let after = match Duration::from_micros(ending.ran_us) {
        ran if ran < MEASURED => "right after its start".to_owned(),
        ran => format!("after {}", span(ran)),
    };
    let what = match &ending.outcome {
        Outcome::Exited(status) => format!("exit status {status} {after} in {}", ending.label),
        Outcome::Signaled(signal) => format!("killed by {} {after} in {}", name_of(*signal), ending.label),
        Outcome::NotStarted(reason) => format!("{} could not be started: {reason}", ending.label),
        Outcome::Nothing => "no step has a command that stays up".to_owned(),
    };
    let memory = if ending.out_of_memory { ", out of the memory of its plan" } else { "" };
    let lost = match ending.dropped {
        0 => String::new(),
        n => format!(" ({n} lines of output could not be written to the log)"),
    };
    format!("{what}{memory}{lost}")
}

/// For people: `0.4 ms`, `12 ms`, `3.2 s`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s < 0.001 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

fn name_of(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// The replica is gone: whoever holds one of its ports is not it. That somebody holds a declared port which
/// it was not given was known before its start, and is to blame only where it `complains` of a port.
fn foreign_holder(addresses: &[(u16, SocketAddr)], complains: bool) -> Option<String> {
    for (declared, at) in addresses {
        if let Some(holder) = listeners::holder_of(*at) {
            return Some(format!("port {} is held by {holder}", at.port()));
        }
        if complains && *declared != at.port() {
            let own = SocketAddr::from((Ipv4Addr::LOCALHOST, *declared));
            if let Some(holder) = listeners::holder_of(own).or_else(|| listeners::keeper_of(*declared)) {
                let port = at.port();
                return Some(format!("port {declared} is held by {holder}; does the service ignore PORT={port}?"));
            }
        }
    }
    None
}

fn says_in_use(tail: &[String]) -> bool {
    tail.iter().any(|line| {
        let line = line.to_ascii_lowercase();
        let of_a_port = ["address", "port", "socket"].iter().any(|word| line.contains(word));
        line.contains("eaddrinuse") || line.contains("errno 98") || (line.contains("in use") && of_a_port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(outcome: Outcome, ran_us: u64) -> Ending {
        Ending {
            outcome,
            step: 2,
            label: "step 2 (run server)".into(),
            ran_us,
            told: false,
            out_of_memory: false,
            tail: vec!["last words".into()],
            dropped: 0,
        }
    }

    #[test]
    fn an_exit_says_status_time_and_step() {
        let failure = of_replica(&ending(Outcome::Exited(3), 12_345), &[]);
        assert_eq!(failure.detail, "exit status 3 after 12 ms in step 2 (run server)");
        assert_eq!(failure.public, "The service exited right after its start.");
        assert_eq!((failure.kind, failure.log_tail.len()), (FailureKind::Exited, 1));
        let at_once = of_replica(&ending(Outcome::Exited(3), 20), &[]);
        assert_eq!(at_once.detail, "exit status 3 right after its start in step 2 (run server)");
        let late = of_replica(&ending(Outcome::Signaled(libc::SIGSEGV), 60_000_000), &[]);
        assert_eq!(late.public, "The service exited.");
        assert!(late.detail.starts_with("killed by SIGSEGV after 60.0 s"), "{}", late.detail);
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut end = ending(Outcome::Exited(1), 5);
        end.tail.push("OSError: [Errno 98] Address already in use".into());
        let failure = of_replica(&end, &[(taken.port(), free)]);
        assert_eq!(failure.kind, FailureKind::PortTaken);
        assert!(failure.detail.contains("ignore PORT=1?"), "{}", failure.detail);
        assert!(failure.detail.contains(&format!("pid {}", std::process::id())), "{}", failure.detail);
    }

    #[test]
    fn who_listens_at_another_address_of_loopback_is_named_too() {
        let listener = std::net::TcpListener::bind("127.83.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let mut end = ending(Outcome::Exited(1), 5);
        end.tail.push("OSError: [Errno 98] Address already in use".into());
        let failure = of_replica(&end, &[(taken.port(), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))]);
        assert!(failure.detail.contains(" at 127.83.0.1; does the service ignore PORT=1?"), "{}", failure.detail);
    }

    #[test]
    fn another_s_port_is_not_to_blame_for_an_end_that_does_not_mention_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let other = of_replica(&ending(Outcome::Exited(3), 12_000), &[(taken.port(), free)]);
        assert_eq!(
            (other.kind, other.detail.as_str()),
            (FailureKind::Exited, "exit status 3 after 12 ms in step 2 (run server)")
        );
        let mut busy = ending(Outcome::Exited(3), 12_000);
        busy.tail.push("heap: 30 MiB in use".into());
        assert_eq!(of_replica(&busy, &[(taken.port(), free)]).kind, FailureKind::Exited);
        let its_own = of_replica(&ending(Outcome::Exited(3), 12_000), &[(3000, taken)]);
        assert!(its_own.detail.contains("is held by"), "it was given that port: {}", its_own.detail);
    }

    #[test]
    fn who_has_a_network_of_its_own_lost_no_port_of_this_machine() {
        let mut end = ending(Outcome::Exited(1), 5);
        end.tail.push("Error: listen EADDRINUSE: address already in use".into());
        let failure = of_replica(&end, &[]);
        assert_eq!(failure.kind, FailureKind::Exited);
        assert!(failure.detail.ends_with("in step 2 (run server)"), "{}", failure.detail);
    }

    #[test]
    fn a_port_whose_holder_is_gone_was_taken_all_the_same() {
        let addresses = [(3000, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))];
        let mut end = ending(Outcome::Exited(1), 5);
        end.tail.push("Error: listen EADDRINUSE: address already in use".into());
        assert_eq!(of_replica(&end, &addresses).kind, FailureKind::PortTaken);
        end.ran_us = 60_000_000;
        let held = foreign_holder(&addresses, true).is_some();
        assert_eq!(of_replica(&end, &addresses).kind == FailureKind::PortTaken, held, "it had its ports by then");
    }

    #[test]
    fn a_shortage_of_the_system_has_a_remedy() {
        for (code, remedy) in
            [(libc::EMFILE, "LimitNOFILE"), (libc::ENOSPC, "disk"), (libc::EAGAIN, "limit of processes")]
        {
            let failure = of_start(&io::Error::from_raw_os_error(code));
            assert!(failure.detail.contains(remedy), "{}", failure.detail);
            assert!(!failure.public.contains(remedy));
        }
    }

    #[test]
    fn memory_wins_over_the_signal() {
        let mut end = ending(Outcome::Signaled(9), 5);
        end.out_of_memory = true;
        assert_eq!(of_replica(&end, &[]).kind, FailureKind::OutOfMemory);
    }
}
