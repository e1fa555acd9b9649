//! The command line, one call into the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything is parsed or started: every replica's start waits for this.
    if std::env::args_os().nth(1).is_some_and(|command| command == "shim") {
        return landscape_router::backend::process::shim_main();
    }
    landscape_router::cli::main()
}
