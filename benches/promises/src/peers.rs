//! HAProxy, nginx and a bare Pingora forwarder with the same task: one thread, one upstream, keep
//! everything alive, log nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::load::expect;
use crate::proc::Tree;
use crate::router::{free_port, sibling};

/// Something that forwards.
#[derive(Debug)]
pub struct Peer {
    /// As the tables call it.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its processes.
    pub tree: Tree,
    child: Option<Child>,
    _folder: Option<tempfile::TempDir>,
}

impl Peer {
    /// One that is run elsewhere: the router.
    pub fn running(name: &'static str, address: SocketAddr, tree: Tree) -> Self {
        Self { name, address, tree, child: None, _folder: None }
    }

    /// HAProxy in front of `upstream`.
    pub async fn haproxy(upstream: SocketAddr) -> Result<Self> {
        let config = |listen: SocketAddr, _: &Path| {
            format!(
                "global\n  nbthread 1\n  maxconn 8000\n\
                 defaults\n  mode http\n  http-reuse always\n  option forwardfor\n  timeout connect 5s\n  \
                 timeout client 60s\n  timeout server 60s\n\
                 listen bench\n  bind {listen}\n  server app {upstream}\n"
            )
        };
        Self::start("HAProxy", "haproxy", &["-db", "-f"], config).await
    }

    /// HAProxy that passes on bytes from `listen` to `upstream`.
    pub async fn haproxy_tcp(listen: SocketAddr, upstream: SocketAddr) -> Result<Self> {
        let config = |listen: SocketAddr, _: &Path| {
            format!(
                "global\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
                 timeout server 60s\nlisten bench\n  bind {listen}\n  server app {upstream}\n"
            )
        };
        Self::start_at(listen, "HAProxy", "haproxy", &["-db", "-f"], config).await
    }

    /// nginx in front of `upstream`.
    pub async fn nginx(upstream: SocketAddr) -> Result<Self> {
        let config = |listen: SocketAddr, folder: &Path| {
            let folder = folder.display();
            let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temp: String = temp.iter().map(|name| format!("  {name}_temp_path {folder}/{name};\n")).collect();
            format!(
                "daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n\
                 events {{ worker_connections 16000; }}\n\
                 http {{\n{temp}  access_log off;\n  keepalive_requests 100000000;\n\
                 upstream app {{ server {upstream}; keepalive 2000; keepalive_requests 100000000; }}\n\
                 server {{\n    listen {listen} backlog=4096;\n    location / {{\n      proxy_pass http://app;\n      \
                 proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
                 proxy_set_header Host $http_host;\n      \
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    }}\n  }}\n}}\n"
            )
        };
        Self::start("nginx", "nginx", &["-c"], config).await
    }

    /// The crate beside this one.
    pub async fn pingora(upstream: SocketAddr) -> Result<Self> {
        let program = sibling("pingora-forwarder", "PINGORA_FORWARDER_BIN")?;
        let address = free_port()?;
        let mut command = Command::new(program);
        command.arg(address.to_string()).arg(upstream.to_string()).stdin(Stdio::null());
        Self::watch("Pingora", address, command.spawn()?, None).await
    }

    async fn start(
        name: &'static str,
        program: &str,
        args: &[&str],
        config: impl Fn(SocketAddr, &Path) -> String,
    ) -> Result<Self> {
        Self::start_at(free_port()?, name, program, args, config).await
    }

    async fn start_at(
        address: SocketAddr,
        name: &'static str,
        program: &str,
        args: &[&str],
        config: impl Fn(SocketAddr, &Path) -> String,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("config");
        fs::write(&file, config(address, folder.path()))?;
        let mut command = Command::new(program);
        command.args(args).arg(&file).stdin(Stdio::null());
        let child = command.spawn().with_context(|| format!("start {program} (Debian's package of that name)"))?;
        Self::watch(name, address, child, Some(folder)).await
    }

    async fn watch(
        name: &'static str,
        address: SocketAddr,
        child: Child,
        folder: Option<tempfile::TempDir>,
    ) -> Result<Self> {
        let tree = Tree::of(child.id());
        let mut peer = Self { name, address, tree, child: Some(child), _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            let ended = peer.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            ensure!(ended.is_none() && Instant::now() < deadline, "{name} does not listen: {ended:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(peer)
    }

    /// Makes sure that it really forwards: the answer is one that only the application `pid` gives,
    /// and it has the right length.
    pub async fn verify(&self, host: &str, pid: &str) -> Result<()> {
        let answer = http::once(self.address, &http::get(host, "/who")).await.context(self.name)?;
        let found = answer.value("pid");
        ensure!(found.as_deref() == Some(pid), "{} does not forward: {}{}", self.name, answer.head, answer.text());
        for size in [64, 16 * 1024, 1024 * 1024] {
            let answer = http::once(self.address, &http::get(host, &format!("/bytes/{size}"))).await?;
            expect(&answer, size).context(self.name)?;
            ensure!(answer.body.iter().all(|byte| *byte == b'x'), "{} changes the answer", self.name);
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // A polite end first: nginx' master takes its worker along only then.
        crate::router::signal(child, rustix::process::Signal::TERM).ok();
        for _ in 0..200 {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().and_then(|()| child.wait()).ok();
    }
}
