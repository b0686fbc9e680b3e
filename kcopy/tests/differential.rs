//! The same jobs on every backend, and by a copier that has nothing to it: the same bytes, the same
//! verdicts.
#![cfg(feature = "sim")]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use kcopy::backend::sim::{DiskOptions, SimDisk, SimWorld};
use kcopy::device::OpenOptions;
use kcopy::{
    BackendChoice, Client, Device, Errno, Extent, Flags, Job, Outcome, PieceBuffers, SubmitError,
    Transform,
};
use proptest::prelude::*;

const DISKS: usize = 3;
const SIZE: usize = 50 * 4096;

type Images = [Vec<u8>; DISKS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Copy,
    Zero,
    Compare,
    /// Two sources, their difference by bits to each destination.
    Xor,
}

/// A job in plain words: disk and offset of every side.
#[derive(Clone, Debug)]
struct Plan {
    work: Work,
    len: usize,
    sources: Vec<(usize, usize)>,
    destinations: Vec<(usize, usize)>,
    flags: Flags,
}

#[derive(Debug)]
struct Xor;

impl Transform for Xor {
    fn apply(&self, piece: PieceBuffers<'_>) -> Result<(), Errno> {
        let PieceBuffers { sources, mut computed, .. } = piece;
        for (at, byte) in computed[0].iter_mut().enumerate() {
            *byte = sources[0][at] ^ sources[1][at];
        }
        Ok(())
    }
}

impl Plan {
    fn job(&self, devices: &[Device]) -> Job {
        let len = u64::try_from(self.len).unwrap();
        let extent = |(disk, offset): (usize, usize)| {
            Extent::new(&devices[disk], u64::try_from(offset).unwrap(), len)
        };
        let (mut job, buffer) = match self.work {
            Work::Copy => (Job::copy(extent(self.sources[0])), 0),
            Work::Zero => (Job::zero(), 0),
            Work::Compare => (Job::compare(extent(self.sources[0])), 0),
            Work::Xor => {
                let job = Job::stripe(1, Arc::new(Xor));
                (job.from(extent(self.sources[0])).from(extent(self.sources[1])), 2)
            }
        };
        for place in &self.destinations {
            job = job.to_from(extent(*place), buffer);
        }
        job.flags(self.flags)
    }

    /// Does it on plain memory; how many sectors of each destination differ, for a comparison.
    fn carry_out(&self, images: &mut Images) -> Vec<u64> {
        let part =
            |(disk, offset): (usize, usize)| images[disk][offset..offset + self.len].to_vec();
        let sources: Vec<Vec<u8>> = self.sources.iter().copied().map(part).collect();
        if self.work == Work::Compare {
            let base = self.destinations[0].1;
            return self
                .destinations
                .iter()
                .map(|to| {
                    let other = part(*to);
                    let wrong = (0..self.len).filter(|at| sources[0][*at] != other[*at]);
                    let mut sectors: Vec<usize> = wrong.map(|at| (base + at) / 512).collect();
                    sectors.dedup();
                    u64::try_from(sectors.len()).unwrap()
                })
                .collect();
        }
        let bytes: Vec<u8> = match self.work {
            Work::Copy | Work::Compare => sources[0].clone(),
            Work::Zero => vec![0; self.len],
            Work::Xor => sources[0].iter().zip(&sources[1]).map(|(a, b)| a ^ b).collect(),
        };
        for (disk, offset) in &self.destinations {
            images[*disk][*offset..offset + self.len].copy_from_slice(&bytes);
        }
        vec![0; self.destinations.len()]
    }
}

