//! Gives the shared library its soname: the name that programs linked with it ask for, which
//! changes only when they would have to be compiled again.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libkcopy.so.{major}");
}
