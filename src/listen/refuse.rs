//! Last words on a connection, and an end that lets the client read them.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::proxy::wire;

/// How long a client may take to read its last answer and to end.
const LINGER: Duration = Duration::from_secs(2);
/// What it may still send meanwhile.
const STILL_SENT: usize = 4 * 1024 * 1024;

/// Writes, without waiting for room: what does not fit in a fresh socket's buffer is not read anyway.
pub(super) fn say(stream: &TcpStream, answer: &[u8]) -> io::Result<usize> {
    stream.try_write(answer)
}

/// Ends a connection whose client may still be sending. Closing with bytes unread would reset it, and
/// the reset overtakes the answer (RFC 9112, 9.6): so the sending side is shut first, and what comes
/// is thrown away for a while.
pub(super) async fn part(stream: &TcpStream) {
    if wire::shut_sending(stream).is_err() {
        return;
    }
    let mut left = STILL_SENT;
    // Not an array: it would be part of every connection's future.
    let mut scratch = vec![0; 4096];
    let drain = async {
        while left > 0 {
            match stream.try_read(&mut scratch) {
                Ok(0) => return,
                Ok(n) => left = left.saturating_sub(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if stream.readable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    };
    // Whether the client ended or its time did makes no difference now.
    let _over = timeout(LINGER, drain).await;
}

/// Answers a connection that there is no room for, and ends it.
pub(super) async fn turn_away(stream: Rc<TcpStream>, answer: Rc<[u8]>) {
    if stream.writable().await.is_ok() && say(&stream, &answer).is_ok() {
        part(&stream).await;
    }
}
