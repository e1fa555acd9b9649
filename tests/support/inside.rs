//! The view from within a replica's network: sockets and commands as its own programs would have them.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use landscape_router::private::ground::Namespace;
use socket2::{Domain, Socket};

use super::PATIENCE;
use super::http::{Answer, read_answer};

/// How long a connection that must not come to be is waited for: a refusal is there at once, what is
/// dropped without a word is silent for ever.
pub const SILENCE: Duration = Duration::from_millis(700);

/// A replica's network, seen through one of its processes.
#[derive(Debug)]
pub struct Inside {
    pid: u32,
    namespace: Namespace,
}

/// What a name server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// 0 for an answer, 3 for "no such name".
    pub code: u8,
    pub addresses: Vec<Ipv4Addr>,
    /// For how many seconds the least lasting of them holds.
    pub ttl: Option<u32>,
}

impl Inside {
    /// The network of this process.
    pub fn of(pid: u32) -> Self {
        Self { pid, namespace: Namespace::of_pid(pid).unwrap() }
    }

    /// A socket in it that is not connected yet and does not block.
    pub fn socket(&self) -> Socket {
        self.namespace.socket(Domain::IPV4).unwrap()
    }

    /// Connects, however long the other end takes to start.
    pub fn connect(&self, at: SocketAddrV4) -> std::io::Result<TcpStream> {
        self.try_connect(at, PATIENCE)
    }

    /// The same, if it takes no longer than this.
    pub fn try_connect(&self, at: SocketAddrV4, patience: Duration) -> std::io::Result<TcpStream> {
        let socket = self.socket();
        socket.set_nonblocking(false)?;
        socket.connect_timeout(&SocketAddr::V4(at).into(), patience)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Whether nobody accepts a connection there.
    pub fn is_closed(&self, at: SocketAddrV4) -> bool {
        self.try_connect(at, SILENCE).is_err()
    }

    /// Whether a connection there is refused, rather than left without an answer.
    pub fn is_refused(&self, at: SocketAddrV4) -> bool {
        self.try_connect(at, PATIENCE).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
    }

    /// A connection of lines.
    pub fn lines(&self, at: SocketAddrV4) -> Lines {
        Lines::new(self.connect(at).unwrap())
    }

    /// `GET` on a connection of its own.
    pub fn get(&self, at: SocketAddrV4, host: &str, path: &str) -> Answer {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = self.connect(at).and_then(|mut stream| {
            stream.write_all(ask.as_bytes())?;
            read_answer(&mut BufReader::new(stream))
        });
        answer.unwrap_or_else(|e| panic!("GET {host}{path} at {at}: {e}"))
    }

    /// Whom programs in there ask for names.
    pub fn resolver(&self) -> Ipv4Addr {
        let text = std::fs::read_to_string(format!("/proc/{}/root/etc/resolv.conf", self.pid)).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("nameserver "));
        line.unwrap_or_else(|| panic!("no name server in {text}")).trim().parse().unwrap()
    }

    /// Asks for the address of a name, by UDP.
    pub fn ask(&self, name: &str) -> Named {
        let socket = self.namespace.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&question(name), (self.resolver(), 53)).unwrap();
        let mut message = [0; 1500];
        let (length, _) = socket.recv_from(&mut message).unwrap_or_else(|e| panic!("no answer for {name}: {e}"));
        understood(&message[..length])
    }

    /// The one address of a name; `None` where there is no such name.
    pub fn resolve(&self, name: &str) -> Option<Ipv4Addr> {
        let Named { addresses, .. } = self.ask(name);
        assert!(addresses.len() < 2, "{name} has {addresses:?}");
        addresses.first().copied()
    }

    /// A service's port, by its short name.
    pub fn at(&self, name: &str, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.resolve(name).unwrap_or_else(|| panic!("{name} has no address")), port)
    }

    /// Whether a name server that is not this landscape's answers at `at`.
    pub fn names_are_answered_at(&self, at: Ipv4Addr) -> bool {
        let socket = self.namespace.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        let sent = socket.connect((at, 53)).and_then(|()| socket.send(&question("localhost")));
        sent.and_then(|_| socket.recv(&mut [0; 1500])).is_ok()
    }

    /// Its own address on its landscape's network.
    pub fn address(&self) -> Ipv4Addr {
        let text = self.run("ip -4 -o addr show dev eth0");
        let word = text.split_whitespace().skip_while(|w| *w != "inet").nth(1);
        word.and_then(|w| w.split('/').next()).unwrap_or_else(|| panic!("no address in {text:?}")).parse().unwrap()
    }

    /// What a shell command prints that runs there.
    pub fn run(&self, command: &str) -> String {
        printed(command, &self.output(command))
    }

    /// How a shell command ends that runs there.
    pub fn output(&self, command: &str) -> Output {
        self.entered(&["-n", "-m"], command)
    }

    /// What a shell command prints that runs in its network, with the programs of this machine.
    pub fn run_here(&self, command: &str) -> String {
        printed(command, &self.entered(&["-n"], command))
    }

    fn entered(&self, namespaces: &[&str], command: &str) -> Output {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.pid.to_string()]).args(namespaces).args(["timeout", "60", "sh", "-c", command]);
        nsenter.stdin(Stdio::null()).output().unwrap()
    }
}

fn printed(command: &str, output: &Output) -> String {
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A connection to an application that speaks in lines.
pub struct Lines(BufReader<TcpStream>);

impl Lines {
    /// Over this connection.
    pub fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Says a line, and hears the answer.
    pub fn say(&mut self, line: &str) -> String {
        self.tell(line);
        self.hear().unwrap_or_else(|e| panic!("no answer to {line:?}: {e}"))
    }

    /// Says a line.
    pub fn tell(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Hears a line.
    pub fn hear(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// The bytes as they come.
    pub fn bytes(self) -> BufReader<TcpStream> {
        self.0
    }
}

/// A question of DNS for an address (RFC 1035, 4.1).
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

fn understood(message: &[u8]) -> Named {
    let number = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    // Behind a name: its labels, or what stands for the rest of them.
    let past = |mut at: usize| loop {
        match message[at] {
            0 => return at + 1,
            pointer if pointer >= 0xc0 => return at + 2,
            length => at += 1 + usize::from(length),
        }
    };
    let mut at = 12;
    for _ in 0..number(4) {
        at = past(at) + 4;
    }
    let mut named = Named { code: message[3] & 15, addresses: Vec::new(), ttl: None };
    for _ in 0..number(6) {
        let record = past(at);
        let ttl = u32::from_be_bytes(message[record + 4..record + 8].try_into().unwrap());
        let length = number(record + 8);
        if number(record) == 1 && length == 4 {
            let octets: [u8; 4] = message[record + 10..record + 14].try_into().unwrap();
            named.addresses.push(octets.into());
            named.ttl = Some(named.ttl.map_or(ttl, |t| t.min(ttl)));
        }
        at = record + 10 + length;
    }
    named
}
