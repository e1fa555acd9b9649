//! What a router's private network needs on this machine, and what it makes there.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use landscape_router::private::ground;

use super::Site;

/// Whether this machine lets a router have a private network, with `programs` to test it.
pub fn possible(programs: &[&str]) -> bool {
    static LACKS: OnceLock<Option<String>> = OnceLock::new();
    let lack = LACKS.get_or_init(|| {
        let rights = ground::rights();
        let needs = ["ip", "nsenter"].into_iter().find(|p| !is_there(p)).map(|p| format!("{p} is not installed"));
        rights.lacks().next().filter(|_| !rights.can_isolate()).map(ToString::to_string).or(needs)
    });
    let missing = programs.iter().find(|p| !is_there(p)).map(|p| format!("{p} is not installed"));
    let Some(why) = lack.clone().or(missing) else { return true };
    assert!(std::env::var_os("LR_PRIVATE_TESTS").is_none(), "the private network is to be tested, but {why}");
    skipped(&format!("the private network is not tested: {why}"));
    false
}

/// Says that a test is not run. By itself: the harness keeps what a test prints to itself where that passes.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED, {why}\n");
}

fn is_there(name: &str) -> bool {
    program(name).is_some()
}

/// Where a program is: also PostgreSQL's, which Debian keeps in a folder for each version.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    std::env::split_paths(&path).chain(versions).map(|dir| dir.join(name)).find(|program| program.is_file())
}

/// Skips a test loudly where this machine lacks what it takes.
#[macro_export]
macro_rules! need_network {
    ($($program:literal),*) => {
        if !$crate::support::network::possible(&[$($program),*]) {
            return;
        }
    };
}

/// What a router of a test has for its private network: ranges of its own, and a name server to ask.
#[derive(Debug)]
pub struct Plot {
    ranges: Ranges,
    upstream: Upstream,
}

impl Plot {
    /// Of ranges that are likely to be free.
    pub fn new() -> Self {
        Self { ranges: Ranges::new(), upstream: Upstream::start() }
    }

    /// The value of `private` in router.yaml.
    pub fn yaml(&self) -> String {
        self.ranges.yaml(self.upstream.at)
    }

    /// Names that were asked of the machine's name server.
    pub fn asked(&self) -> Vec<String> {
        self.upstream.asked()
    }

    /// Everything that the kernel has of the site's router, which has run.
    pub fn traces(&self, site: &Site) -> Vec<String> {
        self.ranges.traces(&site.instance().expect("a router has run"))
    }

    /// Removes what a router leaves that was killed, or that ended badly.
    pub fn sweep(&self, site: &Site) {
        if let Some(instance) = site.instance() {
            self.ranges.sweep(&instance);
        }
    }
}

/// Ranges of one router's own, which no other router has that runs at the same time, of these tests or not.
#[derive(Clone, Debug)]
struct Ranges {
    /// Of virtual addresses.
    range: [u8; 3],
    /// Of process replicas.
    subnets: [u8; 3],
}

impl Ranges {
    /// Any that are likely to be free.
    fn new() -> Self {
        let range = [10, fastrand::u8(96..128), fastrand::u8(..)];
        Self { range, subnets: [10, fastrand::u8(64..96), fastrand::u8(0..64) * 4] }
    }

    /// As a value of `private` in router.yaml, with this name server.
    fn yaml(&self, resolver: SocketAddr) -> String {
        let ([a, b, c], [d, e, f]) = (self.range, self.subnets);
        format!("{{ addresses: {a}.{b}.{c}.0/24, subnets: [{d}.{e}.{f}.0/22], resolvers: [\"{resolver}\"] }}")
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        let [a, b, c, _] = address.octets();
        [a, b, c] == self.range || [a, b, c & 0xfc] == self.subnets
    }

    /// Everything that the kernel has of a router with these: interfaces, filters, routes, rules for Docker.
    fn traces(&self, instance: &str) -> Vec<String> {
        let bridges = &ground::bridge_name(instance, "")[..7];
        let mut found = Vec::new();
        let mut look = |command: &[&str], is_ours: &dyn Fn(&str) -> bool| {
            found.extend(output(command).lines().filter(|line| is_ours(line)).map(str::to_owned));
        };
        look(&["ip", "-o", "link"], &|line| line.contains(bridges));
        look(&["nft", "list", "tables"], &|line| line.contains(instance));
        look(&["iptables", "-S", "DOCKER-USER"], &|line| line.contains(instance));
        look(&["ip", "-4", "route", "show", "table", "all"], &|line| {
            let words = line.split([' ', '/']);
            words.filter_map(|word| word.parse().ok()).any(|address| self.has(address))
        });
        found
    }

    /// Removes what a router leaves that was killed, or that ended badly.
    fn sweep(&self, instance: &str) {
        let bridges = &ground::bridge_name(instance, "")[..7];
        for line in self.traces(instance) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["table", family, table] => drop(output(&["nft", "delete", "table", family, table])),
                ["-A", rest @ ..] => {
                    let rule: Vec<&str> = rest.iter().map(|w| w.trim_matches('"')).collect();
                    drop(output(&[&["iptables", "-w", "5", "-D"], rule.as_slice()].concat()));
                }
                ["local", net, ..] if net.contains('/') => {
                    drop(output(&["ip", "route", "del", "local", net, "dev", "lo", "table", "local"]));
                }
                [_, name, ..] if name.starts_with(bridges) => {
                    drop(output(&["ip", "link", "del", name.trim_end_matches(':')]));
                }
                _ => {}
            }
        }
    }
}

fn output(command: &[&str]) -> String {
    let Ok(output) = Command::new(command[0]).args(&command[1..]).output() else { return String::new() };
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// This machine's own addresses.
pub fn addresses() -> Vec<Ipv4Addr> {
    let text = output(&["ip", "-4", "-o", "addr"]);
    let address = |line: &str| line.split("inet ").nth(1)?.split('/').next()?.parse().ok();
    text.lines().filter_map(address).collect()
}

/// A name server that knows no name, and remembers what it was asked.
#[derive(Debug)]
struct Upstream {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// On a port of its own.
    fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = socket.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = asked.clone();
        std::thread::spawn(move || {
            let mut message = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut message) {
                let mut name = Vec::new();
                let mut at = 12;
                while at < length && message[at] != 0 {
                    let label = &message[at + 1..at + 1 + usize::from(message[at])];
                    name.push(String::from_utf8_lossy(label).into_owned());
                    at += 1 + label.len();
                }
                kept.lock().unwrap().push(name.join("."));
                // A response, with recursion, that says "no such name".
                (message[2], message[3]) = (message[2] | 0x80, 0x83);
                // Its question alone, without what may follow.
                message[6..12].fill(0);
                let _ = socket.send_to(&message[..(at + 5).min(length)], from);
            }
        });
        Self { at, asked }
    }

    /// The names that it was asked for.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
