//! Interfaces, their addresses and routes, in the namespace that a [`Wire`] speaks with.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::Ipv4Net;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoBridgePort, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage, State,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};

use super::names;
use super::namespace::Namespace;
use super::wire::Wire;

/// The name of a replica's only interface beside `lo`, as containers have it.
pub(super) const INSIDE: &str = "eth0";
/// Who made our routes, as `ip route` shows it; a number that nobody else has registered.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(108);

/// The table in which the kernel keeps the addresses that are its own.
const LOCAL_TABLE: u32 = 255;

/// What is known of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) is_bridge: bool,
    /// The bridge whose port it is.
    pub(super) bridge: Option<u32>,
    /// Whether it carries frames, which the kernel sees to some time after it was set up.
    pub(super) carries: bool,
}

impl Wire {
    /// The interface of that name, if there is one.
    pub(super) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let found = self.get(Message::GetLink(LinkUnspec::new_with_name(name).build()));
        match found {
            Ok(messages) => Ok(messages.into_iter().find_map(link_of)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All interfaces.
    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        let all = self.dump(Message::GetLink(LinkMessage::default()))?;
        Ok(all.into_iter().filter_map(link_of).collect())
    }

    pub(super) fn remove_link(&mut self, index: u32) -> io::Result<()> {
        self.change(Message::DelLink(LinkUnspec::new_with_index(index).build()), 0)
    }

    /// Makes a bridge that speaks no spanning tree, so that its ports forward from their first moment.
    pub(super) fn make_bridge(&mut self, name: &str) -> io::Result<()> {
        let bridge = LinkBridge::new(name)
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            // There is no multicast to learn about, and the queries would wake every replica.
            .mcast_snooping(false)
            .address(names::bridge_hardware(name))
            .build();
        self.change(Message::NewLink(bridge), NLM_F_CREATE | NLM_F_EXCL)
    }

    pub(super) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.change(Message::SetLink(LinkUnspec::new_with_index(index).up().build()), 0)
    }

    /// Makes `eth0` in `namespace` and its other end, `host_end`, a port of `bridge`; then that port
    /// isolated and up, in this order: until it is isolated nothing passes.
    pub(super) fn make_pair(
        &mut self,
        namespace: &Namespace,
        hardware: Vec<u8>,
        bridge: u32,
        host_end: &str,
    ) -> io::Result<()> {
        let inside = LinkMessageBuilder::<LinkUnspec>::new()
            .name(INSIDE)
            .address(hardware)
            .setns_by_fd(namespace.as_fd().as_raw_fd())
            .build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(host_end)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
            .controller(bridge)
            .build();
        self.change(Message::NewLink(pair), NLM_F_CREATE | NLM_F_EXCL)?;
        let port = LinkBridgePort::new(0).name(host_end).append_info_data(InfoBridgePort::Isolated(true)).up().build();
        self.change(Message::NewLink(port), 0)
    }

