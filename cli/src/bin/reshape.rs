//! The command `reshape`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    cli::reshape(std::env::args_os())
}
