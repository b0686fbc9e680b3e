//! Random reshapes that ours began, killed with SIGKILL at random moments, and ended by mdadm and the real driver.

use std::path::Path;
use std::sync::Mutex;

use tests::judge::{self, Case, Verdict};
use tests::killed::{self, Killed};
use tests::parallel;
use tests::tmp;

const EVERYDAY: u64 = 16;
const LONG: u64 = 600;
/// How many are taken to the judge at once.
const AT_ONCE: usize = 40;

fn case(killed: &Killed) -> Case {
    let case = Case::new(format!("seed {}", killed.seed), &killed.members());
    let case = case.then(format!("ends {}", killed.backup_option()));
    case.verify(killed.content).then("check_if_whole")
}

/// What is wrong with how a reshape ended; what mdadm refuses as it is known to, ours goes on with.
fn complaint(killed: &Killed, verdict: &Verdict) -> Result<(), String> {
    let Some(complaint) = verdict.complaint() else { return killed.verify() };
    let refused = verdict.fact("refused").is_some_and(|said| killed.is_known(said));
    if !refused {
        return Err(complaint);
    }
    let done = killed.reshape(&format!("continue ALL {} --yes", killed.backup_option()));
    if done.code() != 0 {
        return Err(format!("{complaint}\nand ours: exit {}: {}", done.code(), done.stderr));
    }
    killed.verify()
}

/// The reshapes of those seeds that were killed in their midst.
fn all_killed(folder: &Path, seeds: &[u64]) -> Vec<Killed> {
    let all = Mutex::new(Vec::new());
    parallel::expect_all(seeds, |seed| {
        let told = |error: String| format!("seed {seed}: {error}\n{}", killed::replay(*seed));
        let killed = Killed::of(folder, *seed).map_err(told)?;
        all.lock().expect("nobody panics with it").extend(killed);
        Ok(())
    });
    let mut all = all.into_inner().expect("nobody panics with it");
    all.sort_by_key(|killed| killed.seed);
    all
}

#[test]
fn kernel_driver_ends_reshapes_killed_at_any_moment_for_all() {
    let seeds = killed::seeds(EVERYDAY, LONG);
    let (mut count, mut kills) = (0, 0);
    for some in seeds.chunks(AT_ONCE) {
        let dir = tmp::in_memory();
        let all = all_killed(dir.path(), some);
        let all: Vec<&Killed> = all.iter().filter(|killed| killed.is_for_driver()).collect();
        if all.is_empty() {
            continue;
        }
        let cases: Vec<Case> = all.iter().map(|killed| case(killed)).collect();
        let verdicts = judge::judge(&cases);
        let bad: Vec<String> = all
            .iter()
            .zip(&verdicts)
            .filter_map(|(killed, verdict)| {
                let error = complaint(killed, verdict).err()?;
                let story = killed.story.join("\n");
                Some(format!("{error}\n{story}\n{}", killed::replay(killed.seed)))
            })
            .collect();
        assert!(bad.is_empty(), "{} of {}:\n{}", bad.len(), all.len(), bad.join("\n"));
        count += all.len();
        kills += all.iter().map(|killed| killed.kills).sum::<u32>();
    }
    assert!(seeds.len() < 8 || count > seeds.len() / 4, "{count} of {} seeds only", seeds.len());
    assert!(kills >= u32::try_from(count).expect("few"), "{count} reshapes, {kills} kills");
}
