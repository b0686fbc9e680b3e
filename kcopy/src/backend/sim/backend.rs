//! The [`Backend`] of a simulated world: holds operations until the schedule lets them end.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::{Data, DiskId, WriteEnd};
use super::faults::{Effect, Target};
use super::store::to_usize;
use super::trace::{Event, OpKind, Phase};
use super::{Film, Schedule, SimWorld, Snapshot, State, Struck};
use crate::backend::{
    Backend, BackendKind, Buffer, Completion, Op, OpId, Rejected, Slot, Wake, Window, ZeroMethod,
};
use crate::device::{Device, Handle};
use crate::errno::Errno;
use crate::units::Time;

/// How many completions one wait may bring at most, when the schedule is random.
const BATCH: usize = 8;

/// A backend whose disks are those of a [`SimWorld`]. Made by [`SimWorld::backend`].
#[derive(Debug)]
pub struct SimBackend {
    world: SimWorld,
    epoch: u64,
    depth: usize,
    slots: BTreeMap<Slot, DiskId>,
    pending: Vec<Pending>,
    /// Completions that no operation stands behind any more.
    strays: Vec<Completion>,
    bell: Arc<Bell>,
    threaded: bool,
    /// Operations until the power goes, if it goes.
    power: Option<u64>,
    film: Option<Film>,
}

/// An operation in flight.
#[derive(Debug)]
struct Pending {
    id: OpId,
    op: Op,
    ticket: u64,
    /// `None` if its slot was not attached.
    disk: Option<DiskId>,
    effect: Option<Effect>,
    held_until: Time,
    ready_at: Time,
    flush_point: u64,
}

impl Pending {
    fn is_stuck(&self) -> bool {
        self.effect == Some(Effect::Never)
    }
}

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn rung(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was rung since the last time.
    fn take(&self) -> bool {
        std::mem::take(&mut *self.rung())
    }

    /// Sleeps until it is rung, at most `limit`.
    fn sleep(&self, limit: Option<Duration>) {
        let (rung, quiet) = (self.rung(), |rung: &mut bool| !*rung);
        match limit {
            Some(limit) => drop(self.changed.wait_timeout_while(rung, limit, quiet)),
            None => drop(self.changed.wait_while(rung, quiet)),
        }
    }
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung() = true;
        self.changed.notify_one();
    }
}

impl SimBackend {
    pub(super) fn new(world: SimWorld, depth: usize) -> Self {
        let epoch = world.state().epoch;
        Self {
            world,
            epoch,
            depth: depth.max(1),
            slots: BTreeMap::new(),
            pending: Vec::new(),
            strays: Vec::new(),
            bell: Arc::default(),
            threaded: false,
            power: None,
            film: None,
        }
    }

    /// For a [`crate::Client`], whose engine has a thread of its own: a wait that nothing in flight
    /// can end sleeps until it is woken, instead of returning at once. Runs are then no longer a
    /// function of the seed alone.
    #[must_use]
    pub fn threaded(mut self) -> Self {
        self.threaded = true;
        self
    }

    /// The machine's power goes with the `operations`-th operation: it and those before it may have
    /// happened or not, as [`SimWorld::snapshot`] and [`super::Crash`] have it; later ones reach no
    /// disk. No wait brings anything from then on, each is an error ([`crate::backend`], rule 7), so
    /// that what runs on it ends as if it had been killed.
    ///
    /// [`SimWorld::crash`] does the same from outside; this is for runs that nobody interrupts.
    #[must_use]
    pub fn without_power_after(mut self, operations: u64) -> Self {
        self.power = Some(operations);
        self
    }

    /// Takes a picture of all disks now, and after every operation that changes one or makes
    /// something durable, also where one wait brings several.
    pub fn filmed(mut self) -> (Self, Film) {
        let film = Film::of(&self.world);
        self.film = Some(film.clone());
        (self, film)
    }

    fn check_slot(&self, state: &mut State, id: OpId, device: Slot) -> Option<DiskId> {
        if self.pending.iter().any(|other| other.id == id) {
            state.violation(format!("{id:?} is used twice at a time"));
        }
        let disk = self.slots.get(&device).copied();
        if disk.is_none() {
            state.violation(format!("operation on slot {} that is not attached", device.0));
        }
        disk
    }

