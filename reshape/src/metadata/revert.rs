//! Turning a recorded reshape around, and giving one up that has not begun.
//!
//! Nothing but superblocks changes: what was the old layout becomes the new one, the position
//! stays, and the reshape goes back to where it came from. The superblock of every member has to
//! be changed alike.

use kcopy::Sectors;

use super::facts::{Direction, DoesNotFit, Reshape};
use super::superblock::Superblock;
use crate::units::ArraySector;

/// Why a reshape cannot be turned around or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevertError {
    /// None is recorded.
    #[error("no reshape is recorded: there is nothing to turn around")]
    NoReshape,
    /// The position is within a stripe of the layout that it would go back to.
    #[error(
        "the reshape is at {position}, which is no multiple of {stripe}: it cannot turn around here; \
         let it go on for a moment first"
    )]
    WithinStripe {
        /// The reshape's position.
        position: ArraySector,
        /// What it has to be a multiple of.
        stripe: Sectors,
    },
    /// 0.90 cannot say which way a reshape goes that keeps the number of members.
    #[error("superblocks 0.90 cannot record that a reshape of the same members goes backwards")]
    NoDirection,
    /// It has moved data already.
    #[error("the reshape has moved data up to {position}: it can be turned around, not given up")]
    Begun {
        /// The reshape's position.
        position: ArraySector,
    },
    /// The numbers of the superblock contradict each other.
    #[error(
        "the superblock records a reshape of {delta_disks} members more, to {raid_disks} of them"
    )]
    Contradiction {
        /// What it says (`delta_disks`).
        delta_disks: i32,
        /// What it says (`raid_disks`).
        raid_disks: u32,
    },
    /// The data offset would leave the device.
    #[error("the new data offset of {offset} sectors more is not on the device")]
    Offset {
        /// What the superblock says (`new_offset`).
        offset: i32,
    },
    /// A value that the version cannot say.
    #[error(transparent)]
    DoesNotFit(#[from] DoesNotFit),
}

impl Superblock {
    /// Turns the recorded reshape around.
    ///
    /// # Errors
    ///
    /// [`RevertError`]; then nothing is changed.
    pub fn revert_reshape(&mut self) -> Result<(), RevertError> {
        let reshape = self.reshape().ok_or(RevertError::NoReshape)?;
        let old_disks = old_disks(&reshape)?;
        self.check_position(&reshape, old_disks)?;
        let backwards_of_nothing = reshape.delta_disks == 0 && matches!(self, Self::V0(_));
        if backwards_of_nothing {
            return Err(RevertError::NoDirection);
        }
        let mut reverted = self.clone();
        reverted.move_data(reshape.new_offset)?;
        reverted.set_layout(reshape.new_layout);
        reverted.set_chunk(reshape.new_chunk)?;
        reverted.set_reshape(&Reshape {
            position: reshape.position,
            delta_disks: reshape.delta_disks.saturating_neg(),
            raid_disks_new: old_disks,
            direction: match reshape.direction {
                Direction::Forwards => Direction::Backwards,
                Direction::Backwards => Direction::Forwards,
            },
            new_level: reshape.new_level,
            new_layout: self.layout(),
            new_chunk: self.chunk(),
            new_offset: reshape.new_offset.saturating_neg(),
        })?;
        *self = reverted;
        Ok(())
    }

    /// Gives up a reshape that goes forwards and has not moved anything.
    ///
    /// # Errors
    ///
    /// [`RevertError`]; then nothing is changed.
    pub fn abandon_reshape(&mut self) -> Result<(), RevertError> {
        let reshape = self.reshape().ok_or(RevertError::NoReshape)?;
        let position = reshape.position;
        if position != ArraySector::new(0) || reshape.direction == Direction::Backwards {
            return Err(RevertError::Begun { position });
        }
        let old_disks = old_disks(&reshape)?;
        self.clear_reshape();
        self.set_raid_disks(old_disks);
        Ok(())
    }

    /// The position must be at a stripe's start where parity is involved.
    fn check_position(&self, reshape: &Reshape, old_disks: u32) -> Result<(), RevertError> {
        let parity = self.level().map_or(0, crate::geometry::Level::parity_disks);
        if parity == 0 {
            return Ok(());
        }
        let data = u64::from(old_disks.saturating_sub(parity));
        let stripe = Sectors::new(reshape.new_chunk.get().saturating_mul(data));
        let position = reshape.position;
        match position.get().checked_rem(stripe.get()) {
            Some(0) => Ok(()),
            Some(_) | None => Err(RevertError::WithinStripe { position, stripe }),
        }
    }

    /// Moves the start of the data by `offset` sectors; its end stays.
    fn move_data(&mut self, offset: i32) -> Result<(), RevertError> {
        let (Self::V1(superblock), true) = (self, offset != 0) else { return Ok(()) };
        let outside = || RevertError::Offset { offset };
        let by = i64::from(offset);
        let start = superblock.data_offset().get().checked_add_signed(by).ok_or_else(outside)?;
        let size = superblock.data_size().get().checked_sub_signed(by).ok_or_else(outside)?;
        superblock.set_data_offset(kcopy::Sector::new(start));
        superblock.set_data_size(Sectors::new(size));
        Ok(())
    }
}

