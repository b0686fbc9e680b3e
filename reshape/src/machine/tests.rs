//! A small world of rows in which every crash can be judged.
//!
//! The model knows which data stands on each row, what is durable, and what the superblocks and the
//! backup's header may say after a crash at this very moment. After every step of a random run each
//! array sector must be found where a recovery would look for it.

use proptest::prelude::*;

use super::*;

/// What a row of the members holds, as far as a crash at this moment decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Row {
    Old,
    /// New data of these array chunks; `durable` once it was flushed.
    New {
        durable: bool,
    },
}

#[derive(Debug)]
struct World {
    track: Track,
    /// Rows of one sector each, from the lowest data offset on.
    rows: Vec<Row>,
    /// Row 0 of old and of new geometry.
    base: (usize, usize),
    recorded: Vec<u64>,
    headers: Vec<Sections>,
    sections: [Option<(Span, bool)>; 2],
}

impl World {
    fn new(track: Track, rows: u64) -> Self {
        let shift = usize::try_from(track.shift.unsigned_abs()).expect("small");
        let base = if track.shift < 0 { (shift, 0) } else { (0, shift) };
        let rows = usize::try_from(rows).expect("small") + shift;
        Self {
            track,
            rows: vec![Row::Old; rows],
            base,
            recorded: vec![0],
            headers: vec![Sections::default()],
            sections: [None, None],
        }
    }

    /// The same where what comes first was saved before the reshape was recorded.
    fn saved(track: Track, rows: u64, first: Option<Span>) -> Self {
        let headers = vec![Sections { first, second: None }];
        Self { headers, sections: [first.map(|span| (span, true)), None], ..Self::new(track, rows) }
    }

    fn rows_of(rows: Rows, span: Span) -> Range<u64> {
        let start = span.start.get();
        let end = start + span.sectors;
        let row = |chunk: u64| chunk * rows.copies / rows.width * rows.depth * rows.chunk;
        let last = ((end - 1) / rows.chunk * rows.copies + rows.copies - 1) / rows.width;
        row(start / rows.chunk)..(last + 1) * rows.depth * rows.chunk
    }

    /// A write has begun: the rows hold the new data or are torn, until a flush.
    fn write(&mut self, span: Span) {
        for row in Self::rows_of(self.track.new, span) {
            self.rows[self.base.1 + usize::try_from(row).expect("small")] =
                Row::New { durable: false };
        }
    }

    fn flush(&mut self) {
        for row in &mut self.rows {
            if let Row::New { durable } = row {
                *durable = true;
            }
        }
    }

    fn is_in(span: Option<Span>, sector: u64) -> bool {
        span.is_some_and(|s| (s.start.get()..s.start.get() + s.sectors).contains(&sector))
    }

    /// Every sector with content is where a recovery looks, whatever a crash now leaves.
    fn check(&self) {
        for &recorded in &self.recorded {
            for header in &self.headers {
                for sector in 0..self.track.content.min(self.track.total) {
                    self.check_sector(sector, recorded, *header);
                }
            }
        }
    }

    /// What the header claims begins, goes on or ends where a critical section is recorded, whatever a crash leaves.
    /// Where one begins, and nothing of it is moved, there may be none.
    fn check_claims(&self) {
        let begin = self.track.critical().start;
        for &recorded in self.recorded.iter().filter(|distance| **distance != begin || begin == 0) {
            for header in &self.headers {
                let touches = |span: &Span| {
                    let stretch = self.track.stretch(span.start, span.sectors);
                    stretch.start <= recorded && recorded <= stretch.end
                };
                let is_told = [header.first, header.second].iter().flatten().any(touches);
                assert!(is_told || !self.track.is_critical(recorded), "{recorded}: {header:?}");
            }
        }
    }

    fn check_sector(&self, sector: u64, recorded: u64, header: Sections) {
        let position = self.track.position(recorded).get();
        let is_new = match self.track.direction {
            Direction::Forwards => sector < position,
            Direction::Backwards => sector >= position,
        };
        let span = Span { start: ArraySector::new(sector), sectors: 1 };
        let saved = [header.first, header.second].into_iter().enumerate().any(|(index, claim)| {
            let holds = self.sections[index]
                .is_some_and(|(span, durable)| durable && Self::is_in(Some(span), sector));
            assert!(
                is_new || !Self::is_in(claim, sector) || holds,
                "the header claims sector {sector}, the section does not hold it"
            );
            Self::is_in(claim, sector) && holds
        });
        let (rows, base, wanted) = if is_new {
            (self.track.new, self.base.1, Row::New { durable: true })
        } else {
            (self.track.old, self.base.0, Row::Old)
        };
        let stands = Self::rows_of(rows, span)
            .all(|row| self.rows[base + usize::try_from(row).expect("small")] == wanted);
        assert!(
            stands || (!is_new && saved),
            "sector {sector} is lost: recorded {position}, header {header:?}, rows {:?}",
            self.rows
        );
    }
}

