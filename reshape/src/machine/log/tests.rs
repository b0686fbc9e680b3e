//! Logs of machines that run in random order, and what becomes of damaged ones.

use std::sync::mpsc;

use kcopy::backend::sim::Rng;
use proptest::prelude::*;

use super::*;
use crate::machine::{Backup, Rows};
use crate::metadata::Direction;

fn any_start() -> impl Strategy<Value = Start> {
    let widths = (1..6_u64, 1..6_u64);
    (widths, any::<bool>(), -64..64_i64, 1..200_u64, any::<bool>()).prop_map(
        |((old, new), up, shift, stripes, saves)| {
            let rows = |width| Rows { chunk: 8, width, copies: 1, depth: 1 };
            let unit = 8 * new;
            let backup = if saves { Backup::Sections { length: 4 * unit } } else { Backup::None };
            let total = stripes * unit;
            let direction = if up { Direction::Forwards } else { Direction::Backwards };
            let position = ArraySector::new(if up { 0 } else { total });
            Start {
                track: Track {
                    old: rows(old),
                    new: rows(new),
                    direction,
                    shift,
                    total,
                    content: total.min(stripes * 8 * old),
                    unit,
                },
                limits: Limits { window: 3 * unit, memory: 9 * unit, backup },
                position,
                saved: Sections::default(),
            }
        },
    )
}

fn answer(action: Action) -> Event {
    match action {
        Action::Read(id, _) => Event::Read(id),
        Action::Save(..) => Event::Saved,
        Action::FlushBackup => Event::BackupFlushed,
        Action::WriteHeader(_) => Event::HeaderWritten,
        Action::Write(id, _) => Event::Written(id),
        Action::FlushMembers => Event::MembersFlushed,
        Action::Record(_) => Event::Recorded,
        Action::Finish => Event::Finished,
    }
}

/// A run in random order, with checkpoints asked for and perhaps a stop; its log and how it ended.
fn logged(start: &Start, seed: u64) -> (String, State, ArraySector) {
    let mut rng = Rng::new(seed);
    let (to, lines) = mpsc::channel();
    let log = EventLog::new(move |entry| to.send(format!("7 {entry}\n")).expect("somebody reads"));
    let mut machine = Logged::new(start, Some(log)).expect("a start");
    let mut under_way = Vec::new();
    loop {
        while let Some(action) = machine.poll() {
            under_way.push(action);
        }
        if under_way.is_empty() {
            break;
        }
        match rng.below(40) {
            0 => machine.stop(),
            1..4 => machine.record_soon(),
            _ => {}
        }
        let which = usize::try_from(rng.below(under_way.len().try_into().expect("small")));
        machine.handle(answer(under_way.swap_remove(which.expect("small"))));
    }
    let end = (machine.state(), machine.recorded());
    drop(machine);
    (lines.iter().collect(), end.0, end.1)
}

proptest! {
    #[test]
    fn a_log_says_all_that_a_machine_was_told_for_all(start in any_start(), seed: u64) {
        let (log, state, recorded) = logged(&start, seed);
        let runs = replay(&log).expect("it replays");
        prop_assert_eq!(runs.len(), 1);
        prop_assert_eq!((runs[0].start, runs[0].state, runs[0].recorded), (start, state, recorded));
    }

    #[test]
    fn a_log_that_was_cut_ends_where_it_was_cut_for_all(start in any_start(), seed: u64, at: u64) {
        let (log, ..) = logged(&start, seed);
        let at = usize::try_from(at % u64::try_from(log.len()).expect("small")).expect("small");
        let runs = replay(&log[..at]).expect("what is left replays");
        prop_assert!(runs.len() <= 1);
    }

    #[test]
    fn a_line_taken_out_is_noticed_or_harmless_for_all(
        start in any_start(), seed: u64, line: prop::sample::Index, other: prop::sample::Index,
    ) {
        let (log, ..) = logged(&start, seed);
        let mut lines: Vec<&str> = log.lines().collect();
        let (from, to) = (line.index(lines.len()), other.index(lines.len()));
        lines.swap(from, to);
        // Whatever it says: no panic, and an error names a line that there is.
        if let Err(error) = replay(&(lines.join("\n") + "\n")) {
            prop_assert!((1..=lines.len()).contains(&error.line));
        }
    }

    #[test]
    fn no_text_makes_it_panic_for_all(text in "([0-9]{1,3} )?[a-z0-9 =/+-]{0,60}\n") {
        let _ = replay(&text);
    }
}

#[test]
fn an_answer_that_the_machine_would_not_give_is_an_error() {
    let log = "0 begin forwards old=8/2/1/1 new=8/3/1/1 shift=-64 total=240 content=160 unit=24 \
               window=72 memory=144 section=- position=0 first=- second=-\n1 do write 0 0+24\n";
    let error = replay(log).expect_err("nothing was read yet");
    assert_eq!(error.line, 2);
    assert!(matches!(error.deviation, Deviation::Action { wanted: Some(Action::Read(..)), .. }));
}

#[test]
fn an_event_that_nobody_waits_for_is_an_error() {
    let log = "0 begin forwards old=8/2/1/1 new=8/3/1/1 shift=-64 total=240 content=160 unit=24 \
               window=72 memory=144 section=- position=0 first=- second=-\n1 done record\n";
    let error = replay(log).expect_err("nothing was recorded");
    assert_eq!((error.line, error.deviation), (2, Deviation::Event(Event::Recorded)));
}
