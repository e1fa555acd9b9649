//! The command line, one call into the library.

use std::process::ExitCode;

use landscape_router::private::ground::{hosts_file, user};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything is parsed or started: every replica's start waits for this.
    match std::env::args_os().nth(1) {
        Some(command) if command == "shim" => return landscape_router::backend::process::shim_main(),
        Some(command) if command == user::SURVEY => return user::survey_main(),
        Some(command) if command == hosts_file::SURVEY => return hosts_file::survey_main(),
        _ => {}
    }
    landscape_router::cli::main()
}