/// What is under way, as the executor sees it.
fn begin(world: &mut World, action: &Action) {
    match action {
        Action::Write(_, span) => world.write(*span),
        Action::Save(_, section) => {
            world.sections[usize::from(*section == Section::Second)] = None;
        }
        Action::WriteHeader(sections) => world.headers.push(*sections),
        Action::Record(position) => {
            let distance = world.track.distance(*position).expect("on the way");
            let is_whole = position.get().is_multiple_of(world.track.unit);
            assert!(is_whole || distance == world.track.total, "{position} is no place to stand");
            world.recorded.push(distance);
        }
        Action::Finish => world.recorded.push(world.track.total),
        Action::Read(..) | Action::FlushBackup | Action::FlushMembers => {}
    }
}

/// `written` when the flush began: only that is covered by it.
fn end(world: &mut World, action: Action, at_begin: &[Row], saving: &[(WindowId, Span)]) -> Event {
    match action {
        Action::Read(id, _) => Event::Read(id),
        Action::Save(id, section) => {
            let span = saving.iter().find(|(other, _)| *other == id).expect("a window").1;
            world.sections[usize::from(section == Section::Second)] = Some((span, false));
            Event::Saved
        }
        Action::FlushBackup => {
            for (_, durable) in world.sections.iter_mut().flatten() {
                *durable = true;
            }
            Event::BackupFlushed
        }
        Action::WriteHeader(sections) => {
            world.headers = vec![sections];
            Event::HeaderWritten
        }
        Action::Write(id, _) => Event::Written(id),
        Action::FlushMembers => {
            let now = world.rows.clone();
            world.flush();
            // What was begun after the flush, or was under way, may not be covered.
            for ((row, now), then) in world.rows.iter_mut().zip(&now).zip(at_begin) {
                if *then == Row::Old && *now != Row::Old {
                    *row = Row::New { durable: false };
                }
            }
            Event::MembersFlushed
        }
        Action::Record(_) => {
            world.recorded = world.recorded.split_off(world.recorded.len() - 1);
            Event::Recorded
        }
        Action::Finish => {
            world.recorded = vec![world.track.total];
            Event::Finished
        }
    }
}

/// Runs `machine` in a random order until nothing is left to do; returns its last state.
fn run(machine: &mut Machine, world: &mut World, pick: impl FnMut(usize) -> usize) -> State {
    run_with(machine, world, pick, World::check)
}

/// The same, and looks at the world in that way.
fn run_with(
    machine: &mut Machine,
    world: &mut World,
    mut pick: impl FnMut(usize) -> usize,
    check: fn(&World),
) -> State {
    let mut under_way: Vec<(Action, Vec<Row>)> = Vec::new();
    let mut spans = Vec::new();
    for _ in 0..100_000 {
        // Sometimes an event comes before the machine was asked for all it could do.
        while under_way.is_empty() || pick(4) != 0 {
            let Some(action) = machine.poll() else { break };
            if let Action::Read(id, span) = action {
                spans.push((id, span));
            }
            begin(world, &action);
            check(world);
            under_way.push((action, world.rows.clone()));
        }
        if under_way.is_empty() {
            return machine.state();
        }
        let (action, rows) = under_way.swap_remove(pick(under_way.len()));
        let event = end(world, action, &rows, &spans);
        machine.handle(event);
        check(world);
    }
    panic!("the machine does not end: {machine:?}");
}

fn track(chunks: (u64, u64), disks: (u64, u64), rows: u64, shift: i64, forwards: bool) -> Track {
    let ((c, c2), (d, d2)) = (chunks, disks);
    let total = rows * d2;
    let rows_of = |chunk, width| Rows { chunk, width, copies: 1, depth: 1 };
    Track {
        old: rows_of(c, d),
        new: rows_of(c2, d2),
        direction: if forwards { Direction::Forwards } else { Direction::Backwards },
        shift,
        total,
        content: (rows * d).min(total),
        unit: c.max(c2) * d2,
    }
}

prop_compose! {
    /// A way of each kind: grow, shrink or same size, with room or with a backup.
    fn any_track()(
        chunks in (0_u32..3, 0_u32..3), disks in (2_u64..5, 2_u64..5), rows in 2_u64..9,
        forwards: bool, room in 0_i64..3,
    ) -> (Track, u64) {
        let chunks = (1 << chunks.0, 1 << chunks.1);
        let larger = u64::max(chunks.0, chunks.1);
        let disks = if forwards == (disks.0 <= disks.1) { disks } else { (disks.1, disks.0) };
        let room = room * i64::try_from(larger).expect("small") * 2;
        let rows = rows * larger;
        (track(chunks, disks, rows, if forwards { -room } else { room }, forwards), rows)
    }
}

