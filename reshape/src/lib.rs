//! What an md array is, how it may change, and the machine that changes it safely.
//!
//! This crate is empty in this release: the copy engine it stands on, [`kcopy`], comes first.
#![forbid(unsafe_code)]
