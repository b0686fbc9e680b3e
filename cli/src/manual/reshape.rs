//! The manual of `reshape`.

use clap::CommandFactory;

use super::{ENVIRONMENT, Manual};

pub(crate) const RESHAPE: Manual = Manual {
    program: "reshape",
    command: crate::args::array::Cli::command,
    sections: &[SIZES, STATUS, ENVIRONMENT, FILES],
    examples: &[
        ("layout", "Parity on four members:", "reshape layout --level 5 --raid-devices 4"),
        ("layout", "Two far copies:", "reshape layout -l 10 -n 5 -p f2"),
        ("generate", "Into the current directory:", "reshape generate man --out ."),
    ],
};

const SIZES: &str = r#".SH SIZES
A size is a whole number with a unit: B for bytes, s for sectors of 512 bytes, K or KiB for 1024 bytes,
KB for 1000 bytes; likewise M, G, T, P and E. Without a unit it counts KiB where mdadm has the same
option (\-\-chunk, \-\-size, \-\-data\-offset), and bytes elsewhere.
"#;

const STATUS: &str = r#".SH "EXIT STATUS"
.TP
.B 0
Everything is done.
.TP
.B 1
Something failed, or something is wrong with the array.
.TP
.B 2
Bad usage, or refused before anything was written: nothing was changed, no file created.
.TP
.B 130
Interrupted. The message says how to go on. A second interruption leaves at once.
"#;

const FILES: &str = r#".SH FILES
.TP
.I /sys/dev/block
where it is looked up what a block device can do and who uses it.
"#;
