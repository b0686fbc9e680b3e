//! One room per subcommand: checks what was asked for, calls the library, hands the result over.

pub(crate) mod array;
pub(crate) mod compare;
pub(crate) mod copy;
pub(crate) mod engine;
pub(crate) mod info;
pub(crate) mod jobs;
pub(crate) mod pump;
pub(crate) mod ranges;
pub(crate) mod target;
pub(crate) mod zero;