prop_compose! {
    /// Another chunk of a RAID10 whose members need not hold a whole number of copies: then no array is a whole
    /// number of units, and the larger one is that of the smaller chunk.
    fn any_mirror()(
        chunks in (0_u32..3, 0_u32..3), width in 2_u64..6, copies in 2_u64..4, rows in 2_u64..9,
        forwards: bool, room in 1_i64..4,
    ) -> (Track, u64) {
        let (c, c2) = (1 << chunks.0, 1 << chunks.1);
        let larger = u64::max(c, c2);
        let copies = copies.min(width);
        let rows = rows * larger;
        let geometry = |chunk| Rows { chunk, width, copies, depth: 1 };
        let sectors = |chunk: u64| rows / chunk * width / copies * chunk;
        let room = room * i64::try_from(larger).expect("small") * 2;
        let track = Track {
            old: geometry(c),
            new: geometry(c2),
            direction: if forwards { Direction::Forwards } else { Direction::Backwards },
            shift: if forwards { -room } else { room },
            total: sectors(c2),
            content: sectors(c).min(sectors(c2)),
            unit: larger,
        };
        (track, rows)
    }
}

/// A picker from a seed: xorshift, so that a failure shrinks to a number.
fn picker(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(limit.max(1)).expect("small")).expect("small")
    }
}

fn limits(track: &Track, windows: u64, units: u64, backup: bool) -> Limits {
    let window = track.unit * units;
    let memory = window * windows;
    let backup = if backup { Backup::Sections { length: window } } else { Backup::None };
    Limits { window, memory, backup }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_crash_at_any_moment_loses_a_sector_for_all(
        (track, rows) in any_track(), windows in 1_u64..6, units in 1_u64..4, seed: u64,
    ) {
        let mut world = World::new(track, rows);
        let limits = limits(&track, windows, units, true);
        let start = track.position(0);
        let mut machine = Machine::new(track, limits, start, Sections::default()).expect("a start");
        prop_assert_eq!(run(&mut machine, &mut world, picker(seed)), State::Finished);
        prop_assert_eq!(&world.recorded, &vec![track.total]);
    }

    /// A RAID10 of four members with three copies, its chunk halved on the way down, was recorded and then refused
    /// by `grow` and `continue` alike: its end is no multiple of the larger chunk. One that was turned around there
    /// recorded places that are none.
    #[test]
    fn an_array_that_ends_within_a_unit_is_moved_from_one_place_to_the_next_for_all(
        (track, rows) in any_mirror(), windows in 1_u64..6, units in 1_u64..4, stops in 0_u64..99, seed: u64,
    ) {
        let limits = limits(&track, windows, units, false);
        // From the beginning, or from some place on, as who turned around there.
        let mut at = 0;
        for _ in 0..stops % (track.total / track.unit + 1) {
            at = track.after(at);
        }
        let mut world = World::new(track, rows);
        world.recorded = vec![at];
        let start = track.position(at);
        let mut machine = Machine::new(track, limits, start, Sections::default()).expect("a start");
        // Rows are shared by chunks of different windows here: of what they hold the world knows too little.
        let end = run_with(&mut machine, &mut world, picker(seed), |_| ());
        prop_assert_eq!(end, State::Finished);
        prop_assert_eq!(&world.recorded, &vec![track.total]);
    }

    #[test]
    fn whoever_has_the_backup_can_go_on_at_any_moment_for_all(
        (track, rows) in any_track(), windows in 1_u64..6, units in 1_u64..4, seed: u64,
    ) {
        let limits = limits(&track, windows, units, true);
        let start = track.position(0);
        let first = Machine::new(track, limits, start, Sections::default()).expect("a start").first_saved();
        let saved = Sections { first, second: None };
        let mut world = World::saved(track, rows, first);
        let mut machine = Machine::new(track, limits, start, saved).expect("a start");
        let check = |world: &World| {
            world.check();
            world.check_claims();
        };
        prop_assert_eq!(run_with(&mut machine, &mut world, picker(seed), check), State::Finished);
    }

    #[test]
    fn a_stop_records_what_was_moved_for_all(
        (track, rows) in any_track(), seed: u64, after in 0_usize..30,
    ) {
        let mut world = World::new(track, rows);
        let limits = limits(&track, 2, 1, true);
        let start = track.position(0);
        let mut machine = Machine::new(track, limits, start, Sections::default()).expect("a start");
        let mut pick = picker(seed);
        let mut under_way: Vec<(Action, Vec<Row>)> = Vec::new();
        let mut spans = Vec::new();
        for _ in 0..after {
            while let Some(action) = machine.poll() {
                if let Action::Read(id, span) = action {
                    spans.push((id, span));
                }
                begin(&mut world, &action);
                under_way.push((action, world.rows.clone()));
            }
            if under_way.is_empty() { break }
            let (action, rows) = under_way.swap_remove(pick(under_way.len()));
            let event = end(&mut world, action, &rows, &spans);
            machine.handle(event);
        }
        machine.stop();
        while !under_way.is_empty() || machine.poll().map(|action| {
            begin(&mut world, &action);
            under_way.push((action, world.rows.clone()));
        }).is_some() {
            let (action, rows) = under_way.swap_remove(pick(under_way.len()));
            let event = end(&mut world, action, &rows, &spans);
            machine.handle(event);
            world.check();
        }
        prop_assert!(matches!(machine.state(), State::Stopped | State::Finished), "{machine:?}");
        prop_assert_eq!(world.recorded.len(), 1);
        prop_assert_eq!(track.position(world.recorded[0]), machine.recorded());
        prop_assert_eq!(machine.moved(), world.recorded[0]);
    }
}

