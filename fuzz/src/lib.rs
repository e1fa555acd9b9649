//! What the router does with input that nobody would write.
//!
//! A target is a plain function from bytes: it may refuse its input, but must neither panic nor break
//! what it checks about the outcome. `smoke` feeds all of them on every machine, in every run of
//! `make test`; libFuzzer drives them one at a time: `make fuzz TARGET=ci_yml`.

pub mod targets;

/// A target: what takes the bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its folder of seeds too.
pub const TARGETS: &[(&str, Target)] = &[
    ("ci_yml", targets::ci_yml::run),
    ("hosts", targets::hosts::run),
    ("life", targets::life::run),
    ("prefixes", targets::prefixes::run),
    ("router_yaml", targets::router_yaml::run),
    ("templates", targets::templates::run),
    ("yaml", targets::yaml::run),
];
