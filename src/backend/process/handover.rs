//! The first byte that a shim gets, before its specification: with descriptors of network namespaces beside
//! it, if it is to live in one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::descriptors;

const BYTE: [u8; 1] = [b'.'];

/// Network namespaces of a replica.
#[derive(Debug)]
pub struct Network<Fd> {
    /// The one to live in.
    pub namespace: Fd,
    /// The one that it hangs on, to be kept, if that is not the machine's.
    pub hub: Option<Fd>,
}

/// Sends it. The socket is new: there is room.
pub fn send(to: &impl AsFd, network: Option<Network<BorrowedFd<'_>>>) -> io::Result<()> {
    let given: Vec<BorrowedFd<'_>> = network.into_iter().flat_map(|n| [Some(n.namespace), n.hub]).flatten().collect();
    descriptors::send(to, &BYTE, &given)?;
    Ok(())
}

/// Receives it, blocking.
pub fn receive(from: &impl AsFd) -> io::Result<Option<Network<OwnedFd>>> {
    let (mut byte, mut given) = ([0; 1], Vec::new());
    if descriptors::receive(from, &mut byte, &mut given)? != 1 || byte != BYTE {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the router hung up"));
    }
    let mut given = given.into_iter();
    Ok(given.next().map(|namespace| Network { namespace, hub: given.next() }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_arrive_where_some_were_sent() {
        let (a, b) = UnixStream::pair().unwrap();
        send(&a, None).unwrap();
        assert!(receive(&b).unwrap().is_none());
        let file = std::fs::File::open("/dev/null").unwrap();
        send(&a, Some(Network { namespace: file.as_fd(), hub: None })).unwrap();
        assert!(receive(&b).unwrap().unwrap().hub.is_none());
        send(&a, Some(Network { namespace: file.as_fd(), hub: Some(file.as_fd()) })).unwrap();
        assert!(receive(&b).unwrap().unwrap().hub.is_some());
        drop(a);
        assert!(receive(&b).is_err());
    }
}
