//! Secrets by name, from a YAML file or from the environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::yaml::field::quote;
use crate::yaml::{At, Diagnostics, Kind, Mistake, Severity};

/// Secrets by name. What shows a vault shows names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Vault {
    values: BTreeMap<String, Arc<str>>,
}

impl Vault {
    /// A vault of these.
    pub fn new<N: Into<String>, V: Into<Arc<str>>>(values: impl IntoIterator<Item = (N, V)>) -> Self {
        Self { values: values.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }

    /// Reads `NAME: value` lines. A mistake never holds a line of the file. Nothing comes back where
    /// there are errors.
    pub fn from_yaml(file: Arc<PathBuf>, bytes: &[u8]) -> (Option<Self>, Vec<Mistake>) {
        let (root, mut mistakes) = crate::yaml::parse(file.clone(), bytes, Severity::Error);
        for mistake in &mut mistakes {
            mistake.hide();
        }
        let Some(root) = root else { return (None, mistakes) };
        let mut diagnostics = Diagnostics::hidden(file);
        diagnostics.extend(mistakes);
        let mut values = BTreeMap::new();
        for (name, _, at) in At::root(&root).entries(&mut diagnostics).unwrap_or_default() {
            match &at.node.kind {
                Kind::Scalar(scalar) if !at.node.is_null() => {
                    values.insert(name.to_owned(), scalar.text.as_str().into());
                }
                _ => {
                    at.expected(&mut diagnostics, "text").help("write each secret as `NAME: \"value\"`");
                }
            }
        }
        let vault = (!diagnostics.has_errors()).then_some(Self { values });
        (vault, diagnostics.finish())
    }

    /// The variables whose names begin with `prefix`, by what follows it; and a sentence for each that
    /// is left out because it is no UTF-8.
    pub fn from_env(prefix: &str, variables: impl IntoIterator<Item = (OsString, OsString)>) -> (Self, Vec<String>) {
        let mut values = BTreeMap::new();
        let mut left_out = Vec::new();
        let rest = |name: &OsStr| name.to_str()?.strip_prefix(prefix).filter(|n| !n.is_empty()).map(str::to_owned);
        for (name, value) in variables {
            let Some(name) = rest(&name) else { continue };
            match value.into_string() {
                Ok(value) => {
                    values.insert(name, value.into());
                }
                Err(_) => left_out.push(format!("variable {} is no UTF-8", quote(&format!("{prefix}{name}")))),
            }
        }
        (Self { values }, left_out)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.values.get(name)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(|name| &**name)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> (Option<Vault>, Vec<Mistake>) {
        Vault::from_yaml(Arc::new("secrets.yaml".into()), text.as_bytes())
    }

    #[test]
    fn a_file_gives_names_their_values() {
        let (vault, mistakes) = yaml("PASS: s3cret\nnumber: 0012\n'with space': \"a b\"\nempty: ''\n");
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let vault = vault.unwrap();
        assert_eq!(vault.get("PASS").map(|v| &**v), Some("s3cret"));
        assert_eq!(vault.get("number").map(|v| &**v), Some("0012"));
        assert_eq!(vault.get("with space").map(|v| &**v), Some("a b"));
        assert_eq!(vault.get("empty").map(|v| &**v), Some(""));
        assert_eq!(vault.get("other"), None);
    }

    #[test]
    fn no_mistake_shows_a_secret() {
        for text in [
            "PASS: s3cret\nPASS: s3cret\n",
            "PASS: [s3cret]\n",
            "PASS: \"s3cret\n",
            "PASS s3cret\n",
            "- s3cret\n",
            "PASS:\n",
            "PASS: {a: s3cret}\n",
            "A: 1\n\tPASS: s3cret",
            "PASS: s3cret: s3cret",
        ] {
            let (vault, mistakes) = yaml(text);
            assert!(vault.is_none(), "{text}");
            assert!(!mistakes.is_empty(), "{text}");
            assert!(!format!("{mistakes:?}").contains("s3cret"), "{text}: {mistakes:?}");
        }
    }

    #[test]
    fn the_environment_gives_what_has_the_prefix() {
        let variables = [("VAULT_A", "1"), ("VAULT_", "no name"), ("PATH", "x"), ("VAULT_b-c", "2")];
        let (vault, left_out) = Vault::from_env("VAULT_", variables.map(|(n, v)| (n.into(), v.into())));
        assert!(left_out.is_empty());
        assert_eq!(vault.names().collect::<Vec<_>>(), ["A", "b-c"]);
    }

    #[test]
    fn showing_a_vault_shows_names_alone() {
        let vault = Vault::new([("NAME", "s3cret")]);
        assert_eq!(format!("{vault:?}"), "{\"NAME\"}");
    }
}
