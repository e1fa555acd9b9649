//! Sockets of the router that answer on one interface alone.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Listens at `at` for what comes by the interface `device`, if one is given, and for nothing else: not for
/// another bridge's replicas, not for the machine's own processes.
///
/// A listener at a port collides with any socket of this machine that is bound to the same port of all
/// addresses, whichever comes second. With port 0 it gets a port that nobody asks for, and a
/// [`Redirect`](super::filter::Redirect) brings callers of the declared port there.
pub fn listen_tcp(device: Option<&str>, at: SocketAddrV4, backlog: i32) -> io::Result<TcpListener> {
    let socket = bound(device, at, Type::STREAM, Protocol::TCP)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// The same for datagrams. Answers leave by the address at which the socket is bound.
pub fn bind_udp(device: &str, at: SocketAddrV4) -> io::Result<UdpSocket> {
    bound(Some(device), at, Type::DGRAM, Protocol::UDP).map(Into::into)
}

fn bound(device: Option<&str>, at: SocketAddrV4, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind.nonblocking().cloexec(), Some(protocol))?;
    if let Some(device) = device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if kind == Type::STREAM {
        // Connections of an earlier listener that are on their way out do not keep the port.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SocketAddr::V4(at).into()).map_err(|error| {
        let on = device.map(|device| format!(" on {device}")).unwrap_or_default();
        io::Error::new(error.kind(), format!("cannot bind {at}{on}: {error}"))
    })?;
    Ok(socket)
}

/// The interface that a socket of [`listen_tcp`] answers on, by the kernel's number; 0 if none.
pub fn device_of(socket: &TcpListener) -> io::Result<u32> {
    Ok(SockRef::from(socket).device_index_v4()?.map_or(0, u32::from))
}