    /// The index in `pending` of the operation that ends next; moves the clock on.
    fn choose(&self, state: &mut State, timeout: Option<Duration>) -> Option<usize> {
        let deadline = timeout.map(|limit| state.now.after_nanos(nanos(limit)));
        if let Schedule::Timed = state.schedule {
            state.now = state.now.after_nanos(1_000);
            let next = |(index, op): (usize, &Pending)| {
                (!op.is_stuck()).then_some((op.ready_at.max(op.held_until), op.ticket, index))
            };
            let (at, _, index) = self.pending.iter().enumerate().filter_map(next).min()?;
            return state.arrive(at, deadline).then_some(index);
        }
        let held = self.pending.iter().filter(|op| !op.is_stuck()).map(|op| op.held_until).min()?;
        if held > state.now && !state.arrive(held, deadline) {
            return None;
        }
        let free = |(index, op): (usize, &Pending)| {
            (!op.is_stuck() && op.held_until <= state.now).then_some(index)
        };
        let candidates: Vec<usize> = self.pending.iter().enumerate().filter_map(free).collect();
        let choice = state.choose(candidates.len(), timeout)?;
        Some(candidates[choice])
    }

    fn end(&mut self, state: &mut State, index: usize) -> Completion {
        let mut pending = self.pending.remove(index);
        let result = state.carry_out(&mut pending);
        state.log(&pending, Phase::Ended(result));
        // Bytes reach a disk's cache, or its platter, when the operation ends.
        let kind = OpKind::of(&pending.op);
        if let Some(film) = self.film.as_ref().filter(|_| kind != OpKind::Read) {
            film.take_picture(Snapshot { disks: state.disks.clone() });
        }
        state.in_flight.retain(|other| other.op != pending.ticket);
        match pending.effect {
            Some(Effect::Twice) => {
                self.strays.push(Completion { id: pending.id, result, buffer: Buffer::None });
            }
            Some(Effect::Stranger) => {
                let id = OpId(pending.id.0 ^ (1 << state.rng.below(64)));
                self.strays.push(Completion { id, result, buffer: Buffer::None });
            }
            Some(
                Effect::Error(_)
                | Effect::Short
                | Effect::ShortOf(_)
                | Effect::Nothing
                | Effect::Delay(_)
                | Effect::Never
                | Effect::FlipBit
                | Effect::Misdirect(_)
                | Effect::Vanish,
            )
            | None => {}
        }
        Completion { id: pending.id, result, buffer: pending.op.into_buffer() }
    }
}

impl State {
    /// Moves the clock to `at`, or only to the deadline if that comes first.
    fn arrive(&mut self, at: Time, deadline: Option<Time>) -> bool {
        let in_time = deadline.is_none_or(|deadline| at <= deadline);
        let to = if in_time { at } else { deadline.unwrap_or(at) };
        self.now = self.now.max(to);
        in_time
    }

    /// Which of `candidates` operations ends next; `None`: none before the time is up.
    fn choose(&mut self, candidates: usize, timeout: Option<Duration>) -> Option<usize> {
        let now = self.now;
        match &mut self.schedule {
            Schedule::Random => {
                if timeout == Some(Duration::ZERO) {
                    self.now = now.after_nanos(500);
                    return self.rng.chance(1, 2).then(|| self.rng.index(candidates));
                }
                let at = now.after_nanos(self.rng.between(1_000, 100_000));
                let deadline = timeout.map(|limit| now.after_nanos(nanos(limit)));
                self.arrive(at, deadline).then(|| self.rng.index(candidates))
            }
            Schedule::FirstComeFirstServed | Schedule::Timed => {
                self.now = now.after_nanos(10_000);
                Some(0)
            }
            Schedule::LastComeFirstServed => {
                self.now = now.after_nanos(10_000);
                Some(candidates - 1)
            }
            Schedule::Script(script) => {
                self.now = now.after_nanos(10_000);
                let choice = script.get(self.fanout.len()).copied().unwrap_or(0);
                self.fanout.push(candidates);
                Some(choice.min(candidates - 1))
            }
        }
    }

    fn log(&mut self, pending: &Pending, phase: Phase) {
        let (offset, len) = pending.op.span().unwrap_or((0, 0));
        let disk = pending.disk.unwrap_or(DiskId(u32::MAX));
        let (op, kind, time) = (pending.ticket, OpKind::of(&pending.op), self.now);
        self.trace.push(Event { time, op, disk, kind, offset, len, phase });
    }