/// Also where a window is written before the next one is read, as on disks that write faster.
#[test]
fn a_checkpoint_waits_until_half_of_the_room_is_used() {
    let track = track((2, 2), (2, 3), 256, -1024, true);
    let limits = limits(&track, 2, 1, false);
    let start = track.position(0);
    let mut machine = Machine::new(track, limits, start, Sections::default()).expect("a start");
    let (mut checkpoints, mut windows) = (0, 0);
    while machine.state() == State::Running {
        let mut actions: Vec<Action> = std::iter::from_fn(|| machine.poll()).collect();
        // Writes end at once, reads last.
        actions.sort_by_key(|action| matches!(action, Action::Read(..)));
        for action in actions {
            machine.handle(match action {
                Action::Read(id, _) => Event::Read(id),
                Action::Write(id, _) => Event::Written(id),
                Action::FlushMembers => Event::MembersFlushed,
                Action::Record(_) => Event::Recorded,
                Action::Finish => Event::Finished,
                Action::Save(..) | Action::FlushBackup | Action::WriteHeader(_) => {
                    unreachable!("nothing is saved")
                }
            });
            checkpoints += u32::from(matches!(action, Action::Record(_)));
            windows += u32::from(matches!(action, Action::Write(..)));
        }
    }
    assert_eq!(machine.state(), State::Finished);
    assert_eq!(windows, 128);
    // A half, a quarter, an eighth ... of what is left.
    assert!(checkpoints <= 8, "{checkpoints} checkpoints");
}

/// How many windows are read before anything has ended.
fn reads_begun(machine: &mut Machine) -> usize {
    let actions: Vec<Action> = std::iter::from_fn(|| machine.poll()).collect();
    assert!(actions.iter().all(|action| matches!(action, Action::Read(..))), "{actions:?}");
    actions.len()
}

/// All windows that memory had room for were read together, so they were written together, and the disks read
/// nothing meanwhile.
#[test]
fn not_all_that_fits_into_memory_is_read_at_once() {
    let roomy = track((2, 2), (2, 2), 1 << 12, -(1 << 10), true);
    let start = Sections::default();
    let free = Limits { window: 16, memory: 1 << 10, backup: Backup::None };
    let mut machine = Machine::new(roomy, free, ArraySector::new(0), start).expect("a start");
    assert_eq!(reads_begun(&mut machine), READS);
    let tight = track((2, 2), (2, 2), 1 << 12, 0, true);
    let saved = Limits { backup: Backup::Sections { length: 16 }, ..free };
    let mut machine = Machine::new(tight, saved, ArraySector::new(0), start).expect("a start");
    assert_eq!(reads_begun(&mut machine), SAVED_READS);
}

#[test]
fn without_a_backup_a_critical_window_is_not_begun() {
    let track = track((2, 2), (2, 2), 8, 0, true);
    let limits = limits(&track, 2, 1, false);
    let start = track.position(0);
    let mut machine = Machine::new(track, limits, start, Sections::default()).expect("a start");
    assert_eq!(machine.poll(), None);
    assert_eq!(machine.state(), State::NeedsBackup);
}

#[test]
fn a_position_between_the_units_is_refused() {
    let track = track((2, 2), (2, 3), 8, 0, true);
    let limits = limits(&track, 2, 1, true);
    let position = ArraySector::new(4);
    let refused = Machine::new(track, limits, position, Sections::default()).expect_err("refused");
    assert_eq!(refused, BadPosition { position, unit: 6, total: 24 });
}
