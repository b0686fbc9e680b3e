//! Man pages and completions, from the same definition as the command line.

use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Generate;
use crate::exit::{Exit, Failure};
use crate::output::{self, name};

mod kcopy;
mod reshape;

pub(crate) use kcopy::KCOPY;
pub(crate) use reshape::RESHAPE;

/// What the pages of a program say that its command line does not.
pub(crate) struct Manual {
    /// The program's name.
    program: &'static str,
    /// What clap knows.
    command: fn() -> Command,
    /// Sections that every page has, in roff.
    sections: &'static [&'static str],
    /// For the page of which subcommand, what it does, how.
    examples: &'static [(&'static str, &'static str, &'static str)],
}

/// In the manual of both programs.
const ENVIRONMENT: &str = r#".SH ENVIRONMENT
.TP
.B NO_COLOR
If it is not empty, no colours are used.
.TP
.B RUST_LOG
What is logged on standard error, as in "debug" or "kcopy=trace"; goes before \-\-verbose.
"#;

/// In the manual of both programs.
const STABLE: &str = r#".SH STABILITY
Exit codes and the keys of \-\-json are stable; keys may be added. The text for people is not.
"#;

/// Makes what packagers need.
pub(crate) fn generate(manual: &Manual, what: &Generate) -> Result<Exit, Failure> {
    let written = match what {
        Generate::Man { out: None } => {
            manual.page(&manual.built(), None).and_then(|page| output::raw(&page))
        }
        Generate::Man { out: Some(directory) } => manual.pages(directory),
        Generate::Completions { shell } => manual.completions(*shell),
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

impl Manual {
    fn built(&self) -> Command {
        let mut command = (self.command)();
        command.build();
        command
    }

    fn completions(&self, shell: Shell) -> io::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut (self.command)(), self.program, &mut script);
        output::raw(&script)
    }

    /// All pages: that of the program, and one for each subcommand that is not hidden.
    fn pages(&self, directory: &Path) -> io::Result<()> {
        let command = self.built();
        let program = self.program;
        std::fs::write(directory.join(format!("{program}.1")), self.page(&command, None)?)?;
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let own = sub.get_name().to_owned();
            if own != "help" {
                let title = format!("{program}-{own}");
                let named = sub.clone().display_name(title.clone());
                let page = self.page(&named, Some(&own))?;
                std::fs::write(directory.join(format!("{title}.1")), page)?;
            }
        }
        Ok(())
    }

    /// The page of a command; `sub` is its name if it is a subcommand.
    fn page(&self, command: &Command, sub: Option<&str>) -> io::Result<Vec<u8>> {
        // The text at the end of the help is told in sections of its own here.
        let command = command.clone().after_long_help(None::<&str>).after_help(None::<&str>);
        let title = command.get_display_name().unwrap_or(self.program).to_owned();
        let man =
            Man::new(command).title(title).section("1").manual(self.program).source(self.program);
        let mut page = Vec::new();
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if sub.is_none() {
            man.render_subcommands_section(&mut page)?;
        }
        for section in self.sections {
            page.extend(section.bytes());
        }
        page.extend(self.examples(sub).bytes());
        page.extend(STABLE.bytes());
        Ok(page)
    }

    fn examples(&self, sub: Option<&str>) -> String {
        let mut text = ".SH EXAMPLES\n".to_owned();
        for (of, what, how) in self.examples {
            if *of != "generate" && sub.is_none_or(|sub| sub == *of) {
                let how = how.replace('-', "\\-");
                text = format!("{text}.PP\n{what}\n.PP\n.RS 4\n.nf\n{how}\n.fi\n.RE\n");
            }
        }
        text
    }
}
