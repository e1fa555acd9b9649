//! A replica's own piece of network: a namespace with one cable to its landscape's bridge.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use super::links::INSIDE;
use super::names;
use super::namespace;
use super::wire::Wire;

/// How long links may take to carry frames.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes a network namespace whose `eth0` has `address` and hangs on `bridge`, whose net is `net`; its
/// default route is the net's first address. The other end of the cable is the interface `host_end`,
/// an isolated port: it exchanges frames with the bridge itself and with no other replica.
///
/// All is ready when this returns, and everything goes away with the last process and descriptor of the
/// namespace. Blocks for some milliseconds; may be called from any thread.
pub fn attach(bridge: &str, net: Ipv4Net, address: Ipv4Addr, host_end: &str) -> io::Result<OwnedFd> {
    let at = |what: &'static str| move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let gateway = gateway_of(net).ok_or_else(|| io::Error::other(format!("{net} has no room for a gateway")))?;
    let own = Ipv4Net::new(address, net.prefix_len()).map_err(io::Error::other)?;
    if !net.contains(&address) || address == gateway.addr() {
        return Err(io::Error::other(format!("{address} is not an address for a replica in {net}")));
    }
    let mut outside = Wire::open()?;
    let bridge_index = match outside.link(bridge)? {
        Some(link) if link.is_bridge => link.index,
        _ => return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no bridge {bridge}"))),
    };
    let (namespace, mut inside) = namespace::make(prepare).map_err(at("cannot make a network namespace"))?;
    outside
        .make_pair(&namespace, names::replica_hardware(address), bridge_index, host_end)
        .map_err(at("cannot connect a network namespace to its bridge"))?;
    inside.set_up_inside(own, gateway.addr()).map_err(at("cannot set up a network namespace"))?;
    wait_until_up(&mut [(&mut outside, host_end), (&mut inside, INSIDE)], bridge)?;
    Ok(namespace.into())
}

/// Waits for what the kernel does by itself after links were set up, mostly within a millisecond. Until
/// then frames are lost without a word, and the first connection would take a second.
fn wait_until_up(ends: &mut [(&mut Wire, &str); 2], bridge: &str) -> io::Result<()> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        let mut all = true;
        for (wire, name) in ends.iter_mut() {
            all &= wire.link(name)?.is_some_and(|link| link.carries);
        }
        let [(outside, _), _] = ends;
        all &= outside.link(bridge)?.is_some_and(|link| link.carries);
        // Late is better than never: whatever it is, the first packets are tried again.
        if all || start.elapsed() > PATIENCE {
            return Ok(());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}

/// The address of a net's bridge: its first one, with the net's size.
pub fn gateway_of(net: Ipv4Net) -> Option<Ipv4Net> {
    let first = net.hosts().next().filter(|_| net.prefix_len() < 31)?;
    Ipv4Net::new(first, net.prefix_len()).ok()
}

/// What is done from within a new namespace, before its cable is there.
fn prepare() -> io::Result<Wire> {
    // A service that has no rights may listen at 80, as it may in a container.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").map_err(|error| {
        io::Error::new(error.kind(), format!("net.ipv4.ip_unprivileged_port_start cannot be set: {error}"))
    })?;
    // `ping` without raw packets. A user namespace knows one group alone.
    const PINGERS: &str = "/proc/sys/net/ipv4/ping_group_range";
    let own = rustix::process::getegid().as_raw();
    let _ = std::fs::write(PINGERS, "0 2147483647").or_else(|_| std::fs::write(PINGERS, format!("{own} {own}")));
    // Interfaces to come shall not announce themselves on a network that carries IPv4 alone; `lo` keeps
    // ::1. A kernel without IPv6 has nothing to switch off.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    let mut inside = Wire::open()?;
    let loopback = inside.link("lo")?.map_or(1, |link| link.index);
    inside.set_up(loopback)?;
    Ok(inside)
}
