//! Where the library's spans and events go: standard error, if somebody asks.

use std::io;

use tracing_subscriber::EnvFilter;

/// `RUST_LOG` decides; without it `-v` shows what happens, `-vv` and `-vvv` how.
pub(crate) fn start(verbose: u8, quiet: u8, color: bool) {
    let default = match (verbose, quiet) {
        (0, 2..) => "off",
        (0, _) => "warn",
        (1, _) => "info",
        (2, _) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(color)
        .with_target(false)
        .without_time()
        .finish();
    // Set once, at the start of the program; a second time changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
