//! Which member holds which sector: pure arithmetic for every level and layout.

mod level;

pub use level::{Level, UnknownLevel};
