//! The command `kcopy`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    cli::kcopy(std::env::args_os())
}
