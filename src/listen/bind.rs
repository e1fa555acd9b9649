//! Listening sockets, and what to do when there is none.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the system keeps for us before they are accepted; it bounds this by
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", remedy(.address, .source))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

fn remedy(address: &SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the address is in use; choose another port in listen.http, or end the program that has it \
             (`ss -ltnp 'sport = :{}'` names it)",
            address.port()
        ),
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose a higher port in listen.http".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; `ip address` lists those it has".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Binds and listens. An IPv6 address listens for IPv6 alone, so that `0.0.0.0` and `[::]` may stand
/// side by side.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart may not wait for the last connections of the process before.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        io::Result::Ok(socket.into())
    };
    open().map_err(|source| BindError { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_told_with_a_remedy() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&address.to_string()) && text.contains("in use") && text.contains("ss -ltnp"), "{text}");
        let text = listen("192.0.2.1:0".parse().unwrap()).unwrap_err().to_string();
        assert!(text.contains("no such address"), "{text}");
    }
}
