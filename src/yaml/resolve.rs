//! What a scalar means: YAML 1.2's core schema, section 10.3.2.

use super::node::{Style, Value};

/// The type and value of a scalar by its text and style.
pub(super) fn resolve(text: &str, style: Style) -> Value {
    if style == Style::Quoted {
        return Value::String;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    // Most scalars are words: their first character tells.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::String;
    }
    integer(text).or_else(|| float(text)).unwrap_or(Value::String)
}

fn integer(text: &str) -> Option<Value> {
    let based = |digits: &str, radix| {
        (!digits.is_empty() && digits.chars().all(|c| c.is_digit(radix)))
            .then(|| i64::from_str_radix(digits, radix).ok())
            .flatten()
            .map(Value::Int)
    };
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, 16);
    }
    // What does not fit becomes a float, as JSON does it.
    text.parse().ok().map(Value::Int)
}

fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(Value::Float(sign * f64::INFINITY));
    }
    // Rust's own grammar also takes `inf` and `nan`, which YAML does not.
    let numeric = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let digits = unsigned.bytes().any(|b| b.is_ascii_digit());
    if numeric && digits { text.parse().ok().map(Value::Float) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_the_type_of_the_core_schema() {
        let plain = |t| resolve(t, Style::Plain);
        assert_eq!(plain("~"), Value::Null);
        assert_eq!(plain(""), Value::Null);
        assert_eq!(plain("True"), Value::Bool(true));
        assert_eq!(plain("yes"), Value::String);
        assert_eq!(plain("-12"), Value::Int(-12));
        assert_eq!(plain("0x1F"), Value::Int(31));
        assert_eq!(plain("0o17"), Value::Int(15));
        assert_eq!(plain("007"), Value::Int(7));
        assert_eq!(plain("1.5e3"), Value::Float(1500.0));
        assert_eq!(plain(".5"), Value::Float(0.5));
        assert_eq!(plain("-.inf"), Value::Float(f64::NEG_INFINITY));
        assert_eq!(plain("1.2.3"), Value::String);
        assert_eq!(plain("+"), Value::String);
        assert_eq!(plain("."), Value::String);
        assert_eq!(plain("12:30"), Value::String);
        assert_eq!(plain("60m"), Value::String);
        assert_eq!(plain("99999999999999999999"), Value::Float(1e20));
    }

    #[test]
    fn quoted_text_is_text() {
        assert_eq!(resolve("12", Style::Quoted), Value::String);
        assert_eq!(resolve("", Style::Quoted), Value::String);
    }
}
