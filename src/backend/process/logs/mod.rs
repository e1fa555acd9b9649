//! What replicas print, as files: a shim writes segments, the router reads and follows them.
//!
//! A segment is `<source>.<generation>.<part>.log`; a line of it is
//! `<microseconds since 1970> <step> <o|e> <text>`. Segments sort by generation and part; the oldest
//! are removed so that a source keeps at most its share of bytes, whoever wrote them.

mod follow;
mod record;
mod segment;
mod writer;

pub use follow::{Place, open};
pub use writer::{LineSplitter, LogWriter};
