//! router.yaml: its model, its checks, its changes.
//!
//! [`load()`] reads the file into a tree, finds every structural mistake by the JSON Schema of the
//! [`model`], builds the model, checks what a schema cannot say, and reads the ci.yml files that it
//! names: [`settings::Settings`] is what the rest of the router works with. [`watch`] tells when to do it
//! again, and [`diff`] what that changed.

mod build;
mod checks;
mod defaults;
pub mod diff;
mod files;
mod glance;
mod kubernetes;
mod landscapes;
mod last_good;
mod later;
mod load;
pub mod model;
mod names;
mod networks;
mod places;
mod pointer;
mod policy;
mod prune;
pub mod quiet;
pub mod reference;
mod relations;
pub mod scalar;
pub mod schema;
pub mod settings;
mod traffic;
mod validate;
mod walk;
pub mod watch;

pub use files::Files;
pub use glance::{Glance, glance};
pub use last_good::GoodLandscapes;
pub use load::{Loaded, Purpose, load};
pub use pointer::Pointer;

#[cfg(test)]
mod tests;
