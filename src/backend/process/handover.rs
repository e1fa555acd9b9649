//! The first byte that a shim gets, before its specification: with the descriptor of a network namespace
//! beside it, if it is to live in one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

const BYTE: [u8; 1] = [b'.'];

/// Sends it. The socket is new: there is room.
pub fn send(to: &impl AsFd, namespace: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = namespace.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    sendmsg(to, &[IoSlice::new(&BYTE)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives it, blocking.
pub fn receive(from: &impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes != 1 || byte != BYTE {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the router hung up"));
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_descriptor_arrives_where_one_was_sent() {
        let (a, b) = UnixStream::pair().unwrap();
        send(&a, None).unwrap();
        assert!(receive(&b).unwrap().is_none());
        let file = std::fs::File::open("/dev/null").unwrap();
        send(&a, Some(file.as_fd())).unwrap();
        assert!(receive(&b).unwrap().is_some());
        drop(a);
        assert!(receive(&b).is_err());
    }
}
