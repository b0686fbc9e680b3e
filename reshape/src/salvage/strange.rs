//! What a backup of mdadm's holds that nothing explains: it is damaged there, or an older one.
//!
//! mdadm writes no checksum of the data. But in place, what a backup holds stands at its old place until that is
//! overwritten, and at its new one as soon as that is written. If it stands at neither, its old place holds what
//! the reshape has moved there, and its new one what has yet to be moved; if the backup has these, too, it has to
//! be the same. Where the other geometry has parity nothing is asked.

use super::front::Evidence;
use super::walk::{UNIT, Walk};
use crate::array::{Backup, Range as Found, View};
use crate::geometry::{On, Place};
use crate::metadata::Section;
use crate::mover::Mover;
use crate::units::ArraySector;
use kcopy::{SECTOR_SIZE, Sectors};

/// The sections of the `used` ones of all backups in which something waits to be moved by the record, and stands at
/// neither place for no reason: from the first to the last.
pub(super) fn strange(
    mover: &mut Mover,
    (evidence, walk): (&Evidence, &Walk),
    views: (&View, &View),
    (all, used): (&[Backup], &[Backup]),
    recorded: ArraySector,
) -> Option<Found> {
    if walk.common_shift() != Some(0) || views.0.geometry().stripes().is_none() {
        return None;
    }
    let (time, mut found) = (walk.time(recorded), None::<Found>);
    let is_used = |backup: &&Backup| {
        let path = backup.device.path();
        backup.header.ours.is_none() && used.iter().any(|other| other.device.path() == path)
    };
    for (index, units) in evidence.nowhere() {
        let Some(backup) = all.get(*index).filter(is_used) else { continue };
        for unit in units.clone().filter(|unit| walk.born(*unit) >= time) {
            if is_strange(mover, views, backup, unit) != Some(true) {
                continue;
            }
            let holds = |(section, _): &&(Section, u64)| into(section, unit).is_some();
            let Some((section, _)) = backup.sections.iter().find(holds) else { continue };
            let all = Found::new(section.array_start.get(), section.length.get());
            let known = found.unwrap_or(all);
            let (start, end) = (known.start.min(all.start).get(), known.end().max(all.end()));
            found = Some(Found::new(start, end - start));
        }
    }
    found
}

/// Where in a section a unit is, in sectors.
fn into(section: &Section, unit: u64) -> Option<u64> {
    let into = (unit * UNIT).checked_sub(section.array_start.get())?;
    (into + UNIT <= section.length.get()).then_some(into)
}

/// Whether its places hold something else than what explains that it stands at neither; `None` if that cannot be read.
fn is_strange(
    mover: &mut Mover,
    (old, new): (&View, &View),
    backup: &Backup,
    unit: u64,
) -> Option<bool> {
    let sector = ArraySector::new(unit * UNIT);
    let place = |view: &View| view.geometry().at(sector)?.places.first().copied();
    let (from, to) = (place(old)?, place(new)?);
    // What was moved to its old place, and what waits at its new one.
    let differs = |mover: &mut Mover, (holder, other): (&View, &View), at: Place| {
        let On::Data(there) = other.geometry().on(at.slot, at.sector) else { return Some(false) };
        let Some(saved) = saved(mover, backup, there.get() / UNIT) else { return Some(false) };
        let leg = holder.leg(at.slot)?;
        let extent = leg.extent(at.sector, Sectors::new(UNIT))?;
        let found = mover.read(&extent.device, extent.offset, saved.len()).ok()?;
        Some(found != saved)
    };
    Some(differs(mover, (old, new), from)? || differs(mover, (new, old), to)?)
}

/// What a backup has of a unit.
fn saved(mover: &mut Mover, backup: &Backup, unit: u64) -> Option<Vec<u8>> {
    let at = backup
        .sections
        .iter()
        .find_map(|(section, at)| Some(at.saturating_add(into(section, unit)? * SECTOR_SIZE)))?;
    mover.read(&backup.device, at, usize::try_from(UNIT * SECTOR_SIZE).ok()?).ok()
}
