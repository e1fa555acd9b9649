//! A mistake in a file, told so that its writer can mend it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A place in a file. Lines and columns count from 1; a column is a character, as editors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// 0 where the whole file is meant.
    pub line: u32,
    /// 0 where the whole line or file is meant.
    pub column: u32,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something only an installation can know, told by `check --ci`.
    Note,
    /// The file is used all the same; `check --strict` makes it an error.
    Warning,
    /// The file is not used.
    Error,
}

/// One mistake: where, what was found, what was expected, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// How bad.
    pub severity: Severity,
    /// As the user named it, relative paths kept.
    pub file: Arc<PathBuf>,
    /// Where in it.
    pub place: Place,
    /// The path of keys to it, such as `run.web.network.ports[0].port`; may be empty.
    pub field: String,
    /// One sentence without a full stop: what was found and what was expected.
    pub message: String,
    /// What to do, where more can be said: `did you mean idleAfter?`.
    pub remedy: Option<String>,
    /// The offending line of the file, shown below with a caret; never holds a secret.
    pub excerpt: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.place.line > 0 {
            write!(f, ":{}:{}", self.place.line, self.place.column.max(1))?;
        }
        let word = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, ": {word}: ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}