    /// Notes an operation, decides its fate, and lets a write into the cache.
    fn take_in(&mut self, pending: &mut Pending) {
        let Some(disk) = pending.disk else { return self.log(pending, Phase::Issued) };
        let (offset, len) = pending.op.span().unwrap_or((0, 0));
        let kind = OpKind::of(&pending.op);
        let target = Target { op: pending.ticket, disk, kind, offset, len };
        self.check(&target, &pending.op);
        let rng = &mut self.rng;
        pending.effect = self.faults.iter_mut().find_map(|fault| fault.strike(&target, rng));
        if let Some(effect) = pending.effect {
            self.struck.push(Struck { op: target.op, disk, kind, offset, len, effect });
        }
        if let Some(Effect::Delay(time)) = pending.effect {
            pending.held_until = self.now.after_nanos(nanos(time));
        }
        let here = self.disk(disk);
        let transfer = len.saturating_mul(1_000_000_000) / here.options.bytes_per_second;
        let takes = nanos(here.options.latency).saturating_add(transfer);
        pending.flush_point = here.flush_point();
        pending.ready_at = self.now.after_nanos(takes);
        if let Some((offset, data)) = self.cached_form(pending, disk) {
            self.disk(disk).begin_write(pending.ticket, offset, data);
        }
        self.in_flight.push(target);
        self.log(pending, Phase::Issued);
    }

    /// The engine's bugs that show when an operation is submitted.
    fn check(&mut self, target: &Target, op: &Op) {
        let disk = self.disk(target.disk);
        let limit = disk.options.capacity.max(disk.size);
        let end = target.offset.checked_add(target.len);
        if end.is_none_or(|end| end > limit) {
            self.violation(format!("{target:?} goes past the end of the disk at {limit}"));
        }
        let window = match op {
            Op::Read { window, pages, .. } => Some((*window, pages.size())),
            Op::Write { window, pages, .. } => Some((*window, pages.size())),
            Op::Zero { .. } | Op::Discard { .. } | Op::Flush { .. } => None,
        };
        if window.is_some_and(|(window, size)| window.len == 0 || window.range().end > size) {
            self.violation(format!("{target:?} has a window outside its pages"));
        }
        if !self.forbid_overlap || target.len == 0 {
            return;
        }
        let clash = |other: &&Target| {
            other.disk == target.disk
                && (other.kind.changes() || target.kind.changes())
                && other.offset < target.offset + target.len
                && target.offset < other.offset + other.len
        };
        if let Some(other) = self.in_flight.iter().find(clash) {
            let text = format!("{target:?} overlaps {other:?} in flight");
            self.violation(text);
        }
    }

    /// Where a write or zeroing goes and what it puts there; `None` if it changes nothing.
    fn cached_form(&mut self, pending: &Pending, id: DiskId) -> Option<(u64, Data)> {
        let disk = self.disk(id);
        let (size, capacity, options) = (disk.size, disk.options.capacity, disk.options.clone());
        if disk.gone || pending.effect == Some(Effect::Vanish) {
            return None;
        }
        match &pending.op {
            Op::Read { .. } | Op::Flush { .. } => None,
            Op::Write { offset, pages, window, .. } => {
                let fits = u64::from(window.len).min(capacity.saturating_sub(*offset));
                let from = window.start as usize;
                let bytes = &pages[from..from + to_usize(fits)];
                let shift = match pending.effect {
                    Some(Effect::Misdirect(by)) => {
                        by % capacity.saturating_sub(offset + fits).max(1)
                    }
                    _ => 0,
                };
                (fits > 0).then(|| (offset + shift, Data::Bytes(bytes.into())))
            }
            Op::Zero { offset, len, method, .. } => {
                let supported = match method {
                    ZeroMethod::ZeroRange => options.zero_range,
                    ZeroMethod::PunchHole => options.punch_hole,
                };
                let fits = (*len).min(size.saturating_sub(*offset));
                (supported && fits > 0).then_some((*offset, Data::Zeros(fits)))
            }
            Op::Discard { offset, len, .. } => {
                let fits = (*len).min(size.saturating_sub(*offset));
                let changes = options.discard && fits > 0 && self.rng.chance(1, 2);
                changes.then_some((*offset, Data::Zeros(fits)))
            }
        }
    }

