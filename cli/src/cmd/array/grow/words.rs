//! A step in one line.

use reshape::plan::{Mode, Present, Step};

use crate::output::name;
use crate::units::human;

fn bytes(sectors: kcopy::Sectors) -> String {
    human(sectors.get() * kcopy::SECTOR_SIZE)
}

pub(super) fn step(present: &Present, step: &Step) -> String {
    match step {
        Step::AddDisks(disks) => {
            let names: Vec<String> = disks.iter().map(|disk| name(present.path(*disk))).collect();
            format!("add {} as a spare; all that is on it is lost", names.join(", "))
        }
        Step::RemoveBitmap => "remove the bitmap".to_owned(),
        Step::MakeBitmap => "make a bitmap".to_owned(),
        Step::Takeover(step) => format!(
            "take the array over from {} of {} to {} of {} members: no data moves",
            step.old.level(),
            step.old.raid_disks(),
            step.new.level(),
            step.new.raid_disks()
        ),
        Step::Restripe(step) => {
            let (old, new) = (&step.restripe.old, &step.restripe.new);
            let how = match step.mode {
                Mode::DataOffset => "into free room".to_owned(),
                Mode::BackupFile => format!("with a backup file of {}", human(step.backup_bytes)),
                Mode::BackupOnSpares => "with a backup on the new members".to_owned(),
            };
            format!(
                "move all data: {} {} of {} members, chunk {}, to {} of {}, chunk {}; {how}",
                old.level(),
                old.layout(),
                old.raid_disks(),
                bytes(old.chunk()),
                new.layout(),
                new.raid_disks(),
                bytes(new.chunk())
            )
        }
        Step::Resize(step) => format!(
            "use {} of each member instead of {}",
            bytes(step.new.component()),
            bytes(step.old.component())
        ),
        Step::ArraySize(step) => {
            format!("show {} of the array instead of {}", bytes(step.new), bytes(step.old))
        }
        Step::Append(step) => {
            let names = step.disks.iter().map(|disk| name(present.path(*disk)));
            let names: Vec<String> = names.collect();
            format!("append {}: what is on it shows up as content", names.join(", "))
        }
        Step::Rebuild(step) => format!("compute {} missing members", step.fills.len()),
    }
}
