//! The part of an array that is meant, and telling how far it is.

use kcopy::device::DeviceKind;
use kcopy::{Device, Sectors};
use reshape::array::Range;

use crate::args;
use crate::exit::Failure;
use crate::output::{Phase, Progress, Screen};
use crate::signals::Interrupt;
use crate::units::{Size, exact};

/// A part of an array: it begins with a sector and may end inside one, as files do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The sector of the array it begins with.
    pub(crate) start: u64,
    /// Its length in bytes.
    pub(crate) bytes: u64,
}

impl Part {
    /// The sectors that belong to it altogether.
    pub(crate) fn whole(self) -> Range {
        Range::new(self.start, self.bytes / kcopy::SECTOR_SIZE)
    }

    /// The sectors it touches.
    pub(crate) fn cover(self) -> Range {
        Range::new(self.start, self.bytes.div_ceil(kcopy::SECTOR_SIZE))
    }

    /// Bytes of it in the sector behind those that belong to it altogether.
    pub(crate) fn rest(self) -> u64 {
        self.bytes % kcopy::SECTOR_SIZE
    }
}

/// What is meant by `--offset` and `--count` in an array of `size`; `rest` is the length if no
/// count is given.
pub(crate) fn part(
    verb: &str,
    size: Sectors,
    offset: Size,
    count: Option<Size>,
    rest: Option<u64>,
) -> Result<Part, Failure> {
    let refused = |cause: String| Failure::refused(format!("cannot {verb}: {cause}"));
    let bytes = size.get() * kcopy::SECTOR_SIZE;
    let left = bytes.checked_sub(offset.0).filter(|left| *left > 0).ok_or_else(|| {
        refused(format!("--offset {} leaves nothing, the array has {}", offset.0, exact(bytes)))
            .hint("begin less far into the array")
    })?;
    let count = count.map(|count| count.0).or(rest).unwrap_or(left);
    if !offset.0.is_multiple_of(kcopy::SECTOR_SIZE) {
        let cause = format!("--offset, {}, is no whole number of sectors", exact(offset.0));
        return Err(refused(cause).hint("a sector has 512 bytes"));
    }
    if count == 0 {
        return Err(refused("there is nothing to do: the length is 0".into())
            .hint("leave --count out to go on to the end"));
    }
    if count > left {
        let cause =
            format!("{} from {} on do not fit, the array has {}", count, offset.0, exact(bytes));
        return Err(refused(cause).hint("reshape detail shows the size of the array"));
    }
    Ok(Part { start: offset.0 / kcopy::SECTOR_SIZE, bytes: count })
}

/// The size of a file or device, unless it cannot be used.
pub(crate) fn is_block(device: &Device) -> bool {
    match device.facts().kind {
        DeviceKind::Block => true,
        DeviceKind::File | DeviceKind::Simulated | DeviceKind::Null => false,
    }
}

/// Tells how far a piece of work is, and hears when it is to stop.
pub(crate) struct Watch {
    progress: Progress,
    interrupt: Interrupt,
}

impl Watch {
    /// Watches work on `total` bytes.
    pub(crate) fn begin(
        how: args::Progress,
        screen: Screen,
        phase: Phase,
        total: u64,
    ) -> Result<Self, Failure> {
        let interrupt = Interrupt::listen()
            .map_err(|error| Failure::refused(format!("cannot listen for signals: {error}")))?;
        Ok(Self { progress: Progress::start(how, screen, phase, total), interrupt })
    }

    /// `done` bytes are done. Whether to go on.
    pub(crate) fn moved(&mut self, done: u64) -> bool {
        self.progress.update(done);
        !self.interrupt.asked()
    }

    /// Another part of the work begins.
    pub(crate) fn phase(&mut self, phase: Phase, total: u64) {
        self.progress.phase(phase, total);
    }

    /// Whether the user wants to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.asked()
    }

    /// Nothing further will be said.
    pub(crate) fn finish(&mut self) {
        self.progress.finish();
    }
}
