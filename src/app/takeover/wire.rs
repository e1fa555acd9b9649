//! The socket between an old router and its successor: length-prefixed JSON, with descriptors beside
//! a message where it carries listeners.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use crate::descriptors;

/// The most a message may weigh: a status of every service of a large installation.
const MAX_MESSAGE: usize = 16 << 20;

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
    pub async fn send<M: Serialize>(&self, message: &M, beside: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(message).map_err(io::Error::other)?;
        let mut bytes = u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
        bytes.extend_from_slice(&body);
        let mut sent = 0;
        while sent < bytes.len() {
            // Descriptors travel with the first byte, once.
            let now: &[BorrowedFd<'_>] = if sent == 0 { beside } else { &[] };
            sent += self
                .stream
                .async_io(Interest::WRITABLE, || descriptors::send(&self.stream, &bytes[sent..], now))
                .await?;
        }
        Ok(())
    }

    /// Waits for a message; `None` when the other end is gone.
    pub async fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let mut beside = Vec::new();
        let mut length = [0; 4];
        if !self.fill(&mut length, &mut beside).await? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_MESSAGE {
            return Err(io::Error::other(format!("a message of {length} bytes")));
        }
        let mut body = vec![0; length];
        if !self.fill(&mut body, &mut beside).await? {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&body).map_err(io::Error::other)?, beside)))
    }

    /// Fills `buffer`; false when the other end closed before its end.
    async fn fill(&self, buffer: &mut [u8], beside: &mut Vec<OwnedFd>) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self
                .stream
                .async_io(Interest::READABLE, || descriptors::receive(&self.stream, &mut buffer[filled..], beside))
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

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
