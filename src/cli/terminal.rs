//! Standard output: colours on a terminal alone, tables, and readers that leave early.

use std::io::{self, IsTerminal, Write};

use super::remote::Failure;

/// Standard output.
#[derive(Debug)]
pub(super) struct Out {
    colours: bool,
    terminal: bool,
    /// Columns of the terminal.
    width: Option<usize>,
}

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Bold,
    Good,
    Busy,
    Bad,
    Faint,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Faint => "\x1b[2m",
        }
    }
}

impl Out {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { colours, terminal, width: if terminal { columns() } else { None } }
    }

    #[cfg(test)]
    pub(super) fn plain() -> Self {
        Self { colours: false, terminal: false, width: None }
    }

    #[cfg(test)]
    pub(super) fn narrow(width: usize) -> Self {
        Self { width: Some(width), ..Self::plain() }
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// `text` in a colour, where there are colours.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        if self.colours && tone != Tone::Plain { format!("{}{text}\x1b[0m", tone.code()) } else { text.to_owned() }
    }

    /// Writes and flushes. A reader that has left ends the command quietly.
    pub(super) fn write(&self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderLeft,
            _ => Failure::Output(e),
        })
    }

    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{text}\n"))
    }
}

fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell(pub Tone, pub String);

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(Tone::Plain, text.into())
    }
}

/// Columns as wide as their widest cell; the last one is not filled up. The first row names them. What a
/// terminal has no room for stands below its row, under its name, unless it says nothing.
pub(super) fn table(out: &Out, rows: &[Vec<Cell>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.1.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    let fits =
        |n: &usize| out.width.is_none_or(|room| widths.iter().take(*n).map(|w| w + 2).sum::<usize>() <= room + 2);
    let beside = (1..=columns).rev().find(fits).unwrap_or(1);
    let mut text = String::new();
    for (n, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (i, (Cell(tone, cell), width)) in row.iter().zip(&widths).take(beside).enumerate() {
            let fill = if i + 1 == row.len() { 0 } else { width + 2 - cell.chars().count() };
            line.push_str(&out.paint(*tone, cell));
            line.push_str(&" ".repeat(fill));
        }
        text.push_str(line.trim_end());
        text.push('\n');
        let below = row.iter().zip(rows.first().into_iter().flatten()).skip(if n == 0 { columns } else { beside });
        for (Cell(tone, cell), Cell(_, name)) in below.filter(|(cell, _)| !["", "-", "0"].contains(&&*cell.1)) {
            text.push_str(&format!("  {} {}\n", out.paint(Tone::Faint, name), out.paint(*tone, cell)));
        }
    }
    text
}

/// One line without anything that steers a terminal: what a service wrote may say anything.
pub(super) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `1 request`, `2 requests`.
pub(super) fn count(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// `12s`, `3m20s`, `2h05m`.
pub(super) fn span(secs: f64) -> String {
    let s = secs.max(0.0).ceil() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let rows = [["a", "bb", ""], ["ccc", "d", "e"]].map(|r| r.map(Cell::new).to_vec());
        assert_eq!(table(&Out::plain(), &rows), "a    bb\nccc  d   e\n");
    }

    #[test]
    fn what_a_narrow_terminal_has_no_room_for_stands_below() {
        let rows = [["NAME", "STATE", "NOTE"], ["a", "off", ""], ["b", "failed", "exit status 3"]];
        let rows = rows.map(|r| r.map(Cell::new).to_vec());
        let wide = "NAME  STATE   NOTE\na     off\nb     failed  exit status 3\n";
        assert_eq!(table(&Out::narrow(27), &rows), wide);
        let narrow = "NAME  STATE\na     off\nb     failed\n  NOTE exit status 3\n";
        assert_eq!(table(&Out::narrow(26), &rows), narrow);
        let least = "NAME\na\n  STATE off\nb\n  STATE failed\n  NOTE exit status 3\n";
        assert_eq!(table(&Out::narrow(3), &rows), least);
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Out::plain().paint(Tone::Bad, "x"), "x");
        assert_eq!(Out { colours: true, terminal: true, width: None }.paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
    }

    #[test]
    fn what_steers_a_terminal_is_taken_out() {
        assert_eq!(tame("a\x1b[2J\r\nb"), "a [2J  b");
    }

    #[test]
    fn spans_are_short() {
        assert_eq!([0.4, 59.0, 61.0, 3600.0, 7500.0].map(span), ["1s", "59s", "1m01s", "1h00m", "2h05m"]);
    }
}
