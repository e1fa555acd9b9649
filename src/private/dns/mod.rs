//! The name server of one landscape, at the gateway of its segment.
//!
//! A question comes in at [`Server`], by UDP or TCP. [`answer`] judges it against the landscape's
//! [`Zone`](super::names::Zone): what is ours is answered at once and with authority, what cannot be a
//! question is refused, and the rest is somebody else's. That goes through [`relay`], which keeps what it
//! heard for as long as it is true, to the [`Forwarder`]'s upstream resolvers.
//!
//! Messages of ours are read and written by hickory. Messages between replicas and upstream resolvers pass
//! as the bytes they are ([`wire`] only finds its way in them), so that every record type and option, known
//! or not, arrives whole (RFC 5625, DNS proxy guidelines); a question that came by TCP goes on by TCP.
//! The sockets are our own as well, since hickory's server sets no bound to questions and connections.

mod answer;
mod cache;
mod relay;
mod server;
mod upstream;
mod wire;

#[cfg(test)]
mod tests;

pub use server::Server;
pub use upstream::Forwarder;
