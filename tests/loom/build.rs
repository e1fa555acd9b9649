//! Sets `cfg(loom)` for this package alone, without RUSTFLAGS.

fn main() {
    println!("cargo::rustc-cfg=loom");
    println!("cargo::rerun-if-changed=build.rs");
}
