//! The `netpath` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    netpath::cli::main()
}
