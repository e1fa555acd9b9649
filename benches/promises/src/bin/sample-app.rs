//! The application that the benches put behind the router: one thread, keep-alive, any length.
//!
//! * `GET /bytes/N` answers N bytes.
//! * `/slow/MS` answers after so many milliseconds.
//! * `/pull/ADDRESS/N` asks another one, which runs with `--stream`, for N bytes, and answers `ns=` it took.
//! * Everything else answers `key=value` lines: its pid, `CS_REPLICA`, `WORD`, how long the body of
//!   the request was, and on the clock of `CLOCK_MONOTONIC` when it could accept connections first
//!   (`listening`) and when it did (`accepted`).
//!
//! `--boot MS` waits before it listens, `--starts FILE` appends a line to a file as it starts. With
//! `--stream on` it speaks no HTTP: each connection brings a number, eight bytes, and gets as many bytes.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use promises::proc::monotonic_ns;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

struct App {
    listening: u64,
    accepted: u64,
    word: String,
    replica: String,
}

fn main() -> Result<()> {
    let mut boot = Duration::ZERO;
    let mut streams = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--boot" => boot = Duration::from_millis(value.parse()?),
            "--starts" => {
                let mut file = std::fs::OpenOptions::new().create(true).append(true).open(value)?;
                writeln!(file, "{}", std::process::id())?;
            }
            "--stream" => streams = value == "on",
            _ => bail!("unknown option {arg}"),
        }
    }
    std::thread::sleep(boot);
    let port: u16 = std::env::var("PORT").context("PORT is not set")?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(serve(port, streams)))
}

async fn serve(port: u16, streams: bool) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    let host = match std::env::var("HOST") {
        Ok(host) => host.parse()?,
        Err(_) => Ipv4Addr::LOCALHOST,
    };
    socket.bind(SocketAddr::from((host, port)))?;
    let listener = socket.listen(4096)?;
    let listening = monotonic_ns();
    let mut stream = listener.accept().await?.0;
    let env = |name| std::env::var(name).unwrap_or_default();
    let app = Rc::new(App { listening, accepted: monotonic_ns(), word: env("WORD"), replica: env("CS_REPLICA") });
    loop {
        let app = Rc::clone(&app);
        // A client that leaves is no failure of ours.
        tokio::task::spawn_local(async move {
            match streams {
                true => stream_to(stream).await.ok(),
                false => app.converse(stream).await.ok(),
            }
        });
        stream = listener.accept().await?.0;
    }
}

/// Read and written at once.
const PIECE: usize = 256 * 1024;

/// Sends as many bytes as the other side asks for.
async fn stream_to(mut stream: TcpStream) -> Result<()> {
    let mut left = stream.read_u64().await? as usize;
    let piece = vec![b'x'; PIECE];
    while left > 0 {
        left -= stream.write(&piece[..left.min(PIECE)]).await?;
    }
    Ok(())
}

/// Nanoseconds that it takes to get so many bytes from an application that streams.
async fn pull(address: &str, size: u64) -> Result<u64> {
    let begin = monotonic_ns();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_u64(size).await?;
    let mut piece = vec![0; PIECE];
    let mut got = 0;
    loop {
        match stream.read(&mut piece).await? {
            0 => break,
            n => got += n as u64,
        }
    }
    anyhow::ensure!(got == size, "{got} bytes of {size}");
    Ok(monotonic_ns() - begin)
}

impl App {
    async fn converse(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(8 * 1024);
        let mut answer = Vec::new();
        loop {
            let head_end = loop {
                if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            };
            let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
            let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
            let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(|v| v.trim().to_owned()));
            let length: usize = field("content-length:").map_or(Ok(0), |text| text.parse())?;
            while buffer.len() < head_end + length {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            buffer.drain(..head_end + length);
            self.answer(&path, length, &mut answer).await?;
            stream.write_all(&answer).await?;
        }
    }

    async fn answer(&self, path: &str, received: usize, answer: &mut Vec<u8>) -> Result<()> {
        answer.clear();
        let number = |prefix: &str| path.strip_prefix(prefix).and_then(|rest| rest.parse::<usize>().ok());
        if let Some(size) = number("/bytes/") {
            write!(answer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n")?;
            answer.resize(answer.len() + size, b'x');
            return Ok(());
        }
        if let Some(delay) = number("/slow/") {
            tokio::time::sleep(Duration::from_millis(delay as u64)).await;
        }
        let mut more = String::new();
        if let Some((address, size)) = path.strip_prefix("/pull/").and_then(|rest| rest.split_once('/')) {
            more = match pull(address, size.parse()?).await {
                Ok(took) => format!("ns={took}\n"),
                Err(error) => format!("error={error:#}\n"),
            };
        }
        let body = format!(
            "{more}pid={}\nlistening={}\naccepted={}\nword={}\nreplica={}\nreceived={received}\n",
            std::process::id(),
            self.listening,
            self.accepted,
            self.word,
            self.replica
        );
        write!(answer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(())
    }
}
