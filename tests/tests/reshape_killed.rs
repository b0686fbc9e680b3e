//! Random reshapes, killed with SIGKILL at random moments, and ended by ours: as `reshape status` says, gone on with,
//! turned around, looked at by `reshape salvage`.

use tests::killed::{self, Killed};
use tests::parallel;
use tests::tmp;

const EVERYDAY: u64 = 30;
const LONG: u64 = 1000;

#[test]
fn a_reshape_killed_at_any_moment_is_ended_by_ours_for_all() {
    let dir = tmp::in_memory();
    parallel::expect_all(&killed::seeds(EVERYDAY, LONG), |seed| {
        let told = |error: String| format!("seed {seed}: {error}\n{}", killed::replay(*seed));
        let killed = Killed::of(dir.path(), *seed).map_err(told)?;
        let ended = killed.map_or(Ok(()), |mut killed| {
            killed.end().map_err(|error| told(format!("{error}\n{}", killed.story.join("\n"))))
        });
        std::fs::remove_dir_all(dir.path().join(seed.to_string()))
            .map_err(|e| told(e.to_string()))?;
        ended
    });
}
