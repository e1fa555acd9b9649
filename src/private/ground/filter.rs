//! The packet filters of an instance, as one script for `nft`. Pure.
//!
//! What comes from a segment meets, in this order: whose address it carries (another's is dropped, for a
//! caller is known by it); then, for this machine, `from_segment`, which lets through what the router
//! answers and refuses the rest; for elsewhere, `leaving`. Refusals are answered, so that a caller that
//! asks in the wrong place learns it at once. What is not from a segment is none of our business, but for
//! what seeks a process. From elsewhere a virtual address answers nothing: its sockets are bound to bridges.
//!
//! Virtual addresses take no part in connection tracking, so that no other table of this machine
//! translates them (an engine that publishes a port does so on every address of the machine), unless they
//! are redirected, which is such a translation, made before all others.

use std::fmt::Write;
use std::io;
use std::net::SocketAddrV4;

use ipnet::Ipv4Net;

use super::names::table_name;

/// Who made a segment's bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The router, for process replicas: nobody else opens connections into it, and it is hidden behind
    /// this machine's address when it may go out.
    Process,
    /// The Docker Engine, which has filters and translation of its own.
    Docker,
}

/// The transport of a [`Redirect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Brings those who call `from` on a segment to another port of the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// TCP or UDP.
    pub transport: Transport,
    /// Whom they call: a virtual address, or the segment's gateway.
    pub from: SocketAddrV4,
    /// The port at which the router listens.
    pub to: u16,
}

/// A bridge on which replicas of one landscape are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    interface: String,
    gateway: Ipv4Net,
    kind: Kind,
    redirects: Vec<Redirect>,
}

impl Segment {
    /// The segment of the bridge `interface`, whose own address is `gateway`, with the size of the net.
    pub fn new(interface: &str, gateway: Ipv4Net, kind: Kind) -> io::Result<Self> {
        // The name becomes part of a script.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if interface.is_empty() || interface.len() > 15 || !interface.bytes().all(plain) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the bridge {interface:?} cannot be filtered by its name: rename it with letters and digits"),
            ));
        }
        Ok(Self { interface: interface.to_owned(), gateway, kind, redirects: Vec::new() })
    }

    /// The same with `redirects`.
    pub fn redirecting(mut self, redirects: Vec<Redirect>) -> Self {
        self.redirects = redirects;
        self
    }
}

/// The script that replaces whatever filters `instance` has, in one transaction.
///
/// `here`: where programs of this machine itself, on its own network, are brought who call virtual addresses: to
/// ports of 127.0.0.1. `range` holds the virtual addresses; with `egress` replicas may connect to what lies beyond this machine.
pub fn render(instance: &str, segments: &[Segment], here: &[Redirect], range: Ipv4Net, egress: bool) -> String {
    let table = table_name(instance);
    let range = range.trunc();
    let mut script = format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    sets(&mut script, segments);
    arrival(&mut script, segments, range);
    redirects(&mut script, segments);
    called_here(&mut script, here);
    to_this_machine(&mut script, segments, range);
    elsewhere(&mut script, segments, range, egress);
    script.push_str("}\n");
    script
}

/// The script that removes the filters of `instance`, if there are any.
pub fn removal(instance: &str) -> String {
    let table = table_name(instance);
    format!("add table inet {table}\ndelete table inet {table}\n")
}

fn sets(script: &mut String, segments: &[Segment]) {
    for (name, kind) in [("segments", None), ("processes", Some(Kind::Process)), ("containers", Some(Kind::Docker))] {
        let chosen = segments.iter().filter(|segment| kind.is_none_or(|kind| kind == segment.kind));
        let elements: Vec<String> = chosen.map(|segment| format!("\"{}\"", segment.interface)).collect();
        let elements = braces("elements =", &elements);
        line(script, format_args!("set {name} {{ type ifname; {elements} }}"));
    }
    let names: Vec<String> = segments.iter().map(|segment| format!("{} . 53", segment.gateway.addr())).collect();
    let elements = braces("elements =", &names);
    line(script, format_args!("set names {{ type ipv4_addr . inet_service; {elements} }}"));
}

