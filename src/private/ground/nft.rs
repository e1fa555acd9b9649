//! Programs that change the machine's packet filters: `nft`, and where Docker is, `iptables`.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use crate::capabilities;

/// Where administrators' programs are, for a router whose search path leaves these out.
const PLACES: [&str; 2] = ["/usr/sbin/", "/sbin/"];

/// Gives `script` to `nft`, which does all of it in one transaction, or nothing.
pub fn apply(script: &str) -> io::Result<()> {
    let output = run("nft", &["-f", "-"], script)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The first line names the mistake, the others quote the script.
    let said = said.lines().next().unwrap_or("no reason given").trim();
    Err(io::Error::other(format!("nft refused the packet filters: {said}")))
}

/// Runs a program with `input`, in the calling thread's namespaces and without the router's environment.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut child = match start(program, arguments) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => PLACES
            .iter()
            .find_map(|place| start(&format!("{place}{program}"), arguments).ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{program} is not installed")))?,
        other => other?,
    };
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // A program that fails early leaves the rest unread; its own words say more than a broken pipe.
    if output.status.success() {
        written?;
    }
    Ok(output)
}

fn start(program: &str, arguments: &[&str]) -> io::Result<std::process::Child> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    capabilities::lend(capabilities::FILTERS, || command.spawn())
}
