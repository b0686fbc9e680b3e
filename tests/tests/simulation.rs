//! The simulation, in short: what runs with every `cargo test`. At length: `sim everyday`.
//!
//! A failure prints how to replay it.

use tests::sim::report::Report;
use tests::sim::{durable, failing, moving, mutants, resuming, seeds, suite};

#[test]
fn random_runs_keep_all_rules() {
    seeds::everything(0, 400, None).expect_clean();
}

#[test]
fn jobs_keep_all_rules_whichever_operation_fails() {
    let report = failing::of_shapes(1, |name| name.contains("flush") || name.contains("cancel"));
    report.expect_clean();
    assert!(report.counted("n-th failure runs") > 500);
}

#[test]
fn moves_that_overlap_are_memmove_for_all() {
    moving::everything(0, 150, None).expect_clean();
}

#[test]
fn flushed_jobs_survive_every_power_failure() {
    let report = durable::everything(1, 5_000, None);
    report.expect_clean();
    assert!(report.counted(durable::STATES) >= 5_000);
}

#[test]
fn resume_maps_claim_only_what_is_durable_everywhere() {
    let report = resuming::everything(1, 10_000, None);
    report.expect_clean();
    assert!(report.counted(resuming::FINISHED) >= 100);
}

#[test]
fn every_rule_of_order_is_missed_when_it_is_gone() {
    let report = mutants::everything();
    report.expect_clean();
    assert_eq!(report.counted("rules taken away"), mutants::MUTANTS.len() as u64);
}

#[test]
fn same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let run = || tests::sim::run::run(&tests::sim::generate::scenario(seed), None);
        let (first, second) = (run().expect("clean"), run().expect("clean"));
        assert_eq!(first.hash, second.hash, "seed {seed}");
    }
}

#[test]
fn names_of_runs_lead_back_to_them() {
    for id in ["17", "durable:3", "resume:2", "move:9", "nth:copy-1:eio:Transient:4:1"] {
        let report: Report = suite::replay(id).expect(id);
        report.expect_clean();
        assert!(suite::describe(id).is_some());
    }
    let scripted = "small:flush:eio:2:1.0.1";
    suite::replay(scripted).expect(scripted).expect_clean();
    assert!(suite::replay("no such thing").is_none());
    assert!(failing::find("nth:no-such-shape:eio:Transient:4:1").is_none());
}
