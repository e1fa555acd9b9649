//! The demo's router: this program again.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::sample::Sample;
use crate::cli::api::Overview;
use crate::cli::client::Client;
use crate::cli::remote::{Failure, path};

/// How long it may take until it answers; a slow machine starts Python slowly, not us.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running router.
#[derive(Debug)]
pub(super) struct Router {
    child: Child,
    log: PathBuf,
    admin: String,
}

impl Router {
    /// Starts it; what it logs goes to a file beside its configuration.
    pub(super) fn start(sample: &Sample) -> Result<Self, Failure> {
        let log = sample.folder.join("router.log");
        let start = || {
            let file = File::create(&log)?;
            Command::new(std::env::current_exe()?)
                .args(["run", "--config"])
                .arg(sample.folder.join("router.yaml"))
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                // Ctrl-C is for the demo, which ends it in order.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
        };
        let child = start().map_err(|e| Failure::Failed(format!("the demo's router does not start: {e}")))?;
        Ok(Self { child, log, admin: format!("http://{}", sample.admin) })
    }

    /// Waits until it answers; a client of its admin API.
    pub(super) async fn ready(&mut self) -> Result<Client, Failure> {
        let answers = async {
            loop {
                match Client::new(&self.admin)?.get::<Overview>(&path(&["landscapes"])).await {
                    // Made anew: only now the router has written the token that a client reads.
                    Ok(_) => return Client::new(&self.admin),
                    Err(Failure::Unreachable { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(other) => return Err(other),
                }
            }
        };
        tokio::select! {
            client = answers => client,
            status = self.child.wait() => Err(self.last_words(&match status {
                Ok(status) => format!("the demo's router ended: {status}"),
                Err(error) => format!("the demo's router is lost: {error}"),
            })),
            () = tokio::time::sleep(PATIENCE) => Err(self.last_words("the demo's router does not answer")),
        }
    }

    /// Waits until it ends by itself, which it should not.
    pub(super) async fn ended(&mut self) -> Failure {
        match self.child.wait().await {
            Ok(status) => self.last_words(&format!("the demo's router ended: {status}")),
            Err(error) => Failure::Failed(format!("the demo's router is lost: {error}")),
        }
    }

    /// Ends it in order.
    pub(super) async fn end(mut self) -> Result<(), Failure> {
        let lost = |error: std::io::Error| Failure::Failed(format!("the demo's router does not end: {error}"));
        // Without an id it has ended already.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id as i32)) {
            kill_process(pid, Signal::TERM).map_err(|e| lost(e.into()))?;
        }
        if tokio::time::timeout(PATIENCE * 3, self.child.wait()).await.is_err() {
            self.child.kill().await.map_err(lost)?;
        }
        Ok(())
    }

    fn last_words(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(10)..].join("\n  ");
        Failure::Failed(format!("{what}; the end of {}:\n  {end}", self.log.display()))
    }
}
