//! From a step's pipes to the log.

use std::cell::RefCell;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::backend::process::logs::{LineSplitter, LogWriter};

/// Reads until nobody holds the pipe's other end any more.
pub async fn read(pipe: PipeReader, step: u32, stderr: bool, log: Rc<RefCell<LogWriter>>) -> io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(OwnedFd::from(pipe))?;
    let mut buffer = vec![0; 16 << 10];
    let mut lines = LineSplitter::default();
    loop {
        match pipe.read(&mut buffer).await? {
            0 => break,
            n => log.borrow_mut().write(step, stderr, &lines.push(&buffer[..n])),
        }
    }
    if let Some(line) = lines.finish() {
        log.borrow_mut().write(step, stderr, &[line]);
    }
    Ok(())
}
