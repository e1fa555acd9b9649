//! `${{ vault.NAME }}` and its siblings.
//!
//! A template is taken apart once, when the file is read. Expanding puts values between its literal
//! parts and never looks at a value again, so that a value that looks like a template stays as it is.

use crate::yaml::diagnostics::nearest;
use crate::yaml::field::quote;

/// A text, its templates taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Template {
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Key(Key),
}

/// What a template asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// `vault.NAME`
    Vault(String),
    /// `workspace.env.KEY`
    Env(String),
    /// `workspace.id`
    Id,
    /// `workspace.devDomain`
    DevDomain,
    /// `team.id`
    Team,
}

/// Why a template cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadTemplate {
    pub(super) message: String,
    pub(super) remedy: String,
}

const OPEN: &str = "${{";
const CLOSE: &str = "}}";
const KNOWN: [&str; 5] = ["vault.NAME", "workspace.id", "workspace.devDomain", "workspace.env.KEY", "team.id"];

impl Template {
    /// Takes a text apart. What cannot be read is left out and told.
    pub(super) fn parse(text: &str) -> (Self, Vec<BadTemplate>) {
        let mut template = Self::default();
        let mut bad = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            template.literal(&rest[..at]);
            let inside = &rest[at + OPEN.len()..];
            let mut scanner = Scanner { rest: inside };
            match scanner.path().and_then(|path| key(&path)) {
                Ok(key) => {
                    template.pieces.push(Piece::Key(key));
                    rest = scanner.rest;
                }
                Err(error) => {
                    bad.push(error);
                    let Some(end) = inside.find(CLOSE) else { return (template, bad) };
                    rest = &inside[end + CLOSE.len()..];
                }
            }
        }
        template.literal(rest);
        (template, bad)
    }

    fn literal(&mut self, text: &str) {
        if !text.is_empty() {
            self.pieces.push(Piece::Literal(text.to_owned()));
        }
    }

    /// The text, where it holds no template.
    pub(super) fn as_literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// What it asks for.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Key(key) => Some(key),
            Piece::Literal(_) => None,
        })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vault(name) => write!(f, "vault['{name}']"),
            Self::Env(name) => write!(f, "workspace.env['{name}']"),
            Self::Id => f.write_str("workspace.id"),
            Self::DevDomain => f.write_str("workspace.devDomain"),
            Self::Team => f.write_str("team.id"),
        }
    }
}

/// The key that a path of names means.
fn key(path: &[&str]) -> Result<Key, BadTemplate> {
    match path {
        ["vault", name] => Ok(Key::Vault((*name).to_owned())),
        ["workspace", "env", name] => Ok(Key::Env((*name).to_owned())),
        ["workspace", "id"] => Ok(Key::Id),
        ["workspace", "devDomain"] => Ok(Key::DevDomain),
        ["team", "id"] => Ok(Key::Team),
        _ => {
            let found = path.join(".");
            let remedy = match nearest(&found, KNOWN) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", KNOWN.join(", ")),
            };
            Err(BadTemplate { message: format!("unknown template key {}", quote(&found)), remedy })
        }
    }
}

/// Reads `name.name['any text']}}`, white space anywhere between the parts.
struct Scanner<'t> {
    rest: &'t str,
}

