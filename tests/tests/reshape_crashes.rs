//! Reshapes on disks whose power goes, in short: what runs with every `cargo test`. At length:
//! `sim reshapes`, and `sim reshapes long`.

use tests::reshaping::case::{Case, all};
use tests::reshaping::crash::STATES;
use tests::reshaping::{backups, failing, mutants, striking, suite};

/// Every so many of the cases.
fn some(step: usize) -> Vec<Case> {
    all().into_iter().step_by(step).collect()
}

#[test]
fn every_case_of_the_matrix_is_one_of_a_kind() {
    let cases = all();
    let mut names: Vec<String> = cases.iter().map(Case::to_string).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() > 200, "{}", cases.len());
}

#[test]
fn no_loss_of_power_loses_a_sector() {
    let report = suite::run(&some(17), suite::SHORT.depth, suite::SHORT.reshapes);
    report.expect_clean();
    assert!(report.counted(STATES) >= 500, "{}", report.counted(STATES));
}

#[test]
fn no_loss_of_power_within_or_between_the_steps_of_a_plan_loses_a_sector() {
    let report = suite::chains(suite::SHORT.depth, suite::SHORT.chains);
    report.expect_clean();
    assert!(report.counted(STATES) >= 100, "{}", report.counted(STATES));
}

/// The power went while the superblocks were told of the new level. Those that knew and those that did not were
/// taken for two arrays, and neither had enough members.
#[test]
fn a_takeover_that_is_recorded_on_some_members_only_is_one_array() {
    // RAID4 to RAID5 and RAID0, RAID5 to RAID1, RAID10 to RAID0, RAID1 to RAID5, of three, to RAID0.
    for chain in [0, 2, 7, 19, 21, 22, 23] {
        suite::replay(&format!("chain:{chain}:6.2.0")).expect("a chain").expect_clean();
    }
}

/// In an array 0.90 whose members have other numbers than slots, a member that was missing took the one with its slot's
/// number with it: too few were left.
#[test]
fn a_member_lost_after_a_takeover_takes_no_other_one_with_it() {
    for state in ["4:6.12.1:10", "39:6.12.1:120", "39:6.12.1:143"] {
        suite::replay(&format!("chain:{state}")).expect("a state").expect_clean();
    }
}

/// Where content is zeros for the most part, and a member is missing, new stripes that were written in part, or as a
/// whole, agreed with the old parity: without the backup they passed for old ones.
#[test]
fn a_few_new_blocks_between_zeros_are_no_old_stripes() {
    for state in ["402:6.12.0:138", "408:6.12.0:126"] {
        suite::replay(&format!("reshape:{state}")).expect("a state").expect_clean();
    }
}

/// Two thirds of the way there had been a backup, so one without a header is not the one that was in use; of the rows
/// that had been written parity said nothing, of all others that they wait: it went on from a few blocks that were new.
#[test]
fn a_backup_without_a_header_says_nothing_once_something_was_recorded_as_moved() {
    for state in ["292:6.12.0:553", "298:6.12.0:1313", "298:6.12.1:1020"] {
        suite::replay(&format!("reshape:{state}")).expect("a state").expect_clean();
    }
}

/// The power went while a reshape was turned around. Members that knew and members that did not were taken for
/// two arrays; what had been saved before was put back to where a reshape in that direction cannot stand.
#[test]
fn a_reshape_is_one_array_whenever_the_power_goes_while_it_is_turned_around() {
    for state in ["4:3.2.0:70", "28:3.2.0:115", "54:3.2.0:115"] {
        suite::replay(&format!("reshape:{state}")).expect("a state").expect_clean();
    }
    let turned: Vec<Case> =
        all().into_iter().filter(|case| [4, 28].contains(&case.number)).collect();
    suite::run(&turned, suite::EVERYDAY.depth, 3).expect_clean();
}

/// A member that filled an empty slot was taken for one with everything after the reshape was turned around,
/// though it had never got what it had missed.
#[test]
fn a_slot_that_was_being_filled_is_empty_again_after_the_way_back() {
    let filled: Vec<Case> =
        all().into_iter().filter(|case| case.fill.is_some()).step_by(7).collect();
    suite::run(&filled, suite::SHORT.depth, 2).expect_clean();
}

