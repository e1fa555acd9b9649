//! What the router and a replica's shim say to each other: a frame is a length (4 bytes, little
//! endian) and that much JSON.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::cgroup::CgroupSpec;
use super::procfs::Identity;
use crate::backend::{Addresses, Attached, Inside, ReplicaId, Stage};
use crate::landscape::{RunDigest, ServiceKey};
use crate::private::HostsFile;

/// Grows when a router can no longer drive an older shim.
pub const PROTOCOL: u32 = 1;

/// The longest frame either side accepts: an environment may be large, but has an end.
pub const MAX_FRAME: usize = 8 << 20;

/// The variable that marks every process of a replica: how they are found once their shim is gone.
pub const MARK: &str = "LANDSCAPE_ROUTER_REPLICA";

/// Everything a shim needs, sent once over its standard input. It may hold secrets and is never
/// written to disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShimSpec {
    /// What it runs for.
    pub meta: Meta,
    /// The folder of its control socket and `meta.json`.
    pub dir: PathBuf,
    /// Where output goes.
    pub log: LogSpec,
    /// The shell, which is given `-c` and the command.
    pub shell: PathBuf,
    /// In order; empty commands are left out.
    pub steps: Vec<StepSpec>,
    /// How many steps the file has, for people.
    pub total: u32,
    /// The working directory.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The user, where it is not the router's.
    pub user: Option<UserSpec>,
    /// `RLIMIT_NOFILE` for the steps, soft and hard; `None` keeps what the shim was given.
    pub files: Option<(u64, u64)>,
    /// Without a router for so long, the replica is ended.
    pub orphan_after_ms: u64,
    /// How it is then ended.
    pub grace_ms: u64,
    /// Its own network: the descriptors of its namespaces come before this on the same socket.
    pub network: Option<NetworkSpec>,
    /// On the machine's network, the hosts file that it is shown.
    pub hosts: Option<HostsFile>,
}

/// The network of a replica or job with a namespace of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Who answers for names.
    pub resolver: Ipv4Addr,
    /// The router lent the shim the capabilities to move there: they are given up before anything runs.
    pub capabilities_lent: bool,
}

impl NetworkSpec {
    /// For what lives there.
    pub fn of(attached: &Attached) -> Self {
        Self { resolver: attached.resolver, capabilities_lent: attached.hub.is_some() }
    }
}

/// One step to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepSpec {
    /// From 1, as the file counts.
    pub number: u32,
    /// `step 2 (run server)`.
    pub label: String,
    /// Shell text.
    pub command: String,
}

/// As whom a step runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserSpec {
    /// `setuid`.
    pub uid: u32,
    /// `setgid`.
    pub gid: u32,
    /// `setgroups`.
    pub groups: Vec<u32>,
}

/// Where a shim writes what its steps print.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogSpec {
    /// The folder.
    pub dir: PathBuf,
    /// `0`, `1`, …, `prepare` or `test`.
    pub source: String,
    /// Of this run: later ones sort after earlier ones.
    pub generation: u64,
    /// Bytes kept for the source, over all its runs.
    pub keep: u64,
}

/// What identifies a replica or job across routers. Holds no secret; also kept as `meta.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// [`PROTOCOL`] of the shim.
    pub protocol: u32,
    /// Its folder's name and the value of [`MARK`].
    pub token: String,
    /// What it runs for.
    pub owner: Owner,
    /// Declared to host ports.
    pub addresses: Vec<(u16, SocketAddr)>,
    /// Its address on its landscape's network, if it has a namespace of its own.
    #[serde(default)]
    pub network: Option<Ipv4Addr>,
    /// When it was started.
    pub since: SystemTime,
    /// The shim itself; it fills this in.
    pub shim: Option<Identity>,
    /// Its control groups.
    pub cgroups: CgroupSpec,
}

impl Meta {
    /// The ports of this machine that it was given: none if it has a network of its own.
    pub fn machine_ports(&self) -> &[(u16, SocketAddr)] {
        if self.network.is_some() { &[] } else { &self.addresses }
    }