fn old_disks(reshape: &Reshape) -> Result<u32, RevertError> {
    let (delta_disks, raid_disks) = (reshape.delta_disks, reshape.raid_disks_new);
    reshape.raid_disks_old().ok_or(RevertError::Contradiction { delta_disks, raid_disks })
}

#[cfg(test)]
mod tests {
    use kcopy::Sector;

    use super::*;
    use crate::geometry::Level;
    use crate::metadata::{ByteOrder, Minor, V0, V1};

    fn growing(position: u64) -> Reshape {
        Reshape {
            position: ArraySector::new(position),
            delta_disks: 1,
            raid_disks_new: 4,
            direction: Direction::Forwards,
            new_level: 5,
            new_layout: 2,
            new_chunk: Sectors::new(128),
            new_offset: 0,
        }
    }

    fn v1(reshape: &Reshape) -> Superblock {
        let mut superblock = Superblock::V1(V1::blank(Minor::Two, Sector::new(8), 128));
        let Superblock::V1(inner) = &mut superblock else { panic!("made so") };
        inner.set_data_offset(Sector::new(2048));
        inner.set_data_size(Sectors::new(30720));
        superblock.set_level(Level::Raid5);
        superblock.set_layout(0);
        superblock.set_chunk(Sectors::new(64)).unwrap();
        superblock.set_reshape(reshape).unwrap();
        superblock
    }

    #[test]
    fn reshape_goes_back_where_it_came_from() {
        let reshape = Reshape { new_offset: -256, ..growing(128 * 2 * 7) };
        let mut superblock = v1(&reshape);
        superblock.revert_reshape().unwrap();
        let back = superblock.reshape().unwrap();
        assert_eq!((back.delta_disks, back.raid_disks_new), (-1, 3));
        assert_eq!((back.direction, back.new_offset), (Direction::Backwards, 256));
        assert_eq!((back.new_layout, back.new_chunk), (0, Sectors::new(64)));
        assert_eq!((superblock.layout(), superblock.chunk()), (2, Sectors::new(128)));
        assert_eq!(superblock.data_offset(), Sector::new(1792));
        assert_eq!(superblock.data_size(), Sectors::new(30976));
        assert_eq!(back.position, reshape.position);
    }

    #[test]
    fn turning_around_twice_changes_nothing() {
        let aligned = 128 * 64 * 6 * 7;
        for delta_disks in [-1, 0, 1] {
            let direction =
                if delta_disks < 0 { Direction::Backwards } else { Direction::Forwards };
            let reshape = Reshape { delta_disks, direction, new_offset: 128, ..growing(aligned) };
            let mut superblock = v1(&reshape);
            let before = superblock.to_bytes();
            superblock.revert_reshape().unwrap();
            assert_ne!(superblock.to_bytes(), before);
            superblock.revert_reshape().unwrap();
            assert_eq!(superblock.to_bytes(), before, "delta {delta_disks}");
        }
    }

    #[test]
    fn what_cannot_turn_around_is_left_as_it_is() {
        let refused = |mut superblock: Superblock| {
            let before = superblock.clone();
            let error = superblock.revert_reshape().unwrap_err();
            assert_eq!(superblock, before);
            error
        };
        assert!(matches!(refused(v1(&growing(64))), RevertError::WithinStripe { .. }));
        let few = Reshape { delta_disks: 5, ..growing(0) };
        assert!(matches!(refused(v1(&few)), RevertError::Contradiction { .. }));
        let far = Reshape { new_offset: -4096, ..growing(0) };
        assert!(matches!(refused(v1(&far)), RevertError::Offset { .. }));
        let mut resting = v1(&growing(0));
        resting.clear_reshape();
        assert_eq!(refused(resting), RevertError::NoReshape);
        let mut old = Superblock::V0(V0::blank(ByteOrder::Little, Sector::new(16256)));
        old.set_reshape(&Reshape { delta_disks: 0, ..growing(0) }).unwrap();
        assert_eq!(refused(old), RevertError::NoDirection);
    }

    #[test]
    fn reshape_of_0_90_turns_around_as_well() {
        let mut superblock = Superblock::V0(V0::blank(ByteOrder::Big, Sector::new(16256)));
        superblock.set_level(Level::Raid5);
        superblock.set_chunk(Sectors::new(128)).unwrap();
        superblock.set_reshape(&growing(128 * 2 * 3)).unwrap();
        superblock.revert_reshape().unwrap();
        let back = superblock.reshape().unwrap();
        assert_eq!((back.delta_disks, back.raid_disks_new), (-1, 3));
        assert_eq!(back.direction, Direction::Backwards);
    }

    #[test]
    fn only_a_reshape_that_moved_nothing_is_given_up() {
        let mut superblock = v1(&growing(0));
        superblock.abandon_reshape().unwrap();
        assert_eq!((superblock.reshape(), superblock.raid_disks()), (None, 3));
        let mut begun = v1(&growing(1024));
        assert!(matches!(begun.abandon_reshape(), Err(RevertError::Begun { .. })));
        assert!(begun.reshape().is_some());
    }
}
