//! The program. Everything it does is behind `hookyard::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hookyard::cli::main()
}
