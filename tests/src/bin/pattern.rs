//! `pattern fill|verify FILE SEED [FROM [COUNT]]`: content that says where it belongs.
//!
//! From sector FROM (0), COUNT sectors (to the end). `fill` writes them, and nothing else; `verify`
//! compares them and ends with 1 when they differ. What cannot be done ends with 2.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::process::ExitCode;

use tests::pattern::Pattern;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(differs)) => {
            // Nobody is left to tell when this fails.
            let _ = writeln!(io::stdout(), "{differs}");
            ExitCode::from(1)
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "pattern: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<Option<String>, String> {
    let [action, path, numbers @ ..] = arguments else {
        return Err("usage: pattern fill|verify FILE SEED [FROM [COUNT]]".to_owned());
    };
    let numbers = numbers.iter().map(|text| text.parse().map_err(|e| format!("{text}: {e}")));
    let numbers: Vec<u64> = numbers.collect::<Result<_, String>>()?;
    let of_file = |error: io::Error| format!("{path}: {error}");
    let filling = action == "fill";
    let mut file = File::options().read(!filling).write(filling).open(path).map_err(of_file)?;
    let end = file.seek(SeekFrom::End(0)).map_err(of_file)? / 512;
    let pattern = match numbers[..] {
        [seed] => Pattern::whole(seed, end),
        [seed, from] => Pattern { seed, from, sectors: end.saturating_sub(from) },
        [seed, from, sectors] => Pattern { seed, from, sectors },
        _ => return Err("a seed, and at most two more numbers".to_owned()),
    };
    if pattern.from.checked_add(pattern.sectors).is_none_or(|last| last > end) {
        return Err(format!("{path} has {end} sectors only"));
    }
    match action.as_str() {
        "fill" => pattern.fill(&file).map(|()| None).map_err(of_file),
        "verify" => {
            let differs = pattern.verify(&file).map_err(of_file)?;
            Ok(differs.map(|differs| differs.to_string()))
        }
        _ => Err(format!("{action} is neither fill nor verify")),
    }
}
