//! RAID4, 5 and 6: which member has which part in a stripe.
//!
//! A stripe is a row of chunks, one on each member. Its number is the member sector divided by the
//! chunk. Nothing here knows about sizes; everything is a few remainders.
//!
//! # Syndrome order
//!
//! Q is a sum of data blocks with powers of 2 in GF(2^8) as weights. Which power belongs to a
//! member is *not* the number of its data block:
//!
//! - native layouts count the data members in the order of slots, beginning behind Q, round the end;
//! - DDF layouts take the slot itself, P and Q included as if they were zeros.

use super::layout::{Layout, Raid5Layout, Raid6Layout};
use crate::units::Slot;

/// What a member holds of a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Data: block `block` of the stripe, with weight `2^power` in Q.
    Data {
        /// Number of the data block in the stripe, in the order of the array's address space.
        block: u32,
        /// The exponent of its weight in Q; the number of the block where there is no Q.
        power: u32,
    },
    /// The sum of the data blocks.
    P,
    /// The weighted sum.
    Q,
}

/// The stripes of a RAID4, 5 or 6 array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stripes {
    layout: Turn,
    disks: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Turn {
    Five(Raid5Layout),
    Six(Raid6Layout),
}

/// P, Q and the way data blocks follow, of one stripe.
#[derive(Clone, Copy, Debug)]
struct Places {
    p: u32,
    q: Option<u32>,
    data: Follow,
}

/// Where data block `b` is.
#[derive(Clone, Copy, Debug)]
enum Follow {
    /// The `b`th member that holds data.
    Skip,
    /// `b` members behind `from`, round the end of `of` members.
    Round { from: u32, of: u32 },
}

impl Stripes {
    /// The stripes of a layout; `None` for a layout without parity or too few members.
    pub(super) fn new(layout: Layout, disks: u32) -> Option<Self> {
        match layout {
            Layout::None if disks >= 2 => {
                Some(Self { layout: Turn::Five(Raid5Layout::ParityLast), disks })
            }
            Layout::Raid5(layout) if disks >= 2 => Some(Self { layout: Turn::Five(layout), disks }),
            Layout::Raid6(layout) if disks >= 3 => Some(Self { layout: Turn::Six(layout), disks }),
            Layout::None
            | Layout::Raid0(_)
            | Layout::Raid5(_)
            | Layout::Raid6(_)
            | Layout::Raid10(_) => None,
        }
    }

    /// Members.
    pub fn disks(&self) -> u32 {
        self.disks
    }

    /// Members of each stripe that hold parity.
    pub fn parity_disks(&self) -> u32 {
        match self.layout {
            Turn::Five(_) => 1,
            Turn::Six(_) => 2,
        }
    }

    /// Members of each stripe that hold data.
    pub fn data_disks(&self) -> u32 {
        self.disks - self.parity_disks()
    }

    /// Whether Q stays on the last member while the rest is a RAID5 (layouts that end in `-6`).
    pub fn q_is_apart(&self) -> bool {
        matches!(self.layout, Turn::Six(Raid6Layout::WithQLast(_)))
    }

    /// After so many stripes, and not before, the parts are where they were.
    pub fn period(&self) -> u32 {
        let fixed = |layout| matches!(layout, Raid5Layout::ParityFirst | Raid5Layout::ParityLast);
        match self.layout {
            Turn::Five(layout) | Turn::Six(Raid6Layout::Native(layout)) if fixed(layout) => 1,
            Turn::Six(Raid6Layout::WithQLast(layout)) if fixed(layout) => 1,
            Turn::Six(Raid6Layout::WithQLast(_)) => self.disks - 1,
            Turn::Five(_) | Turn::Six(_) => self.disks,
        }
    }

    /// The member that holds P of `stripe`.
    pub fn p(&self, stripe: u64) -> Slot {
        Slot::new(self.places(stripe).p)
    }

    /// The member that holds Q of `stripe`, if there is one.
    pub fn q(&self, stripe: u64) -> Option<Slot> {
        self.places(stripe).q.map(Slot::new)
    }

    /// The member that holds data block `block` of `stripe`.
    pub fn data(&self, stripe: u64, block: u32) -> Slot {
        let places = self.places(stripe);
        Slot::new(match places.data {
            Follow::Round { from, of } => (from + block) % of,
            Follow::Skip => {
                let (low, high) = places.parity();
                let slot = if block >= low { block + 1 } else { block };
                if slot >= high { slot + 1 } else { slot }
            }
        })
    }