    /// The result of an operation, and its effect on the disk.
    fn carry_out(&mut self, pending: &mut Pending) -> Result<u32, Errno> {
        let Some(id) = pending.disk else { return Err(Errno::BAD_DESCRIPTOR) };
        self.disk(id).gone |= pending.effect == Some(Effect::Vanish);
        let failure = match pending.effect {
            _ if self.disk(id).gone => Some(Errno::new(libc::ENODEV)),
            Some(Effect::Error(errno)) => Some(errno),
            _ => None,
        };
        let (ticket, point, effect) = (pending.ticket, pending.flush_point, pending.effect);
        match &mut pending.op {
            Op::Read { offset, pages, window, .. } => match failure {
                Some(errno) => Err(errno),
                None => Ok(self.read((id, *offset), &mut pages[window.range()], effect)),
            },
            Op::Write { offset, window, .. } => {
                self.end_write((id, *offset), ticket, *window, (effect, failure))
            }
            Op::Zero { len, method, .. } => {
                let options = &self.disk(id).options;
                let supported = match method {
                    ZeroMethod::ZeroRange => options.zero_range,
                    ZeroMethod::PunchHole => options.punch_hole,
                };
                self.end_zero(id, ticket, *len, failure.or_else(|| unsupported(supported)))
            }
            Op::Discard { .. } => {
                let supported = self.disk(id).options.discard;
                self.end_zero(id, ticket, 0, failure.or_else(|| unsupported(supported)))
            }
            Op::Flush { .. } => match failure {
                Some(errno) => {
                    self.disk(id).lose(point);
                    Err(errno)
                }
                None => {
                    let disk = self.disk(id);
                    disk.flush(point);
                    disk.stats.flushes += 1;
                    Ok(0)
                }
            },
        }
    }

    fn read(&mut self, at: (DiskId, u64), out: &mut [u8], effect: Option<Effect>) -> u32 {
        let (id, offset) = at;
        let left = self.disk(id).size.saturating_sub(offset);
        let len = self.transferred(id, (out.len() as u64).min(left), effect);
        let part = &mut out[..to_usize(len)];
        self.disk(id).read(offset, part);
        if effect == Some(Effect::FlipBit) && !part.is_empty() {
            let byte = self.rng.index(part.len());
            part[byte] ^= 1 << self.rng.below(8);
        }
        let stats = &mut self.disk(id).stats;
        stats.bytes_read += len;
        stats.reads += 1;
        u32::try_from(len).expect("no longer than its window")
    }

    fn end_write(
        &mut self,
        at: (DiskId, u64),
        ticket: u64,
        window: Window,
        fate: (Option<Effect>, Option<Errno>),
    ) -> Result<u32, Errno> {
        let ((id, offset), (effect, failure)) = (at, fate);
        let fits = u64::from(window.len).min(self.disk(id).options.capacity.saturating_sub(offset));
        let failure = failure.or_else(|| (fits == 0).then_some(Errno::NO_SPACE));
        let len = self.transferred(id, fits, effect);
        let mut rng = self.rng.fork();
        let disk = self.disk(id);
        if let Some(errno) = failure {
            disk.end_write(ticket, WriteEnd::Failed, &mut rng);
            return Err(errno);
        }
        disk.end_write(ticket, WriteEnd::Done(len), &mut rng);
        if len > 0 {
            disk.size = disk.size.max(offset + len);
        }
        disk.stats.bytes_written += len;
        disk.stats.writes += 1;
        Ok(u32::try_from(len).expect("no longer than its window"))
    }

    fn end_zero(
        &mut self,
        id: DiskId,
        ticket: u64,
        zeroed: u64,
        failure: Option<Errno>,
    ) -> Result<u32, Errno> {
        let mut rng = self.rng.fork();
        let disk = self.disk(id);
        if let Some(errno) = failure {
            disk.end_write(ticket, WriteEnd::Failed, &mut rng);
            return Err(errno);
        }
        disk.end_write(ticket, WriteEnd::Done(u64::MAX), &mut rng);
        disk.stats.bytes_zeroed += zeroed;
        Ok(0)
    }

    /// How much of `len` bytes a read or write transfers.
    fn transferred(&mut self, id: DiskId, len: u64, effect: Option<Effect>) -> u64 {
        let options = &self.disk(id).options;
        let unit = if options.direct { u64::from(options.logical_block) } else { 1 };
        let whole_units = |len: u64| len - len % unit;
        match effect {
            Some(Effect::Nothing) => 0,
            Some(Effect::ShortOf(limit)) => len.min(u64::from(limit)),
            Some(Effect::Short) if len > unit => {
                let limit = unit + self.rng.below(len - unit);
                whole_units(limit).max(unit)
            }
            _ => len,
        }
    }
}