/// Before anything else: who may have sent it, and whether it is tracked.
fn arrival(script: &mut String, segments: &[Segment], range: Ipv4Net) {
    for (place, segment) in segments.iter().enumerate() {
        let net = segment.gateway.trunc();
        line(script, format_args!("chain source_{place} {{ ip saddr != {net} drop; }}"));
    }
    let jumps = elements(segments, |place, segment| vec![format!("\"{}\" : jump source_{place}", segment.interface)]);
    let tracked = |port: fn(&Redirect) -> u16| {
        elements(segments, move |_, segment| {
            let key = |r: &Redirect| {
                format!("\"{}\" . {} . {} . {} : accept", segment.interface, name(r.transport), r.from.ip(), port(r))
            };
            segment.redirects.iter().map(key).collect()
        })
    };
    let asks = tracked(|redirect| redirect.from.port());
    let answers = tracked(|redirect| redirect.to);
    script.push_str("  chain arrival {\n    type filter hook prerouting priority raw; policy accept;\n");
    script.push_str("    iifname != @segments accept\n    meta nfproto != ipv4 drop\n");
    rule(script, "iifname vmap", &jumps);
    rule(script, "iifname . meta l4proto . ip daddr . th dport vmap", &asks);
    let _ = writeln!(
        script,
        "    ip daddr {range} notrack\n    meta l4proto {{ tcp, udp }} ip daddr . th dport @names notrack"
    );
    script.push_str("  }\n  chain answer {\n    type filter hook output priority raw; policy accept;\n");
    script.push_str("    oifname != @segments accept\n");
    rule(script, "oifname . meta l4proto . ip saddr . th sport vmap", &answers);
    let _ = writeln!(
        script,
        "    ip saddr {range} notrack\n    meta l4proto {{ tcp, udp }} ip saddr . th sport @names notrack\n  }}"
    );
}

/// Before an engine's translation of published ports.
fn redirects(script: &mut String, segments: &[Segment]) {
    script.push_str("  chain moved {\n    type nat hook prerouting priority dstnat - 10; policy accept;\n");
    for transport in [Transport::Tcp, Transport::Udp] {
        let all = elements(segments, |_, segment| {
            let chosen = segment.redirects.iter().filter(|redirect| redirect.transport == transport);
            let entry = |r: &Redirect| {
                let (address, port) = (r.from.ip(), r.from.port());
                format!("\"{}\" . {address} . {port} : {address} . {}", segment.interface, r.to)
            };
            chosen.map(entry).collect()
        });
        let transport = name(transport);
        rule(script, &format!("dnat ip to iifname . ip daddr . {transport} dport map"), &all);
    }
    script.push_str("  }\n");
}

/// What this machine's own programs send does not pass where segments' arrivals do. A port that a program
/// listens at on all addresses is brought there all the same, which a socket at a virtual address could not do.
fn called_here(script: &mut String, here: &[Redirect]) {
    if here.is_empty() {
        return;
    }
    let entry = |r: &Redirect| format!("{} . {} : 127.0.0.1 . {}", r.from.ip(), r.from.port(), r.to);
    let all: Vec<String> = here.iter().filter(|r| r.transport == Transport::Tcp).map(entry).collect();
    script.push_str("  chain called_here {\n    type nat hook output priority -110; policy accept;\n");
    rule(script, "oifname \"lo\" dnat ip to ip daddr . tcp dport map", &all);
    script.push_str("  }\n");
}

fn to_this_machine(script: &mut String, segments: &[Segment], range: Ipv4Net) {
    // The names' server, where callers find it, and where it is behind a redirect.
    let names = elements(segments, |_, segment| {
        let gateway = segment.gateway.addr();
        let moved = segment.redirects.iter().filter(|redirect| *redirect.from.ip() == gateway);
        let mut all: Vec<String> = moved
            .map(|r| format!("\"{}\" . {} . {gateway} . {}", segment.interface, name(r.transport), r.to))
            .collect();
        for transport in ["tcp", "udp"] {
            all.push(format!("\"{}\" . {transport} . {gateway} . 53", segment.interface));
        }
        all
    });
    script.push_str("  chain input {\n    type filter hook input priority filter; policy accept;\n");
    script.push_str("    iifname @segments jump from_segment\n  }\n");
    script.push_str("  chain from_segment {\n    ct state established,related accept\n");
    // By a redirect of ours: an engine's lead elsewhere, and are forwarded.
    script.push_str("    ct status dnat accept\n");
    // A program of this machine that listens on all addresses listens on the virtual ones too.
    let _ = writeln!(
        script,
        "    ip daddr {range} tcp flags & (syn | ack) == syn socket wildcard 1 reject with tcp reset\n    \
         ip daddr {range} meta l4proto tcp accept\n    \
         ip daddr {range} icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} accept"
    );
    let names: Vec<String> = names.into_iter().map(|name| format!("{name} : accept")).collect();
    rule(script, "iifname . meta l4proto . ip daddr . th dport vmap", &names);
    script.push_str("    jump refuse\n  }\n  chain refuse {\n");
    script.push_str("    meta l4proto tcp reject with tcp reset\n    reject with icmp port-unreachable\n  }\n");
}

