//! One room per subcommand of `reshape`.

pub(crate) mod layout;
