//! A small HTTP/1.1 client: keep-alive, lengths and chunks, and the time of the first byte.
//!
//! It reads what it is given strictly: an answer that ends early or has no end is an error, so that
//! nothing broken is counted as an answer.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::proc::monotonic_ns;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    answered: u64,
}

/// One whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head as it came.
    pub head: String,
    /// Bytes of its body.
    pub length: usize,
    /// The body, as far as it was to be kept.
    pub body: Vec<u8>,
    /// When its first byte was read, see [`monotonic_ns`].
    pub first_byte_ns: u64,
    /// Whether the connection may be used again.
    pub reusable: bool,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The kept body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A `key=value` of the sample application's answer.
    pub fn value(&self, key: &str) -> Option<String> {
        let text = self.text();
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
    }
}

/// Why there was no answer.
#[derive(Debug)]
pub enum Failure {
    /// A connection that had answered before was closed before any byte of this answer: what every
    /// client has to expect of keep-alive (RFC 9112, 9.3.1), and tries again on a fresh one.
    Stale,
    /// Anything else.
    Broken(anyhow::Error),
}

/// The text of a request without a body.
pub fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// The text of a request with a body.
pub fn post(host: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// One request on a connection of its own.
pub async fn once(to: SocketAddr, request: &[u8]) -> Result<Answer> {
    Connection::open(to).await?.ask(request, true).await.map_err(Failure::into_error)
}

impl Failure {
    /// As an error to print.
    pub fn into_error(self) -> anyhow::Error {
        match self {
            Self::Stale => anyhow::anyhow!("the connection was closed before the answer"),
            Self::Broken(error) => error,
        }
    }
}

impl Connection {
    /// Connects.
    pub async fn open(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("connect to {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024), answered: 0 })
    }

    /// Sends a request and reads its whole answer; keeps the body only if asked to.
    pub async fn ask(&mut self, request: &[u8], keep_body: bool) -> Result<Answer, Failure> {
        match self.exchange(request, keep_body).await {
            Ok(answer) => {
                self.answered += 1;
                Ok(answer)
            }
            Err(_) if self.answered > 0 && self.buffer.is_empty() => Err(Failure::Stale),
            Err(error) => Err(Failure::Broken(error)),
        }
    }

    /// Sends a request and does not wait for its answer.
    pub async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    async fn exchange(&mut self, request: &[u8], keep_body: bool) -> Result<Answer> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        ensure!(self.fill().await?, "closed before the answer");
        let first_byte_ns = monotonic_ns();
        let head_end = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            ensure!(self.buffer.len() < 64 * 1024, "a head of more than 64 KiB");
            ensure!(self.fill().await?, "closed inside the answer's head");
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        self.buffer.drain(..head_end);
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status line")?;
        let reusable = !header(&head, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut answer = Answer { status, head, length: 0, body: Vec::new(), first_byte_ns, reusable };
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().context("a Content-Length that is no number")?;
            self.take(length, keep_body, &mut answer).await?;
        } else if answer.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            self.chunks(keep_body, &mut answer).await?;
        } else {
            bail!("an answer without an end: {}", answer.head);
        }
        ensure!(self.buffer.is_empty(), "bytes after the answer's end");
        // Left empty for `ask`, which reads from it whether an answer had begun.
        Ok(answer)
    }

    async fn chunks(&mut self, keep_body: bool, answer: &mut Answer) -> Result<()> {
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .context("a chunk without a size")?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(());
            }
            self.take(size, keep_body, answer).await?;
            ensure!(self.line().await?.is_empty(), "a chunk longer than it says");
        }
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            ensure!(self.fill().await?, "closed inside the answer");
        }
    }

    async fn take(&mut self, length: usize, keep_body: bool, answer: &mut Answer) -> Result<()> {
        let mut left = length;
        loop {
            let here = left.min(self.buffer.len());
            if keep_body {
                answer.body.extend_from_slice(&self.buffer[..here]);
            }
            // The usual case, everything or nothing, moves no bytes.
            if here == self.buffer.len() {
                self.buffer.clear()
            } else {
                drop(self.buffer.drain(..here))
            }
            left -= here;
            answer.length += here;
            if left == 0 {
                return Ok(());
            }
            ensure!(self.fill().await?, "closed {left} bytes before the answer's end");
        }
    }

    /// Reads what is there; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        self.buffer.reserve(16 * 1024);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
