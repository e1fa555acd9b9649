//! One router replaced by its successor without losing a request.
//!
//! The successor ([`Predecessor`] is its view of the old one) connects to a socket in `state`, gets
//! duplicates of the listening sockets, makes itself ready, and asks for the lives of the services. The
//! old router ([`Successors`], [`Owner`]) then stops accepting, starts and stops nothing any more, and
//! gives the state folder up; connections that arrive meanwhile wait in the listening sockets. From
//! then on it forwards what it has, asks the new one to wake what its requests need, and tells it which
//! services it still uses, until nothing is left.

mod messages;
mod new;
mod old;
pub mod wire;

pub use new::{Predecessor, user_namespace};
pub use old::{Admin, Owner, Successors};

use std::io;
use std::net::{SocketAddr, TcpListener};

/// Listening sockets of an old router, each with the address it was configured as.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Of `listen.http`.
    pub http: Vec<(SocketAddr, TcpListener)>,
    admin: Option<(SocketAddr, TcpListener)>,
}

impl Inherited {
    /// The admin listener, if it was configured as `address`.
    pub fn admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.admin.take().filter(|(wanted, _)| *wanted == address).map(|(_, socket)| socket)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the other router has gone")
}