    /// What member `slot` holds of `stripe`.
    pub fn part(&self, stripe: u64, slot: Slot) -> Part {
        let (slot, places) = (slot.get(), self.places(stripe));
        if slot == places.p {
            return Part::P;
        }
        if Some(slot) == places.q {
            return Part::Q;
        }
        let block = match places.data {
            Follow::Round { from, of } => (slot + of - from) % of,
            Follow::Skip => {
                let (low, high) = places.parity();
                slot - u32::from(slot > low) - u32::from(slot > high)
            }
        };
        Part::Data { block, power: self.power(slot, &places, block) }
    }

    /// The weight of a data member in Q.
    fn power(&self, slot: u32, places: &Places, block: u32) -> u32 {
        let Some(q) = places.q else { return block };
        if let Turn::Six(layout) = self.layout
            && layout.is_ddf()
        {
            return slot;
        }
        // Members between Q and this one, round the end, without P.
        let behind = |slot: u32| (slot + self.disks - q - 1) % self.disks;
        behind(slot) - u32::from(behind(places.p) < behind(slot))
    }

    fn places(&self, stripe: u64) -> Places {
        match self.layout {
            Turn::Five(layout) => {
                let (p, data) = turn(layout, stripe, self.disks);
                Places { p, q: None, data }
            }
            Turn::Six(layout) => self.places_of_six(layout, stripe),
        }
    }

    fn places_of_six(&self, layout: Raid6Layout, stripe: u64) -> Places {
        let n = self.disks;
        let left = n - 1 - turns(stripe, n);
        let right = turns(stripe, n);
        let pair = |p: u32| (p, (p + 1) % n);
        let ((p, q), data) = match layout {
            Raid6Layout::Native(Raid5Layout::LeftAsymmetric) => (pair(left), Follow::Skip),
            Raid6Layout::Native(Raid5Layout::RightAsymmetric) | Raid6Layout::DdfZeroRestart => {
                (pair(right), Follow::Skip)
            }
            Raid6Layout::Native(Raid5Layout::LeftSymmetric) => {
                (pair(left), Follow::Round { from: (left + 2) % n, of: n })
            }
            Raid6Layout::Native(Raid5Layout::RightSymmetric) => {
                (pair(right), Follow::Round { from: (right + 2) % n, of: n })
            }
            Raid6Layout::Native(Raid5Layout::ParityFirst) => ((0, 1), Follow::Skip),
            Raid6Layout::Native(Raid5Layout::ParityLast)
            | Raid6Layout::WithQLast(Raid5Layout::ParityLast) => ((n - 2, n - 1), Follow::Skip),
            Raid6Layout::DdfNRestart => {
                (pair(n - 1 - turns(stripe.wrapping_add(1), n)), Follow::Skip)
            }
            Raid6Layout::DdfNContinue => {
                ((left, (left + n - 1) % n), Follow::Round { from: (left + 1) % n, of: n })
            }
            Raid6Layout::WithQLast(five) => {
                let (p, data) = turn(five, stripe, n - 1);
                ((p, n - 1), data)
            }
        };
        Places { p, q: Some(q), data }
    }
}

impl Places {
    /// The members without data, the lower first; one that is not there lies behind all.
    fn parity(&self) -> (u32, u32) {
        let q = self.q.unwrap_or(u32::MAX);
        (self.p.min(q), self.p.max(q))
    }
}

/// How far the parts have turned at `stripe`.
fn turns(stripe: u64, disks: u32) -> u32 {
    u32::try_from(stripe % u64::from(disks)).unwrap_or(0)
}

/// RAID5's parity member and data order among `disks` members.
fn turn(layout: Raid5Layout, stripe: u64, disks: u32) -> (u32, Follow) {
    let right = turns(stripe, disks);
    let left = disks - 1 - right;
    match layout {
        Raid5Layout::LeftAsymmetric => (left, Follow::Skip),
        Raid5Layout::RightAsymmetric => (right, Follow::Skip),
        Raid5Layout::LeftSymmetric => (left, Follow::Round { from: (left + 1) % disks, of: disks }),
        Raid5Layout::RightSymmetric => {
            (right, Follow::Round { from: (right + 1) % disks, of: disks })
        }
        Raid5Layout::ParityFirst => (0, Follow::Skip),
        Raid5Layout::ParityLast => (disks - 1, Follow::Skip),
    }
}
