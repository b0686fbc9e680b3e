//! The manual of `reshape`.

use clap::CommandFactory;

use super::{ENVIRONMENT, Manual};

pub(crate) const RESHAPE: Manual = Manual {
    program: "reshape",
    command: crate::args::array::Cli::command,
    sections: &[SIZES, STATUS, ENVIRONMENT, FILES],
    examples: &[
        ("examine", "What is on them:", "reshape examine /dev/sd[bcd]1"),
        ("examine", "Lines for mdadm.conf:", "reshape examine --brief *.img"),
        ("detail", "The array that they make up:", "reshape detail /dev/sd[bcd]1"),
        ("detail", "For programs:", "reshape detail --json m0.img m1.img m2.img"),
        ("create", "On devices:", "reshape create -l 5 -n 3 --name host:data /dev/sd[bcd]1"),
        ("create", "Of files:", "reshape create -l 10 -n 4 -p f2 --create-files 1GiB m0 m1 m2 m3"),
        ("export", "All of it:", "reshape export /dev/sd[bcd]1 --to content.img"),
        ("export", "Its first sectors:", "reshape export m*.img --to - --count 1MiB | file -"),
        ("import", "From a file:", "reshape import /dev/sd[bcd]1 --from content.img"),
        ("check", "Without changing anything:", "reshape check /dev/sd[bcd]1"),
        ("check", "In a script:", "reshape check --repair --yes --json m*.img"),
        ("rebuild", "A new third member:", "reshape rebuild /dev/sd[bc]1 --add /dev/sdd1"),
        ("bitmap", "So that a crash costs less:", "reshape bitmap /dev/sd[bcd]1 internal"),
        ("bitmap", "Without asking:", "reshape bitmap --yes m*.img none"),
        ("grow", "One more member:", "reshape grow /dev/sd[bcd]1 --add /dev/sde1 -n 4"),
        ("grow", "With a proof:", "reshape grow m*.img --add new.img --level 6 --prove"),
        ("status", "Where it stands:", "reshape status /dev/sd[bcde]1"),
        ("continue", "Finish it:", "reshape continue /dev/sd[bcde]1"),
        ("restore", "For the kernel:", "reshape restore m*.img --backup-file grow.backup"),
        ("revert", "Take it back:", "reshape revert m*.img"),
        ("demo", "See it:", "reshape demo"),
        ("salvage", "Where it really stopped:", "reshape salvage /dev/sd[bcde]1"),
        ("salvage", "Save what there is:", "reshape salvage m*.img --to content.img"),
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
Something failed, or something is wrong with the array (check: something does not agree and was not
repaired). With detail \-\-test: 1 if a member is missing, 2 if too many are, as mdadm has it.
.TP
.B 2
Bad usage, or refused before anything was written: nothing was changed, no file created.
.TP
.B 4
\-\-test: no array could be found.
.TP
.B 130
Interrupted. The message says how to go on. A second interruption leaves at once.
"#;

const FILES: &str = r#".SH FILES
.TP
.I /sys/dev/block
where it is looked up what a block device can do and who uses it.
"#;
