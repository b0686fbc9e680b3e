//! The manual of `kcopy`.

use clap::CommandFactory;

use super::{ENVIRONMENT, Manual};

pub(crate) const KCOPY: Manual = Manual {
    program: "kcopy",
    command: crate::args::Cli::command,
    sections: &[SIZES, STATUS, ENVIRONMENT, FILES],
    examples: &[
        ("copy", "One read, two durable copies:", "kcopy copy disk.img /dev/sdb /dev/sdc"),
        ("copy", "Read back and compared:", "kcopy copy --verify disk.img copy.img"),
        ("copy", "Goes on when it is run again:", "kcopy copy --map job.map /dev/sdb backup.img"),
        ("zero", "The first MiB:", "kcopy zero --count 1MiB /dev/sdb"),
        (
            "compare",
            "The first GiB of three:",
            "kcopy compare --count 1GiB a.img /dev/sdb /dev/sdc",
        ),
        ("info", "For programs:", "kcopy info --json /dev/sdb"),
        ("jobs", "4 KiB copies, 64 at a time:", "kcopy jobs --list random.txt /dev/sdb /dev/sdc"),
        ("generate", "Into the current directory:", "kcopy generate man --out ."),
    ],
};

const SIZES: &str = r#".SH SIZES
A size is a whole number with a unit: B or none for bytes, s for sectors of 512 bytes, K or KiB for
1024 bytes, KB for 1000 bytes; likewise M, G, T, P and E.
"#;

const STATUS: &str = r#".SH "EXIT STATUS"
.TP
.B 0
Everything is done (compare: everything is equal).
.TP
.B 1
Some destination or range failed (compare: something differs). The other destinations are done.
.TP
.B 2
Bad usage, or refused before anything was written: nothing was changed, no file created.
.TP
.B 130
Interrupted. The message says how to go on. A second interruption leaves at once.
"#;

const FILES: &str = r#".SH FILES
.TP
.I FILE
of \-\-map: the resume map. It is made beside its place as FILE.new and renamed when it is durable,
and removed when the copy is complete.
.TP
.I /sys/dev/block
where it is looked up what a block device can do and who uses it.
"#;
