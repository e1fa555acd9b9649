//! The socket between an old router and its successor: length-prefixed JSON, with descriptors beside
//! a message where it carries listeners.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

/// The most a message may weigh: a status of every service of a large installation.
const MAX_MESSAGE: usize = 16 << 20;

/// The most descriptors beside one message.
pub const MAX_DESCRIPTORS: usize = 64;

/// One end of the socket.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
}

impl Wire {
    /// Connects to the router that owns `state`.
    pub async fn connect(state: &Path) -> io::Result<Self> {
        let (_folder, path) = short(state)?;
        Ok(Self { stream: UnixStream::connect(path).await? })
    }

    /// Wraps an accepted connection, if it comes from a process of our own user.
    pub fn accept(stream: UnixStream) -> io::Result<Self> {
        let peer = stream.peer_cred()?.uid();
        if peer != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("uid {peer} may not take over")));
        }
        Ok(Self { stream })
    }

    /// Sends a message. Not cancel-safe: a message that was begun has to be finished.
    pub async fn send<M: Serialize>(&self, message: &M, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(message).map_err(io::Error::other)?;
        let mut bytes = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
        bytes.extend_from_slice(&body);
        let mut sent = 0;
        while sent < bytes.len() {
            // Descriptors travel with the first byte, once.
            let now: &[BorrowedFd<'_>] = if sent == 0 { descriptors } else { &[] };
            sent += self.stream.async_io(Interest::WRITABLE, || send_some(&self.stream, &bytes[sent..], now)).await?;
        }
        Ok(())
    }

    /// Waits for a message; `None` when the other end is gone.
    pub async fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let mut descriptors = Vec::new();
        let mut length = [0; 4];
        if !self.fill(&mut length, &mut descriptors).await? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_MESSAGE {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        let mut body = vec![0; length];
        if !self.fill(&mut body, &mut descriptors).await? {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&body).map_err(io::Error::other)?, descriptors)))
    }

    /// Fills `buffer`; false when the other end closed before its end.
    async fn fill(&self, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self
                .stream
                .async_io(Interest::READABLE, || receive_some(&self.stream, &mut buffer[filled..], descriptors))
                .await?;
            if read == 0 {
                return Ok(false);
            }
            filled += read;
        }
        Ok(true)
    }
}

/// Listens for a successor at `state`.
pub fn listen(state: &Path) -> io::Result<UnixListener> {
    let (_folder, path) = short(state)?;
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    UnixListener::bind(path)
}

/// The socket's path by way of its folder's descriptor: a socket's address holds 107 bytes, and state
/// folders may lie deeper.
fn short(state: &Path) -> io::Result<(std::fs::File, std::path::PathBuf)> {
    use std::os::fd::AsRawFd;
    let folder = std::fs::File::open(state)?;
    let path = format!("/proc/self/fd/{}/takeover.sock", folder.as_raw_fd()).into();
    Ok((folder, path))
}

fn send_some(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other(format!("more than {MAX_DESCRIPTORS} listeners cannot be handed over")));
    }
    Ok(sendmsg(stream.as_fd(), &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

fn receive_some(stream: &UnixStream, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(stream.as_fd(), &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(got.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_and_descriptors_arrive_together() {
        let state = tempfile::tempdir().unwrap();
        let listener = listen(state.path()).unwrap();
        let (near, far) = tokio::join!(Wire::connect(state.path()), listener.accept());
        let (near, far) = (near.unwrap(), Wire::accept(far.unwrap().0).unwrap());
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let large = "x".repeat(1 << 20);
        let sending = async {
            near.send(&vec!["first"], &[socket.as_fd()]).await.unwrap();
            near.send(&large, &[]).await.unwrap();
            drop(near);
        };
        let receiving = async {
            let (words, mut fds) = far.receive::<Vec<String>>().await.unwrap().unwrap();
            assert_eq!(words, ["first"]);
            let twin = std::net::TcpListener::from(fds.pop().unwrap());
            assert_eq!(twin.local_addr().unwrap(), socket.local_addr().unwrap());
            let (long, fds) = far.receive::<String>().await.unwrap().unwrap();
            assert!(long == large && fds.is_empty());
            assert!(far.receive::<String>().await.unwrap().is_none());
        };
        tokio::join!(sending, receiving);
    }
}
