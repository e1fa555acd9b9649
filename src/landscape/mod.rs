//! ci.yml of every version, read into one [`ServiceSpec`] that knows no version.
//!
//! Two phases. [`read()`] knows the file alone: its version, its synonyms, what excludes each other. What
//! it makes, a [`LandscapeFile`], tells by [`LandscapeFile::notes`] what only an installation can know.
//! [`resolve()`] knows the installation, a [`Context`]: plans, vault, `workspace.env`, what an operator
//! allows. Both go on after the first mistake. [`load`] is both at once.

mod digest;
mod file;
mod guard;
mod image;
mod mount;
mod name;
mod notes;
pub mod plans;
mod read;
mod resolve;
pub mod spec;
mod target;
mod template;
mod url;
pub mod vault;

use std::path::PathBuf;
use std::sync::Arc;

use crate::yaml::{Diagnostics, Mistake, Severity};

pub use file::LandscapeFile;
pub use guard::{Refusal as TargetRefusal, TargetGuard};
pub use plans::Plans;
pub use resolve::{Allowances, Context, resolve};
pub use spec::{
    Health, Home, LandscapeId, LandscapeSpec, Mount, PathRule, PathTarget, Plan, Port, RunDigest, ServiceKey,
    ServiceSpec, Step, TargetUrl, Value, Workload,
};
pub use target::climbs;
pub use vault::Vault;

/// Reads a ci.yml. Nothing comes back where it is no YAML; what does may still hold errors, and then
/// [`resolve()`] makes no landscape of it. A duplicate or unknown key is a warning.
pub fn read(file: Arc<PathBuf>, bytes: &[u8]) -> (Option<LandscapeFile>, Vec<Mistake>) {
    let (root, mistakes) = crate::yaml::parse(file.clone(), bytes, Severity::Warning);
    let Some(root) = root else { return (None, mistakes) };
    let mut diagnostics = Diagnostics::of(crate::yaml::Source::of_bytes(file, bytes));
    diagnostics.extend(mistakes);
    let landscape = read::landscape(&root, &mut diagnostics);
    (Some(landscape), diagnostics.finish())
}

/// [`read()`] and [`resolve()`]: a landscape where no error was found, and everything to say about it, in the
/// file's order.
pub fn load(file: Arc<PathBuf>, bytes: &[u8], context: &Context<'_>) -> (Option<LandscapeSpec>, Vec<Mistake>) {
    let (landscape, mut mistakes) = read(file, bytes);
    let Some(landscape) = landscape else { return (None, mistakes) };
    let (spec, more) = resolve(&landscape, context);
    mistakes.extend(more);
    mistakes.sort_by_key(|m| m.place);
    (spec, mistakes)
}

#[cfg(test)]
mod tests;
