//! Host and path to route.
//!
//! A [`Table`] is compiled once from the landscapes and the custom domains, never changed, and swapped
//! whole. A lookup hashes the host, so that its cost does not grow with the number of landscapes, and
//! then walks the path's segments down one landscape's own [`PrefixTree`].
//!
//! The order of a host's meanings: an exact custom domain, `<id>.<devDomain>`, `<id>-<port>.<devDomain>`,
//! a wildcard custom domain (the longest first). A custom domain leads to landscapes and keeps the path;
//! the landscape's own paths then decide.

mod build;
mod explain;
mod host;
mod prefix;
mod rewrite;
mod table;

pub use build::{Conflict, TableBuilder};
pub use explain::{Destination, Explanation, Outcome};
pub use host::{confused_ids, hostname};
pub use prefix::PrefixTree;
pub use rewrite::{strip_prefix, strip_prefix_length};
pub use table::{Lookup, Route, Shared, Table};

#[cfg(test)]
mod tests;
