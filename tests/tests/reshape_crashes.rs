//! Reshapes on disks whose power goes, in short: what runs with every `cargo test`. At length:
//! `sim reshapes`, and `sim reshapes long`.

use tests::reshaping::case::{Case, all};
use tests::reshaping::crash::STATES;
use tests::reshaping::{backups, mutants, suite};

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
    let report = suite::run(&some(17), suite::SHORT, None);
    report.expect_clean();
    assert!(report.counted(STATES) >= 500, "{}", report.counted(STATES));
}

#[test]
fn every_rule_of_order_is_missed_when_it_is_gone() {
    let report = mutants::everything();
    report.expect_clean();
    assert_eq!(report.counted("rules of reshapes taken away"), mutants::MUTANTS.len() as u64);
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
fn names_of_states_lead_back_to_them() {
    let id = "reshape:3:0.0.0:7";
    assert!(suite::describe(id).is_some_and(|text| text.starts_with("case 3")));
    let report = suite::replay(id).expect(id);
    report.expect_clean();
    assert_eq!(report.counted(STATES), 1);
    for wrong in ["reshape:", "reshape:x:1.1.1", "reshape:1:1.1", "move:3"] {
        assert!(suite::replay(wrong).is_none(), "{wrong}");
    }
}