/// What the long form found first: a section of the way there that reaches behind the way back's end, and one that
/// reaches beyond the critical section, whose old stripes nobody looked at while the backup was refused.
#[test]
fn sections_that_reach_further_than_the_way_or_what_is_critical_are_seen_so() {
    for case in [2, 14, 230] {
        suite::replay(&format!("reshape:{case}:6.12.0")).expect("a case").expect_clean();
    }
}

#[test]
fn every_rule_of_order_is_missed_when_it_is_gone() {
    let report = mutants::everything();
    report.expect_clean();
    assert_eq!(report.counted("rules of reshapes taken away"), mutants::RULES as u64);
}

#[test]
fn a_backup_that_is_not_the_right_one_is_named_and_nothing_is_written() {
    backups::everything().expect_clean();
}

#[test]
fn a_full_file_system_is_found_out_before_anything_is_changed() {
    backups::no_space().expect_clean();
}

#[test]
fn a_write_or_flush_that_fails_on_the_way_is_told_and_loses_nothing() {
    let report = failing::everything();
    report.expect_clean();
    assert!(report.counted("failures told") >= 60, "{}", report.counted("failures told"));
}

#[test]
fn a_disk_that_fails_at_any_moment_of_any_command_loses_nothing() {
    let report = suite::strikes(5, 0..suite::SHORT.strikes);
    report.expect_clean();
    for (count, least) in [(striking::WITHOUT, 150), (striking::STOPPED, 60)] {
        assert!(report.counted(count) >= least, "{count}: {}", report.counted(count));
    }
}

/// A member that could not be read stopped a rebuild that others sufficed for.
#[test]
fn a_rebuild_goes_on_without_the_disk_that_fails() {
    for strike in ["38:27", "45:5002"] {
        suite::replay(&format!("strike:chain:{strike}")).expect("a strike").expect_clean();
    }
}

/// When it turned around one member was to leave, and another one failed: both left, and too few stayed.
#[test]
fn a_reshape_does_not_turn_around_without_members_it_needs_then() {
    suite::replay("strike:reshape:313:920005").expect("a strike").expect_clean();
}

/// A new disk could not be read any more when the reshape had just been recorded: it went on without, and what was
/// moved there was lost.
#[test]
fn a_reshape_is_called_off_when_a_disk_it_needs_fails_at_its_beginning() {
    suite::replay("strike:chain:41:6014").expect("a strike").expect_clean();
}

/// One of two new disks that keep the backup: it could not be read when the run began, so that it was no member yet
/// when it could not be written.
#[test]
fn a_backup_that_another_new_disk_keeps_is_enough() {
    for strike in ["220:180", "232:53"] {
        suite::replay(&format!("strike:reshape:{strike}")).expect("a strike").expect_clean();
    }
}

/// In a window of many pieces the others got nothing behind the place where the first one failed.
#[test]
fn whoever_is_left_has_all_of_the_window_in_which_a_member_failed() {
    for strike in ["40:3", "40:7", "232:9"] {
        suite::replay(&format!("strike:reshape:{strike}")).expect("a strike").expect_clean();
    }
}

#[test]
fn a_failed_flush_that_is_ignored_or_a_full_member_that_leaves_is_noticed() {
    let report = failing::without_the_rules();
    report.expect_clean();
    assert_eq!(report.counted("rules of reshapes taken away"), 2);
}

#[test]
fn names_of_states_lead_back_to_them() {
    assert!(suite::describe("strike:chain:3:7").is_some_and(|text| text.starts_with("chain 3")));
    for (id, name) in [("reshape:3:0.0.0:7", "case 3"), ("chain:3:0.0.0:7", "chain 3")] {
        assert!(suite::describe(id).is_some_and(|text| text.starts_with(name)));
        let report = suite::replay(id).expect(id);
        report.expect_clean();
        assert_eq!(report.counted(STATES), 1);
    }
    for wrong in ["reshape:", "reshape:x:1.1.1", "reshape:1:1.1", "chain:99:1.1.1", "move:3"] {
        assert!(suite::replay(wrong).is_none(), "{wrong}");
    }
}
