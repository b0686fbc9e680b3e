//! The command `kcopy`.
#![forbid(unsafe_code)]
fn main() {}
