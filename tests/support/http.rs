//! A small HTTP/1.1 client that shows exactly what came, for tests alone.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }
}

/// A GET on a connection of its own.
pub fn get(at: SocketAddr, host: &str, path: &str) -> Answer {
    request(at, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
        .unwrap_or_else(|e| panic!("GET {host}{path} at {at}: {e}"))
}

/// Sends `bytes` as they are on a connection of its own and reads one answer.
pub fn request(at: SocketAddr, bytes: &str) -> std::io::Result<Answer> {
    let mut stream = connect(at)?;
    stream.write_all(bytes.as_bytes())?;
    read_answer(&mut BufReader::new(stream))
}

pub fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(at)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(90)))?;
    Ok(stream)
}

/// Reads one answer; a body without a length ends with the connection.
pub fn read_answer(reader: &mut impl BufRead) -> std::io::Result<Answer> {
    let gone = |what: &str| std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what.to_owned());
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Err(gone("closed within the head"));
        }
        if &head[before..] == "\r\n" {
            // An interim answer is not the answer.
            if head.starts_with("HTTP/1.1 1") && !head.starts_with("HTTP/1.1 101") {
                head.clear();
                continue;
            }
            break;
        }
    }
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| gone("no status"))?;
    let mut answer = Answer { status, head, body: Vec::new() };
    if status == 101 || status == 204 || status == 304 {
        return Ok(answer);
    }
    if let Some(length) = answer.header("content-length") {
        answer.body = vec![0; length.parse().map_err(|_| gone("a bad length"))?];
        reader.read_exact(&mut answer.body)?;
    } else if answer.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| gone("a bad chunk"))?;
            let at = answer.body.len();
            answer.body.resize(at + size + 2, 0);
            reader.read_exact(&mut answer.body[at..])?;
            answer.body.truncate(at + size);
            if size == 0 {
                break;
            }
        }
    } else {
        reader.read_to_end(&mut answer.body)?;
    }
    Ok(answer)
}
