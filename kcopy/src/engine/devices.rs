//! The devices in use: slots for the backend, what was learned about zeroing, shared flushes.
//!
//! A flush serves every job that waits for one when it is issued: it covers all writes completed
//! by then, theirs among them. Jobs that come while a flush is in flight wait for the next.

use std::collections::VecDeque;

use super::queue::JobKey;
use crate::backend::{MAX_SLOTS, Slot, ZeroMethod};
use crate::device::Device;
use crate::errno::Errno;

/// What is known about a way of zeroing on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Support {
    #[default]
    Unknown,
    Proven,
    Refused,
}

/// A device in use.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) device: Device,
    zero_range: Support,
    punch_hole: Support,
    pub(super) flush_in_flight: bool,
    /// Jobs that the flush in flight serves.
    pub(super) covered: Vec<JobKey>,
    /// Jobs that the next flush will serve.
    pub(super) waiting: Vec<JobKey>,
    /// A flush failed with this: nobody knows which of the writes before it are lost.
    pub(super) lost: Option<Errno>,
    /// Index in the statistics; `None` if there are too many devices to list.
    pub(super) stats: Option<usize>,
}

impl Entry {
    /// How to zero, in the order of preference, leaving out what was refused; `None`: write zeros.
    pub(super) fn zero_method(&self, punch_first: bool) -> Option<ZeroMethod> {
        let range = (ZeroMethod::ZeroRange, self.zero_range);
        let hole = (ZeroMethod::PunchHole, self.punch_hole);
        let order = if punch_first { [hole, range] } else { [range, hole] };
        order.into_iter().find(|(_, s)| *s != Support::Refused).map(|(method, _)| method)
    }

    /// Whether the preferred way of zeroing has worked before.
    pub(super) fn zero_is_proven(&self, punch_first: bool) -> bool {
        match self.zero_method(punch_first) {
            Some(ZeroMethod::ZeroRange) => self.zero_range == Support::Proven,
            Some(ZeroMethod::PunchHole) => self.punch_hole == Support::Proven,
            None => false,
        }
    }

    /// Remembers how `method` went.
    pub(super) fn learn(&mut self, method: ZeroMethod, support: Support) {
        match method {
            ZeroMethod::ZeroRange => self.zero_range = support,
            ZeroMethod::PunchHole => self.punch_hole = support,
        }
    }
}

/// Who uses a device.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    /// The device's id; 0, which no device has, where there is none.
    id: u64,
    /// Jobs that name it.
    jobs: u32,
}

/// A change that the backend must be told of.
#[derive(Clone, Debug)]
pub enum DeviceChange {
    /// A device came into use.
    Attach(Slot, Device),
    /// A device is not used any more.
    Detach(Slot),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Devices {
    entries: Vec<Option<Entry>>,
    /// The same of each, in their order, that every job needs: it is in and out with little memory
    /// touched.
    uses: Vec<Use>,
    /// Where the last search ended: jobs come in runs.
    last: [usize; 2],
    pub(super) changes: VecDeque<DeviceChange>,
    /// Slots with jobs in `waiting` and no flush in flight.
    flush_due: Vec<Slot>,
}

impl Devices {
    pub(super) fn get(&self, slot: Slot) -> &Entry {
        self.entries[usize::from(slot.0)].as_ref().expect("a job's device is attached")
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[usize::from(slot.0)].as_mut().expect("a job's device is attached")
    }

    /// The slot of `device` for one more job; `None` if there are too many devices.
    ///
    /// `stats` makes its place in the statistics when it is new.
    pub(super) fn enter(
        &mut self,
        device: &Device,
        stats: impl FnOnce() -> Option<usize>,
    ) -> Option<Slot> {
        if let Some(slot) = self.find(device.id()) {
            self.uses[usize::from(slot.0)].jobs += 1;
            return Some(slot);
        }
        self.enter_new(device, stats())
    }

    #[cold]
    fn enter_new(&mut self, device: &Device, stats: Option<usize>) -> Option<Slot> {
        let slot = self.free_slot()?;
        self.entries[usize::from(slot.0)] = Some(Entry {
            device: device.clone(),
            zero_range: Support::default(),
            punch_hole: Support::default(),
            flush_in_flight: false,
            covered: Vec::new(),
            waiting: Vec::new(),
            lost: None,
            stats,
        });
        self.uses[usize::from(slot.0)] = Use { id: device.id(), jobs: 1 };
        self.changes.push_back(DeviceChange::Attach(slot, device.clone()));
        Some(slot)
    }

