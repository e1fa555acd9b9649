//! A plain conversation with the kernel about links, addresses and routes: one request, its answers.
//!
//! The messages are `rtnetlink`'s. Its handle needs a runtime that drives the connection; here requests
//! are few, each is answered within microseconds, and half of them are made in namespaces that exist for
//! a thread without a runtime, so that a socket that blocks is the simpler way.

use std::io;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// A conversation with the namespace in which it was opened, whichever thread goes on with it.
pub(super) struct Wire {
    socket: Socket,
    sequence: u32,
}

impl Wire {
    /// Opens one in the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Has the kernel do something; `flags` beside those that every request has.
    pub(super) fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.answers().map(drop)
    }

    /// Asks for one thing.
    pub(super) fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        self.answers()
    }

    /// Asks for everything of a kind.
    pub(super) fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        self.answers()
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads up to the acknowledgement, the end of a dump, or the error.
    fn answers(&self) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut all = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Ok(frame) = NetlinkBuffer::new_checked(rest) {
                let (length, sequence) = (frame.length() as usize, frame.sequence_number());
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
                // Messages are padded to four bytes.
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                // What cannot be read is a kind of link or route that is none of ours. Answers to an
                // earlier request, which ended with an error, may still be under way.
                let Ok(message) = message else { continue };
                if sequence != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(all),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(all),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(message) => all.push(message),
                    _ => {}
                }
            }
        }
    }
}