    /// The IPv4 addresses of all interfaces, by index.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<(u32, Ipv4Net)>> {
        let all = self.dump(Message::GetAddress(AddressMessage::default()))?;
        Ok(all.into_iter().filter_map(address_of).collect())
    }

    /// Gives an interface an address; it may have it already.
    pub(super) fn add_address(&mut self, index: u32, address: Ipv4Net) -> io::Result<()> {
        self.change(Message::NewAddress(address_message(index, address)), NLM_F_CREATE | NLM_F_REPLACE)
    }

    pub(super) fn remove_address(&mut self, index: u32, address: Ipv4Net) -> io::Result<()> {
        self.change(Message::DelAddress(address_message(index, address)), 0)
    }

    /// Sets up the inside of a replica's namespace, to which this wire speaks; `eth0` is there.
    pub(super) fn set_up_inside(&mut self, address: Ipv4Net, gateway: Ipv4Addr) -> io::Result<()> {
        let inside = self.link(INSIDE)?.ok_or_else(|| io::Error::other("eth0 did not appear in the namespace"))?;
        self.add_address(inside.index, address)?;
        self.set_up(inside.index)?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(inside.index).gateway(gateway).build();
        self.change(Message::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Has what is for nowhere go through the packet filters, which refuse it.
    pub(super) fn lead_nowhere(&mut self, loopback: u32) -> io::Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(loopback).scope(RouteScope::Link).build();
        self.change(Message::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes every address of `range` one of this machine's own; it may be already.
    pub(super) fn make_local(&mut self, range: Ipv4Net, metric: u32, loopback: u32) -> io::Result<()> {
        let done = self.change(Message::NewRoute(local_route(range, metric, loopback)), NLM_F_CREATE | NLM_F_EXCL);
        match done {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            other => other,
        }
    }

    pub(super) fn unmake_local(&mut self, range: Ipv4Net, metric: u32, loopback: u32) -> io::Result<()> {
        self.change(Message::DelRoute(local_route(range, metric, loopback)), 0)
    }

    /// Where this machine sends what, in all tables: networks with the interface, and whether it is a
    /// route of a router of ours that makes a range local. The default route leads anywhere and is left out.
    pub(super) fn routes(&mut self) -> io::Result<Vec<(Ipv4Net, Option<u32>, bool)>> {
        let all = self.dump(Message::GetRoute(RouteMessageBuilder::<Ipv4Addr>::new().build()))?;
        Ok(all.into_iter().filter_map(route_of).collect())
    }
}

/// The names of interfaces by index.
pub(super) fn names_of(links: &[Link]) -> HashMap<u32, &str> {
    links.iter().map(|link| (link.index, link.name.as_str())).collect()
}

fn address_message(index: u32, address: Ipv4Net) -> AddressMessage {
    AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(address.addr(), address.prefix_len()).build()
}

fn local_route(range: Ipv4Net, metric: u32, loopback: u32) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .table_id(LOCAL_TABLE)
        .kind(RouteType::Local)
        .scope(RouteScope::Host)
        .protocol(PROTOCOL)
        .destination_prefix(range.network(), range.prefix_len())
        .output_interface(loopback)
        .priority(metric)
        .build()
}

fn link_of(message: Message) -> Option<Link> {
    let Message::NewLink(message) = message else { return None };
    let mut link =
        Link { index: message.header.index, name: String::new(), is_bridge: false, bridge: None, carries: false };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::OperState(state) => link.carries = state == State::Up,
            LinkAttribute::Controller(index) => link.bridge = Some(index),
            LinkAttribute::LinkInfo(infos) => {
                link.is_bridge = infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Bridge)));
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn address_of(message: Message) -> Option<(u32, Ipv4Net)> {
    let Message::NewAddress(message) = message else { return None };
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(own)) => {
                return net(message.header.index, *own, message.header.prefix_len);
            }
            AddressAttribute::Address(IpAddr::V4(own)) => address = Some(*own),
            _ => {}
        }
    }
    net(message.header.index, address?, message.header.prefix_len)
}

fn net(index: u32, address: Ipv4Addr, prefix: u8) -> Option<(u32, Ipv4Net)> {
    Ipv4Net::new(address, prefix).ok().map(|net| (index, net))
}

fn route_of(message: Message) -> Option<(Ipv4Net, Option<u32>, bool)> {
    let Message::NewRoute(message) = message else { return None };
    let kind = message.header.kind;
    let counts = !matches!(kind, RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast | RouteType::Throw);
    if !counts || message.header.destination_prefix_length == 0 {
        return None;
    }
    let mut destination = None;
    let mut interface = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(*address),
            RouteAttribute::Oif(index) => interface = Some(*index),
            _ => {}
        }
    }
    let net = Ipv4Net::new(destination?, message.header.destination_prefix_length).ok()?;
    Some((net, interface, kind == RouteType::Local && message.header.protocol == PROTOCOL))
}