    fn find(&mut self, id: u64) -> Option<Slot> {
        let is_it = |place: usize| self.uses.get(place).is_some_and(|other| other.id == id);
        let [last, before] = self.last;
        let place = if is_it(last) {
            last
        } else if is_it(before) {
            before
        } else {
            let place = self.uses.iter().position(|other| other.id == id)?;
            self.last = [place, last];
            place
        };
        u16::try_from(place).ok().map(Slot)
    }

    /// One job less uses `slot`.
    pub(super) fn leave(&mut self, slot: Slot) {
        self.uses[usize::from(slot.0)].jobs -= 1;
    }

    /// Lets go of devices that no job uses and that nobody outside has a handle of.
    pub(super) fn sweep(&mut self) {
        self.detach_where(|entry| entry.device.handles() == 1);
    }

    /// Lets go of `device` if no job uses it.
    pub(super) fn release(&mut self, device: &Device) {
        self.detach_where(|entry| entry.device.id() == device.id());
    }

    /// Asks for a flush of `slot` on behalf of `job`.
    pub(super) fn want_flush(&mut self, slot: Slot, job: JobKey) {
        let entry = self.get_mut(slot);
        entry.waiting.push(job);
        let due = !entry.flush_in_flight && entry.waiting.len() == 1;
        if due {
            self.flush_due.push(slot);
        }
    }

    /// A device that is to be flushed now, if there is one; its waiting jobs become covered.
    pub(super) fn start_flush(&mut self) -> Option<Slot> {
        let slot = self.flush_due.pop()?;
        let entry = self.get_mut(slot);
        entry.flush_in_flight = true;
        std::mem::swap(&mut entry.covered, &mut entry.waiting);
        Some(slot)
    }

    /// The flush of `slot` ended: hands out the jobs that it served.
    pub(super) fn end_flush(&mut self, slot: Slot) -> Vec<JobKey> {
        let entry = self.get_mut(slot);
        entry.flush_in_flight = false;
        let served = std::mem::take(&mut entry.covered);
        if !entry.waiting.is_empty() {
            self.flush_due.push(slot);
        }
        served
    }

    /// Gives an emptied list of served jobs back, so that its memory is used again.
    pub(super) fn recycle(&mut self, slot: Slot, mut served: Vec<JobKey>) {
        served.clear();
        let entry = self.get_mut(slot);
        if entry.covered.capacity() == 0 {
            entry.covered = served;
        }
    }

    fn detach_where(&mut self, wanted: impl Fn(&Entry) -> bool) {
        for (index, place) in self.entries.iter_mut().enumerate() {
            let Some(entry) = place.as_ref() else { continue };
            if self.uses[index].jobs > 0 || entry.flush_in_flight || !wanted(entry) {
                continue;
            }
            let slot = Slot(u16::try_from(index).expect("slots are below MAX_SLOTS"));
            // A device that was never announced to the backend is not taken back from it either.
            let announced = !self
                .changes
                .iter()
                .any(|change| matches!(change, DeviceChange::Attach(new, _) if *new == slot));
            self.uses[index] = Use::default();
            *place = None;
            if announced {
                self.changes.push_back(DeviceChange::Detach(slot));
            } else {
                let same = |c: &DeviceChange| matches!(c, DeviceChange::Attach(n, _) if *n == slot);
                self.changes.retain(|change| !same(change));
            }
        }
    }

    fn free_slot(&mut self) -> Option<Slot> {
        let free = |uses: &[Use]| uses.iter().position(|other| other.id == 0);
        if self.uses.len() >= usize::from(MAX_SLOTS) && free(&self.uses).is_none() {
            self.sweep();
        }
        let index = free(&self.uses).unwrap_or(self.uses.len());
        let slot = u16::try_from(index).ok().filter(|index| *index < MAX_SLOTS)?;
        if index == self.uses.len() {
            self.uses.push(Use::default());
            self.entries.push(None);
        }
        Some(Slot(slot))
    }
}
