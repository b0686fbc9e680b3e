//! Man pages and completions, from the same definition as the command line.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::{Cli, Generate};
use crate::exit::{Exit, Failure};
use crate::output::{self, name};

/// Sections that every page has, in roff.
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
.SH ENVIRONMENT
.TP
.B NO_COLOR
If it is not empty, no colours are used.
.TP
.B RUST_LOG
What is logged on standard error, as in "debug" or "kcopy=trace"; goes before \-\-verbose.
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

/// Examples: for the page of which subcommand, what it does, how.
const EXAMPLES: [(&str, &str, &str); 8] = [
    ("copy", "One read, two durable copies:", "kcopy copy disk.img /dev/sdb /dev/sdc"),
    ("copy", "Read back and compared:", "kcopy copy --verify disk.img copy.img"),
    ("copy", "Goes on when it is run again:", "kcopy copy --map job.map /dev/sdb backup.img"),
    ("zero", "The first MiB:", "kcopy zero --count 1MiB /dev/sdb"),
    ("compare", "The first GiB of three:", "kcopy compare --count 1GiB a.img /dev/sdb /dev/sdc"),
    ("info", "For programs:", "kcopy info --json /dev/sdb"),
    ("jobs", "4 KiB copies, 64 at a time:", "kcopy jobs --list random.txt /dev/sdb /dev/sdc"),
    ("generate", "Into the current directory:", "kcopy generate man --out ."),
];

pub(crate) fn run(what: &Generate) -> Result<Exit, Failure> {
    let written = match what {
        Generate::Man { out: None } => page(&command(), None).and_then(|page| output::raw(&page)),
        Generate::Man { out: Some(directory) } => pages(directory),
        Generate::Completions { shell } => completions(*shell),
    };
    written.map_err(|error| {
        let place = match what {
            Generate::Man { out: Some(directory) } => name(directory),
            Generate::Man { out: None } | Generate::Completions { .. } => "standard output".into(),
        };
        Failure::failed(format!("cannot write to {place}: {error}"))
    })?;
    Ok(Exit::Done)
}

fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

fn completions(shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kcopy", &mut script);
    output::raw(&script)
}

/// All pages: `kcopy.1`, and one for each subcommand that is not hidden.
fn pages(directory: &Path) -> io::Result<()> {
    let command = command();
    std::fs::write(directory.join("kcopy.1"), page(&command, None)?)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let own = sub.get_name().to_owned();
        if own != "help" {
            let title = format!("kcopy-{own}");
            let named = sub.clone().display_name(title.clone());
            std::fs::write(directory.join(format!("{title}.1")), page(&named, Some(&own))?)?;
        }
    }
    Ok(())
}

/// The page of a command; `sub` is its name if it is a subcommand.
fn page(command: &Command, sub: Option<&str>) -> io::Result<Vec<u8>> {
    // The text at the end of the help is told in sections of its own here.
    let command = command.clone().after_long_help(None::<&str>).after_help(None::<&str>);
    let title = command.get_display_name().unwrap_or("kcopy").to_owned();
    let man = Man::new(command).title(title).section("1").manual("kcopy").source("kcopy");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if sub.is_none() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend(SIZES.bytes());
    page.extend(STATUS.bytes());
    page.extend(FILES.bytes());
    page.extend(examples(sub).bytes());
    page.extend(STABLE.bytes());
    Ok(page)
}

const SIZES: &str = r#".SH SIZES
A size is a whole number with a unit: B or none for bytes, s for sectors of 512 bytes, K or KiB for
1024 bytes, KB for 1000 bytes; likewise M, G, T, P and E.
"#;

const STABLE: &str = r#".SH STABILITY
Exit codes and the keys of \-\-json are stable; keys may be added. The text for people is not.
"#;

fn examples(sub: Option<&str>) -> String {
    let mut text = ".SH EXAMPLES\n".to_owned();
    for (of, what, how) in EXAMPLES {
        if of != "generate" && sub.is_none_or(|sub| sub == of) {
            let how = how.replace('-', "\\-");
            text = format!("{text}.PP\n{what}\n.PP\n.RS 4\n.nf\n{how}\n.fi\n.RE\n");
        }
    }
    text
}