    /// As the rest of the router names them.
    pub fn addresses(&self) -> Addresses {
        let inside = self.shim.as_ref().zip(self.network).map(|(shim, address)| Inside::new(shim.pid, address));
        Addresses::new(self.addresses.clone()).inside(inside)
    }
}

/// What a shim runs for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// A service's replica.
    Replica {
        /// Whose.
        service: ServiceKey,
        /// Which.
        id: ReplicaId,
        /// What it was started with.
        digest: RunDigest,
    },
    /// A landscape's `prepare` or `test`.
    Job {
        /// The landscape.
        landscape: String,
        /// Which.
        stage: JobStage,
    },
}

/// [`Stage`], as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStage {
    /// Before the first run.
    Prepare,
    /// On request.
    Test,
}

impl From<Stage> for JobStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Prepare => Self::Prepare,
            Stage::Test => Self::Test,
        }
    }
}

impl JobStage {
    /// Its name, also its log's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Test => "test",
        }
    }
}

/// From the router to the shim.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// SIGTERM, and SIGKILL after so long.
    Stop {
        /// Milliseconds.
        grace_ms: u64,
    },
    /// Freeze.
    Pause,
    /// Go on.
    Resume,
    /// The end was noted: the shim may go too.
    Forget,
}

/// From the shim to every router connected.
#[allow(clippy::large_enum_variant, reason = "once a connection")]
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// First on every connection.
    Hello(Hello),
    /// A step began.
    Step(StepStarted),
    /// Everything is frozen.
    Paused,
    /// Everything runs again.
    Resumed,
    /// Freezing or resuming failed.
    PauseFailed(String),
    /// Nothing of the replica is left.
    Ended(Box<Ending>),
}

/// A shim's introduction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Who.
    pub meta: Meta,
    /// What it is doing.
    pub state: ShimState,
    /// The step that runs.
    pub step: Option<StepStarted>,
    /// What it could not do as told: control groups, the log.
    pub problems: Vec<String>,
}

/// A step that began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepStarted {
    /// From 1.
    pub number: u32,
    /// Of how many.
    pub total: u32,
    /// `step 2 (run server)`.
    pub label: String,
    /// Its process.
    pub pid: u32,
}

/// What a shim is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ShimState {
    /// Steps run.
    Running,
    /// Frozen.
    Paused,
    /// Told to stop, or its last step ended.
    Stopping,
    /// Nothing is left.
    Ended(Box<Ending>),
}

/// How it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ending {
    /// What the last step did.
    pub outcome: Outcome,
    /// That step, from 1.
    pub step: u32,
    /// `step 2 (run server)`.
    pub label: String,
    /// How long that step ran, in microseconds.
    pub ran_us: u64,
    /// Whether the shim had been told to stop before.
    pub told: bool,
    /// The kernel killed something of it for memory.
    pub out_of_memory: bool,
    /// The last lines of output.
    pub tail: Vec<String>,
    /// Lines that could not be written to the log.
    pub dropped: u64,
}

/// What a step did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It exited.
    Exited(i32),
    /// A signal killed it.
    Signaled(i32),
    /// It could not be started.
    NotStarted(String),
    /// There was no step with a command.
    Nothing,
}

/// Bytes of one frame.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {length} bytes, where {MAX_FRAME} are the limit: is the environment this large?"),
        ));
    }
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Writes one frame.
pub async fn write<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    to.write_all(&encode(message)?).await
}

/// Reads one frame; `None` at a clean end. Not cancel-safe: give it a task of its own.
pub async fn read<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let mut body = vec![0; checked(length)?];
    from.read_exact(&mut body).await?;
    Ok(Some(serde_json::from_slice(&body)?))
}

/// Reads one frame, blocking.
pub fn read_blocking<T: DeserializeOwned>(from: &mut impl io::Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut body = vec![0; checked(length)?];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    match u32::from_le_bytes(length) as usize {
        n if n <= MAX_FRAME => Ok(n),
        n => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {n} bytes"))),
    }
}