fn elsewhere(script: &mut String, segments: &[Segment], range: Ipv4Net, egress: bool) {
    script.push_str("  chain forward {\n    type filter hook forward priority filter; policy accept;\n");
    script.push_str("    iifname @segments jump leaving\n");
    script.push_str("    oifname @processes jump entering\n");
    // Processes of another router of this machine; engines keep their own networks apart themselves.
    script.push_str("    iifname \"lr*\" oifname @containers drop\n  }\n");
    script.push_str("  chain leaving {\n    ct state established,related accept\n    oifname @segments jump refuse\n");
    let _ = writeln!(script, "    ip daddr {{ {range}, 169.254.0.0/16 }} jump refuse");
    // Published ports of this machine's containers, asked for at an address of this machine.
    script.push_str("    ct status dnat jump refuse\n");
    script.push_str(if egress { "    accept\n  }\n" } else { "    jump refuse\n  }\n" });
    script.push_str("  chain entering {\n    ct state established,related accept\n    drop\n  }\n");
    if egress {
        script.push_str("  chain outside {\n    type nat hook postrouting priority srcnat; policy accept;\n");
        let processes = segments.iter().filter(|segment| segment.kind == Kind::Process);
        let nets: Vec<String> = processes.map(|segment| segment.gateway.trunc().to_string()).collect();
        if !nets.is_empty() {
            let _ = writeln!(script, "    ip saddr {{ {} }} oifname != @segments masquerade", nets.join(", "));
        }
        script.push_str("  }\n");
    }
}

fn elements(segments: &[Segment], of: impl Fn(usize, &Segment) -> Vec<String>) -> Vec<String> {
    segments.iter().enumerate().flat_map(|(place, segment)| of(place, segment)).collect()
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

/// A rule with a map of its own, which the language wants to have at least one element.
fn rule(script: &mut String, start: &str, elements: &[String]) {
    if !elements.is_empty() {
        let _ = writeln!(script, "    {start} {{ {} }}", elements.join(", "));
    }
}

fn braces(start: &str, elements: &[String]) -> String {
    if elements.is_empty() { String::new() } else { format!("{start} {{ {} }};", elements.join(", ")) }
}

fn line(script: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(script, "  {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(name: &str, kind: Kind) -> io::Result<Segment> {
        Segment::new(name, "10.232.1.1/24".parse().unwrap(), kind)
    }

    #[test]
    fn only_processes_are_hidden_behind_the_machine_and_only_with_egress() {
        let segments = [segment("lr1", Kind::Process).unwrap(), segment("br-1", Kind::Docker).unwrap()];
        let range = "10.231.0.0/16".parse().unwrap();
        let open = render("x", &segments, &[], range, true);
        assert!(open.contains("ip saddr { 10.232.1.0/24 } oifname != @segments masquerade"), "{open}");
        assert!(!render("x", &segments, &[], range, false).contains("masquerade"));
        assert!(!render("x", &segments[1..], &[], range, true).contains("masquerade"));
    }

    #[test]
    fn the_old_filters_go_in_the_same_transaction() {
        let script = render("x", &[], &[], "10.231.0.0/16".parse().unwrap(), true);
        assert!(script.starts_with(&removal("x")), "{script}");
    }

    #[test]
    fn a_bridge_whose_name_could_be_read_as_a_rule_is_refused() {
        for name in ["", "br\" drop", "br*", "a-name-of-16-byte", "br;"] {
            assert!(segment(name, Kind::Docker).is_err(), "{name}");
        }
    }
}