/// Disks with content that has runs of zeros, sectors that are alike, and sectors that are not.
fn images(seed: u64) -> Images {
    std::array::from_fn(|disk| {
        let page = |number: usize| match (seed >> (number % 61)) & 3 {
            0 => 0,
            1 => number % 7,
            _ => number * DISKS + disk,
        };
        let bytes = (0..SIZE).map(|at| page(at / 4096).wrapping_mul(at / 512 + 31) % 251);
        bytes.map(|byte| u8::try_from(byte).unwrap()).collect()
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let work = prop_oneof![
        4 => Just(Work::Copy), 1 => Just(Work::Zero), 2 => Just(Work::Compare), 1 => Just(Work::Xor)
    ];
    let flags = prop::collection::vec(
        prop::sample::select(vec![
            Flags::SEQUENTIAL,
            Flags::FLUSH,
            Flags::REFUSE_OVERLAP,
            Flags::SKIP_ZEROS,
            Flags::PUNCH_HOLES,
            Flags::NO_ISOLATION,
        ]),
        0..3,
    );
    let unit = prop::sample::select(vec![1usize, 512, 4096]);
    let len = prop_oneof![1..5_000usize, 1..100_000usize];
    let place = || (0..DISKS, 0..SIZE);
    let sources = prop::array::uniform2(place());
    let destinations = prop::collection::vec(0..SIZE, 1..=DISKS);
    (work, flags, unit, len, sources, destinations, 0..DISKS).prop_map(
        |(work, flags, unit, len, sources, destinations, first)| {
            let len = len.next_multiple_of(unit).min(SIZE);
            let fit = |offset: usize| offset % (SIZE - len + 1) / unit * unit;
            let count = match work {
                Work::Copy | Work::Compare => 1,
                Work::Zero => 0,
                Work::Xor => 2,
            };
            Plan {
                work,
                len,
                sources: sources.iter().take(count).map(|(disk, at)| (*disk, fit(*at))).collect(),
                // Each on a disk of its own; the source may be on one of them.
                destinations: (first..)
                    .zip(&destinations)
                    .map(|(disk, at)| (disk % DISKS, fit(*at)))
                    .collect(),
                flags: flags.into_iter().collect(),
            }
        },
    )
}

/// One of those that are to agree.
struct Side {
    name: &'static str,
    client: Client,
    devices: Vec<Device>,
    disks: Vec<SimDisk>,
    dir: Option<tempfile::TempDir>,
}

impl Side {
    fn on_files(name: &'static str, choice: BackendChoice, images: &Images) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = |(disk, bytes): (usize, &Vec<u8>)| {
            let path = dir.path().join(disk.to_string());
            std::fs::write(&path, bytes).unwrap();
            Device::open(&path, &OpenOptions::destination()).unwrap()
        };
        let devices = images.iter().enumerate().map(open).collect();
        let client = Client::builder().pages(64).request_size(16 << 10).backend(choice).build();
        Self { name, client: client.unwrap(), devices, disks: Vec::new(), dir: Some(dir) }
    }

    fn simulated(images: &Images, seed: u64) -> Self {
        let world = SimWorld::new(seed);
        let disk = |bytes: &Vec<u8>| {
            let disk = world.add_disk(DiskOptions::new(u64::try_from(SIZE).unwrap()));
            disk.write(0, bytes);
            disk
        };
        let disks: Vec<SimDisk> = images.iter().map(disk).collect();
        let devices = disks.iter().map(SimDisk::device).collect();
        let client = Client::builder().pages(64).request_size(16 << 10);
        let client = client.build_on(world.backend().threaded()).unwrap();
        Self { name: "simulated", client, devices, disks, dir: None }
    }

    fn bytes(&self, disk: usize) -> Vec<u8> {
        match &self.dir {
            Some(dir) => std::fs::read(dir.path().join(disk.to_string())).unwrap(),
            None => self.disks[disk].bytes(),
        }
    }

    fn run(&self, plan: &Plan) -> Result<Outcome, SubmitError> {
        self.client.run(plan.job(&self.devices))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 120,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn backends_and_a_naive_copier_agree_for_all(
        seed: u64, plans in prop::collection::vec(plan(), 1..8)
    ) {
        let mut expected = images(seed);
        let sides = [
            Side::on_files("io_uring", BackendChoice::Auto, &expected),
            Side::on_files("threads", BackendChoice::Threads, &expected),
            Side::simulated(&expected, seed),
        ];
        for plan in &plans {
            let outcomes = sides.each_ref().map(|side| side.run(plan).map_err(|error| {
                std::mem::discriminant(&error)
            }));
            prop_assert_eq!(&outcomes[0], &outcomes[1], "{:?}", plan);
            prop_assert_eq!(&outcomes[0], &outcomes[2], "{:?}", plan);
            if let Ok(outcome) = &outcomes[0] {
                let differing = plan.carry_out(&mut expected);
                let told: Vec<u64> =
                    outcome.destinations.iter().map(|to| to.differing_sectors).collect();
                prop_assert_eq!(&told, &differing, "{:?}", plan);
                prop_assert_eq!(outcome.is_ok(), differing.iter().all(|count| *count == 0));
            }
            for side in &sides {
                for (disk, bytes) in expected.iter().enumerate() {
                    prop_assert!(&side.bytes(disk) == bytes, "{}: disk {disk}, {plan:?}", side.name);
                }
            }
        }
    }
}
