//! YAML with places: what ci.yml, router.yaml and the vault's file are read from, so that every
//! mistake can say where it stands.
//!
//! [`parse()`] makes a tree of [`Node`]s out of bytes, within bounds; an [`At`] is a node together with
//! its path of keys, and has typed getters that collect [`Mistake`]s in [`Diagnostics`] and go on.

pub mod diagnostics;
pub mod field;
pub mod file;
pub mod mistake;
pub mod node;
mod parse;
pub mod reader;
mod resolve;
mod scan_error;
pub mod source;

pub use diagnostics::Diagnostics;
pub use mistake::{Mistake, Place, Severity};
pub use node::{Entry, Kind, Mapping, Node, Scalar, Style, Value};
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_NODES, parse};
pub use reader::{At, Map};
pub use source::Source;

#[cfg(test)]
mod tests;
