//! What the commands that talk to a running router share: where it is, names, failures, exit codes.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use super::api::{Landscape, Problem};
use super::client::Client;
use super::terminal::tame;

/// Where a router's admin listener is unless its router.yaml says otherwise.
const ADMIN: &str = "http://127.0.0.1:9090";

/// Which router, and for whom the answer is.
#[derive(Clone, Debug, clap::Args)]
pub struct Remote {
    /// The running router's admin listener
    #[arg(long, env = "LANDSCAPE_ROUTER_ADMIN", value_name = "URL", default_value = ADMIN)]
    pub admin: String,
    /// Answer in JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The URL cannot be one.
    #[error("{url:?} is not the URL of an admin listener: {why}; write it as http://127.0.0.1:9090")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Nobody answers.
    #[error(
        "no router answers at {url}: {why}; is it running (`landscape-router run`), and is this its `listen.admin`? \
         Another one is named by --admin or LANDSCAPE_ROUTER_ADMIN"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        why: String,
    },
    /// It wants a token and we have none.
    #[error(
        "the router at {url} wants its token, and none was found in {}; run this as the router's user, or set \
         LANDSCAPE_ROUTER_TOKEN", places(.looked)
    )]
    NoToken {
        /// Where the router is.
        url: String,
        /// Where a token was looked for.
        looked: Vec<PathBuf>,
    },
    /// There is one that cannot be used.
    #[error("the router's token cannot be used: {0}")]
    Token(String),
    /// The router says no.
    #[error("{}", refusal(.0))]
    Refused(Problem),
    /// A command was done and did not lead where it should.
    #[error("{0}")]
    Failed(String),
    /// What answers is no router.
    #[error("what answers at {url} does not speak as a landscape-router: {why}")]
    Strange {
        /// Where.
        url: String,
        /// What it said.
        why: String,
    },
    /// Standard output cannot be written.
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
    /// Whoever read our output has enough: no failure.
    #[error("the reader of standard output left")]
    ReaderLeft,
    /// The system gave us no runtime.
    #[error("the command cannot run: {0}")]
    Runtime(io::Error),
}

fn places(looked: &[PathBuf]) -> String {
    if looked.is_empty() {
        return "LANDSCAPE_ROUTER_TOKEN (files are not tried for a router on another machine)".to_owned();
    }
    looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn refusal(p: &Problem) -> String {
    let mut text = std::iter::once(&p.detail).chain(&p.mistakes).map(|l| tame(l)).collect::<Vec<_>>().join("\n  ");
    if !p.changes.is_empty() {
        text.push_str("\nWhat is different now:");
        p.changes.iter().for_each(|change| text.push_str(&format!("\n  {}", tame(change))));
    }
    text
}

impl Failure {
    /// 1: refused or failed; 2, as for arguments: a URL that is none; 3: no router there.
    fn code(&self) -> u8 {
        match self {
            Self::ReaderLeft => 0,
            Self::Url { .. } => 2,
            Self::Unreachable { .. } | Self::Strange { .. } => 3,
            _ => 1,
        }
    }

    /// Tells it on standard error; the exit code.
    pub(super) fn end(self) -> ExitCode {
        if !matches!(self, Self::ReaderLeft) {
            eprintln!("error: {self}");
        }
        ExitCode::from(self.code())
    }
}

/// Runs a command to its end.
pub(super) fn run(remote: &Remote, command: impl AsyncFnOnce(Client) -> Result<(), Failure>) -> ExitCode {
    // An empty variable is as good as none.
    let admin = Some(remote.admin.as_str()).filter(|url| !url.is_empty()).unwrap_or(ADMIN);
    let result = Client::new(admin).and_then(|client| block_on(command(client)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.end(),
    }
}

/// Does `what` for each service. One that is refused, or fails, does not keep the others from theirs: it
/// is told, and the command fails in the end.
pub(super) async fn each<T>(
    services: impl IntoIterator<Item = T>,
    mut what: impl AsyncFnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut last = None;
    for service in services {
        match what(service).await {
            Ok(()) => {}
            Err(failure @ (Failure::Refused(_) | Failure::Failed(_))) => {
                if let Some(earlier) = last.replace(failure) {
                    eprintln!("error: {earlier}");
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    last.map_or(Ok(()), Err)
}

/// Runs to its end, on this thread.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?.block_on(command)
}

/// `<landscape>/<service>`, or `<landscape>` for all its services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The landscape's id.
    pub landscape: String,
    /// The service; all of them where it is absent.
    pub service: Option<String>,
}

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (landscape, service) = match text.split_once('/') {
            Some((landscape, service)) => (landscape, Some(service)),
            None => (text, None),
        };
        let bad = |part: &str| part.is_empty() || part.contains('/');
        if bad(landscape) || service.is_some_and(bad) {
            return Err("expected <landscape>/<service>, or <landscape> for all its services".to_owned());
        }
        Ok(Self { landscape: landscape.to_owned(), service: service.map(str::to_owned) })
    }
}

impl Name {
    /// The names of the services meant: the one given, whatever it is, or all of the landscape that
    /// something runs for.
    pub(super) async fn services(&self, client: &Client) -> Result<Vec<String>, Failure> {
        if let Some(service) = &self.service {
            return Ok(vec![service.clone()]);
        }
        let landscape: Landscape = client.get(&path(&["landscapes", &self.landscape])).await?;
        if let Some(error) = landscape.error.filter(|_| landscape.services.is_empty()) {
            return Err(Failure::Failed(format!("the landscape {} has no good ci.yml: {error}", self.landscape)));
        }
        Ok(landscape.services.into_iter().filter(|s| s.state.is_some()).map(|s| s.name).collect())
    }

    /// The API's path of something of a service.
    pub(super) fn path(&self, service: &str, more: &[&str]) -> String {
        let mut segments = vec!["landscapes", &self.landscape, "services", service];
        segments.extend(more);
        path(&segments)
    }
}

/// A path of the API, its segments encoded.
pub(super) fn path(segments: &[&str]) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    const KEEP: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    let encoded: Vec<String> = segments.iter().map(|s| utf8_percent_encode(s, KEEP).to_string()).collect();
    format!("/api/v1/{}", encoded.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_a_service_or_of_a_whole_landscape() {
        let name = |landscape: &str, service: Option<&str>| {
            Ok(Name { landscape: landscape.into(), service: service.map(Into::into) })
        };
        assert_eq!("4711/web".parse::<Name>(), name("4711", Some("web")));
        assert_eq!("4711".parse::<Name>(), name("4711", None));
        for bad in ["", "/", "4711/", "/web", "a/b/c"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(path(&["landscapes", "a b?", "services", "x-y"]), "/api/v1/landscapes/a%20b%3F/services/x-y");
    }

    #[test]
    fn a_missing_token_says_where_it_was_looked_for() {
        let looked = vec!["/run/user/7/landscape-router/admin-9090.token".into()];
        let text = Failure::NoToken { url: "http://127.0.0.1:9090".into(), looked }.to_string();
        assert!(text.contains("admin-9090.token") && text.contains("LANDSCAPE_ROUTER_TOKEN"), "{text}");
    }
}