fn unsupported(supported: bool) -> Option<Errno> {
    (!supported).then_some(Errno::NOT_SUPPORTED)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Backend for SimBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Simulated
    }

    fn attach(&mut self, slot: Slot, device: &Device) -> Result<(), Errno> {
        let mut state = self.world.state();
        let number = match device.handle() {
            Handle::Simulated { number, .. } => *number,
            Handle::Files { .. } | Handle::Null => return Err(Errno::BAD_DESCRIPTOR),
        };
        let ours = state.devices.get(number as usize).is_some_and(|own| own.is_same(device));
        if !ours {
            return Err(Errno::BAD_DESCRIPTOR);
        }
        if self.slots.insert(slot, DiskId(number)).is_some() {
            state.violation(format!("slot {} is attached twice", slot.0));
        }
        Ok(())
    }

    fn detach(&mut self, slot: Slot) {
        let mut state = self.world.state();
        if self.slots.remove(&slot).is_none() {
            state.violation(format!("slot {} is detached, but was not attached", slot.0));
        }
        if self.pending.iter().any(|pending| pending.op.device() == slot) {
            state.violation(format!("slot {} is detached with operations in flight", slot.0));
        }
    }

    fn room(&self) -> usize {
        self.depth.saturating_sub(self.pending.len())
    }

    fn submit(&mut self, id: OpId, op: Op) -> Result<(), Box<Rejected>> {
        if self.room() == 0 {
            return Err(Box::new(Rejected { op }));
        }
        match &mut self.power {
            Some(0) => return Ok(()),
            Some(left) => *left -= 1,
            None => {}
        }
        let mut state = self.world.state();
        let disk = self.check_slot(&mut state, id, op.device());
        let (ticket, now) = (state.ops, state.now);
        state.ops += 1;
        let mut pending = Pending {
            id,
            op,
            ticket,
            disk,
            effect: None,
            held_until: now,
            ready_at: now,
            flush_point: 0,
        };
        state.take_in(&mut pending);
        drop(state);
        self.pending.push(pending);
        Ok(())
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> io::Result<()> {
        let world = self.world.clone();
        let mut state = world.state();
        if state.epoch != self.epoch || self.power == Some(0) {
            return Err(io::Error::other("the simulated machine lost its power"));
        }
        let woken = self.bell.take();
        let some = woken || !self.strays.is_empty();
        for mut stray in std::mem::take(&mut self.strays) {
            // A stranger names nothing that is in flight, also nothing that was begun since.
            while self.pending.iter().any(|other| other.id == stray.id) {
                stray.id = OpId(state.rng.next_u64());
            }
            done.push(stray);
        }
        let timeout = if some { Some(Duration::ZERO) } else { timeout };
        if self.pending.iter().all(Pending::is_stuck) {
            match timeout {
                Some(limit) => state.now = state.now.after_nanos(nanos(limit)),
                None => state.stalls += 1,
            }
            drop(state);
            if self.threaded {
                self.bell.sleep(timeout);
            }
            return Ok(());
        }
        let Some(index) = self.choose(&mut state, timeout) else { return Ok(()) };
        done.push(self.end(&mut state, index));
        while matches!(state.schedule, Schedule::Random)
            && done.len() < BATCH
            && state.rng.chance(1, 4)
        {
            let Some(index) = self.choose(&mut state, Some(Duration::ZERO)) else { break };
            done.push(self.end(&mut state, index));
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.bell) as Arc<dyn Wake>
    }

    fn describe(&self) -> String {
        format!("simulated, seed {}", self.world.seed())
    }
}

/// The program ends with operations in flight: each has happened, or in part, or not at all.
impl Drop for SimBackend {
    fn drop(&mut self) {
        let mut state = self.world.state();
        if state.epoch != self.epoch {
            return;
        }
        for pending in &self.pending {
            state.in_flight.retain(|other| other.op != pending.ticket);
            let mut rng = state.rng.fork();
            if let Some(disk) = pending.disk {
                state.disk(disk).end_write(pending.ticket, WriteEnd::Failed, &mut rng);
            }
        }
    }
}