impl<'t> Scanner<'t> {
    fn path(&mut self) -> Result<Vec<&'t str>, BadTemplate> {
        let mut path = vec![self.name()?];
        loop {
            self.space();
            if self.eat(CLOSE) {
                return Ok(path);
            } else if self.eat(".") {
                path.push(self.name()?);
            } else if self.eat("[") {
                path.push(self.quoted()?);
            } else {
                return Err(self.unexpected("`.`, `[` or `}}`"));
            }
        }
    }

    fn name(&mut self) -> Result<&'t str, BadTemplate> {
        self.space();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name.is_empty() {
            return Err(self.unexpected("a name"));
        }
        self.rest = rest;
        Ok(name)
    }

    fn quoted(&mut self) -> Result<&'t str, BadTemplate> {
        self.space();
        let mark = if self.eat("'") { '\'' } else { '"' };
        if mark == '"' && !self.eat("\"") {
            return Err(self.unexpected("a name in quotes"));
        }
        let Some((name, rest)) = self.rest.split_once(mark) else {
            return Err(self.unexpected("the closing quote"));
        };
        if name.is_empty() {
            return Err(self.unexpected("a name in the quotes"));
        }
        self.rest = rest;
        self.space();
        if self.eat("]") { Ok(name) } else { Err(self.unexpected("`]`")) }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.rest.strip_prefix(token).map(|rest| self.rest = rest).is_some()
    }

    fn unexpected(&self, expected: &str) -> BadTemplate {
        let found = match self.rest.chars().next() {
            None => "the end of the text".to_owned(),
            Some(_) if self.rest.starts_with(CLOSE) => "`}}`".to_owned(),
            Some(c) => quote(c.encode_utf8(&mut [0; 4])),
        };
        BadTemplate {
            message: format!("a template cannot be read: expected {expected}, found {found}"),
            remedy: "write it as ${{ vault.NAME }} or ${{ vault['any name'] }}".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<Key> {
        let (template, bad) = Template::parse(text);
        assert!(bad.is_empty(), "{text}: {bad:?}");
        template.keys().cloned().collect()
    }

    #[test]
    fn every_key_is_known_in_both_spellings() {
        let vault = |n: &str| vec![Key::Vault(n.into())];
        let env = |n: &str| vec![Key::Env(n.into())];
        assert_eq!(keys("${{ vault.DB_PASS }}"), vault("DB_PASS"));
        assert_eq!(keys("${{vault.my-key}}"), vault("my-key"));
        assert_eq!(keys("${{ vault['a b.c}}d'] }}"), vault("a b.c}}d"));
        assert_eq!(keys("${{ vault[\"x\"] }}"), vault("x"));
        assert_eq!(keys("${{ workspace.env.KEY }}"), env("KEY"));
        assert_eq!(keys("${{ workspace.env['my.key'] }}"), env("my.key"));
        assert_eq!(keys("${{ workspace['env']['K'] }}"), env("K"));
        assert_eq!(keys("${{workspace.id}}"), [Key::Id]);
        assert_eq!(keys("${{ workspace.devDomain }}"), [Key::DevDomain]);
        assert_eq!(keys("${{ team.id }}"), [Key::Team]);
    }

    #[test]
    fn white_space_inside_the_braces_is_fine() {
        assert_eq!(keys("${{\n  workspace\n  .env [ 'K' ]\t}}"), [Key::Env("K".into())]);
    }

    #[test]
    fn templates_stand_inside_longer_texts() {
        let (template, bad) = Template::parse("a-${{ team.id }}-${{workspace.id}}.b");
        assert!(bad.is_empty());
        assert_eq!(
            template.pieces,
            [
                Piece::Literal("a-".into()),
                Piece::Key(Key::Team),
                Piece::Literal("-".into()),
                Piece::Key(Key::Id),
                Piece::Literal(".b".into()),
            ]
        );
    }

    #[test]
    fn what_is_no_template_stays() {
        for text in ["{{ team.id }}", "${ team.id }", "$", "${", "}}", "", "$HOME ${X}"] {
            let (template, bad) = Template::parse(text);
            assert!(bad.is_empty(), "{text}");
            assert_eq!(template.as_literal(), Some(text));
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest() {
        let (_, bad) = Template::parse("${{ workspace.devdomain }} and ${{ github.sha }}");
        assert_eq!(bad.len(), 2);
        assert_eq!(bad[0].message, "unknown template key `workspace.devdomain`");
        assert_eq!(bad[0].remedy, "did you mean `workspace.devDomain`?");
        assert_eq!(bad[1].message, "unknown template key `github.sha`");
        assert!(bad[1].remedy.starts_with("known are"));
    }

    #[test]
    fn a_broken_template_is_told_and_the_rest_read() {
        for (text, word) in [
            ("${{ }}", "a name"),
            ("${{ vault. }}", "a name"),
            ("${{ vault['x }}", "closing quote"),
            ("${{ vault[x] }}", "a name in quotes"),
            ("${{ vault[''] }}", "a name in the quotes"),
            ("${{ vault['x' }}", "`]`"),
            ("${{ vault.x", "`.`"),
            ("${{ vault x }}", "`.`"),
            ("${{", "the end"),
        ] {
            let (_, bad) = Template::parse(text);
            assert_eq!(bad.len(), 1, "{text}");
            assert!(bad[0].message.contains(word), "{text}: {}", bad[0].message);
        }
        let (template, bad) = Template::parse("${{ nope }}x${{ team.id }}");
        assert_eq!((template.pieces.len(), bad.len()), (2, 1));
    }
}
