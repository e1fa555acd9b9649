//! One target a file.

pub mod ci_yml;
pub mod hosts;
mod landscape;
pub mod life;
pub mod prefixes;
pub mod router_yaml;
pub mod templates;
pub mod yaml;
