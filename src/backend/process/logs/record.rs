//! One line of a segment.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::backend::LogLine;

/// A longer line is broken into several.
pub const MAX_LINE: usize = 16 << 10;

/// Appends a record to `out`.
pub fn encode(out: &mut Vec<u8>, at: SystemTime, step: u32, stderr: bool, text: &[u8]) {
    let micros = at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros());
    out.extend_from_slice(format!("{micros} {step} {} ", if stderr { 'e' } else { 'o' }).as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// Reads a record, without its line break; `None` for what is not one (a line cut off by a full
/// disk).
pub fn decode(line: &[u8], source: &str) -> Option<LogLine> {
    let mut parts = line.splitn(4, |&b| b == b' ');
    let micros: u64 = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let step: u32 = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let stderr = match parts.next()? {
        b"e" => true,
        b"o" => false,
        _ => return None,
    };
    Some(LogLine {
        at: UNIX_EPOCH.checked_add(Duration::from_micros(micros))?,
        source: source.to_owned(),
        step: (step > 0).then_some(step),
        stderr,
        text: String::from_utf8_lossy(parts.next()?).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        let mut out = Vec::new();
        encode(&mut out, at, 2, true, b"\x1b[31mred \xff text");
        let line = decode(out.strip_suffix(b"\n").unwrap(), "0").unwrap();
        assert_eq!((line.at, line.step, line.stderr), (at, Some(2), true));
        assert_eq!(line.text, "\u{1b}[31mred \u{fffd} text");
    }

    #[test]
    fn what_is_not_a_record_is_left_out() {
        for bad in [&b""[..], b"x", b"12 1", b"12 1 q text", b"\xff 1 o t"] {
            assert_eq!(decode(bad, "0"), None);
        }
    }
}
