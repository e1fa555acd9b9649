//! Texts with a meaning: durations, sizes, addresses, names. Each knows its pattern for the schema, what
//! was expected for a mistake, and how to read itself.

mod address;
mod name;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

pub use address::{Address, AdminAddress, Cidr, PortNumber, PortRange, Resolver};
pub use name::{Host, Id, Prefix, Profile};

/// A scalar that is written as text.
pub trait Scalar: Sized {
    /// Its name in the schema, by which [`check`] finds it again.
    const KIND: &'static str;
    /// A regular expression that every good text matches.
    const PATTERN: &'static str;
    /// What a mistake says was expected.
    const EXPECTED: &'static str;
    /// Reads it; an error is what is wrong beyond not being as expected.
    fn read(text: &str) -> Result<Self, Option<String>>;
}

fn parse<T: Scalar>(text: &str) -> Result<T, String> {
    T::read(text).map_err(|more| {
        let found = crate::yaml::field::quote(text);
        match more {
            Some(more) => format!("expected {}, found {found}: {more}", T::EXPECTED),
            None => format!("expected {}, found {found}", T::EXPECTED),
        }
    })
}

macro_rules! scalars {
    ($($name:ident),* $(,)?) => {
        $(
            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = Cow::<str>::deserialize(deserializer)?;
                    parse(&text).map_err(de::Error::custom)
                }
            }

            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }
                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ "type": "string", "pattern": Self::PATTERN, "x-kind": Self::KIND })
                }
            }
        )*

        /// What the scalar of a kind expects, for mistakes about its type.
        pub fn expected(kind: &str) -> Option<&'static str> {
            $(if kind == $name::KIND { return Some($name::EXPECTED); })*
            None
        }

        /// Whether a text is a good scalar of a kind; an error says what was expected and found.
        pub fn check(kind: &str, text: &str) -> Result<(), String> {
            $(if kind == $name::KIND { return parse::<$name>(text).map(drop); })*
            Ok(())
        }
    };
}

scalars!(Time, Size, Id, Address, AdminAddress, Cidr, PortNumber, PortRange, Resolver, Host, Prefix, Profile, Positive);

/// A duration such as `500ms`, `60m`, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

/// A duration that may not be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Positive(pub Duration);

/// The longest duration: a year.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

impl Scalar for Time {
    const KIND: &'static str = "duration";
    const PATTERN: &'static str = "^([0-9]{1,12}(ms|s|m|h|d))+$";
    const EXPECTED: &'static str = "a duration such as `500ms`, `90s` or `60m`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        duration(text).map(Self)
    }
}

impl Scalar for Positive {
    const KIND: &'static str = "positive duration";
    const PATTERN: &'static str = "^([0-9]{1,12}(ms|s|m|h|d))+$";
    const EXPECTED: &'static str = Time::EXPECTED;
    fn read(text: &str) -> Result<Self, Option<String>> {
        match duration(text)? {
            Duration::ZERO => Err(Some("it may not be zero".into())),
            d => Ok(Self(d)),
        }
    }
}

fn duration(text: &str) -> Result<Duration, Option<String>> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() || text.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or(None)?;
        let count: u64 = rest[..end].parse().map_err(|_| None)?;
        let after = &rest[end..];
        // `ms` before `m` and `s`.
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let (unit, millis) = units.into_iter().find(|(u, _)| after.starts_with(u)).ok_or(None)?;
        let part = count.checked_mul(millis).map(Duration::from_millis).filter(|d| *d <= LONGEST);
        total = part.map(|p| total + p).filter(|t| *t <= LONGEST).ok_or(Some("at most 365d".into()))?;
        rest = &after[unit.len()..];
    }
    Ok(total)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        // A unit only from two of it on: `60m` reads better than `1h`.
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let fits = |&(unit, _): &(u128, &str)| {
            millis.is_multiple_of(unit) && (millis >= 2 * unit || millis == unit && unit == 1_000)
        };
        match units.iter().find(|u| fits(u)) {
            Some((unit, name)) => write!(f, "{}{name}", millis / unit),
            None => write!(f, "{millis}ms"),
        }
    }
}

/// Bytes, such as `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl Scalar for Size {
    const KIND: &'static str = "size";
    const PATTERN: &'static str = "^[0-9]{1,15}(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)$";
    const EXPECTED: &'static str = "a size such as `64MiB` or `1GiB`";
    fn read(text: &str) -> Result<Self, Option<String>> {
        let end = text.find(|c: char| !c.is_ascii_digit()).ok_or(None)?;
        let (_, unit) = SIZES.into_iter().find(|(name, _)| *name == &text[end..]).ok_or(None)?;
        let count: u64 = text[..end].parse().map_err(|_| None)?;
        match count.checked_mul(unit).filter(|n| *n <= 1 << 50) {
            Some(0) => Err(Some("it may not be zero".into())),
            Some(n) => Ok(Self(n)),
            None => Err(Some("at most 1024TiB".into())),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];
        match binary.iter().find(|(unit, _)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A value of `env`: text, or a number or boolean as it is written.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvValue(pub String);

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<value>")
    }
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The tree gives every scalar its text back.
        String::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for EnvValue {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "EnvValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"], "x-secret": true })
    }
}

#[cfg(test)]
mod tests;
