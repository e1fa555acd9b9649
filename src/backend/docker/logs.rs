//! What containers write: read from the engine, and kept a little when a container is gone.

use std::time::SystemTime;

use bollard::container::LogOutput;
use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use futures_util::{Stream, StreamExt};

use super::clock;
use super::engine::Up;
use super::trouble::{CALL, text};
use crate::backend::LogLine;

/// Lines that a failure carries.
pub(super) const TAIL: usize = 20;
/// Lines that are kept of a container that is gone.
pub(super) const KEPT: usize = 200;
/// Bytes of one line; the rest of a longer one is cut off.
const LINE: usize = 4 * 1024;

/// Reads a container's lines from `after` (a second's worth before it, too: the engine counts in
/// seconds), then new ones. The stream ends with the container or the connection.
pub(super) fn since(
    up: &Up,
    container: &str,
    source: &str,
    after: Option<SystemTime>,
) -> impl Stream<Item = LogLine> + Send + use<> {
    let seconds = after.and_then(|a| a.duration_since(SystemTime::UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs());
    let options = options().follow(true).since(i32::try_from(seconds).unwrap_or(i32::MAX));
    read(up, container, source, options.build())
}

fn options() -> LogsOptionsBuilder {
    LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true)
}

fn read(up: &Up, container: &str, source: &str, options: LogsOptions) -> impl Stream<Item = LogLine> + Send + use<> {
    let source = source.to_owned();
    let name = container.to_owned();
    up.docker
        .logs(container, Some(options))
        .take_while(move |item| {
            if let Err(e) = item {
                tracing::debug!(container = %name, "its log ends: {}", text(e));
            }
            std::future::ready(item.is_ok())
        })
        .filter_map(|item| std::future::ready(item.ok()))
        .map(move |output| line(&source, &output))
}

/// The last lines of a container; what cannot be read is left out.
pub(super) async fn tail(up: &Up, container: &str, source: &str, count: usize) -> Vec<LogLine> {
    let mut lines = Vec::new();
    let mut stream = Box::pin(read(up, container, source, options().tail(&count.to_string()).build()));
    let all = async {
        while let Some(line) = stream.next().await {
            lines.push(line);
        }
    };
    if tokio::time::timeout(CALL, all).await.is_err() {
        tracing::debug!(container, "its log is not read to the end: the engine is too slow");
    }
    lines
}

/// The texts of the last [`TAIL`] lines.
pub(super) fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().skip(lines.len().saturating_sub(TAIL)).map(|l| l.text.clone()).collect()
}

fn line(source: &str, output: &LogOutput) -> LogLine {
    let stderr = matches!(output, LogOutput::StdErr { .. });
    let bytes = output.as_ref();
    let whole = String::from_utf8_lossy(bytes.get(..LINE + 64).unwrap_or(bytes));
    let (at, text) = match whole.split_once(' ') {
        Some((stamp, text)) => (clock::parse(stamp), text),
        None => (None, &*whole),
    };
    let (at, text) = match at {
        Some(at) => (at, text),
        None => (SystemTime::now(), &*whole),
    };
    let text = text.trim_end_matches(['\n', '\r']);
    let end = text.char_indices().map(|(i, _)| i).find(|i| *i >= LINE).unwrap_or(text.len());
    LogLine { at, source: source.to_owned(), step: None, stderr, text: text[..end].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_and_bounded() {
        let out = LogOutput::StdErr { message: "2024-02-29T12:34:56.5Z hello world\r\n".into() };
        let got = line("0", &out);
        assert_eq!((got.text.as_str(), got.stderr, got.source.as_str()), ("hello world", true, "0"));
        assert_eq!(got.at, clock::parse("2024-02-29T12:34:56.5Z").unwrap());
        let long = LogOutput::StdOut { message: format!("2024-02-29T12:34:56Z {}", "ä".repeat(LINE)).into() };
        assert!(line("0", &long).text.len() <= LINE);
        let bare = LogOutput::StdOut { message: "no stamp here".into() };
        assert_eq!(line("0", &bare).text, "no stamp here");
    }
}
