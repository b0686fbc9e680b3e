//! The simulation, in short: what runs with every `cargo test`. At length: `sim everyday`.
//!
//! A failure prints how to replay it.

use tests::sim::report::Report;
use tests::sim::{durable, failing, moving, mutants, resuming, scenario, seeds, suite};

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
fn every_job_is_answered_when_the_backend_breaks() {
    seeds::broken(0, 200).expect_clean();
}

#[test]
fn comparing_finds_what_a_disk_lied_about() {
    use kcopy::backend::sim::{Effect, Fault, OpKind};
    use kcopy::engine::Config;
    use kcopy::{Extent, Job, LocalClient, pool::Pool};
    let lies = [
        Fault::new(Effect::Misdirect(4096)).kind(OpKind::Write).times(1),
        Fault::new(Effect::FlipBit).kind(OpKind::Read).times(1),
    ];
    for lie in lies {
        let plan = |seed| scenario::DiskPlan::new(1 << 16, seed);
        let run = scenario::Scenario::new(5, vec![plan(1), plan(2)], Vec::new());
        let (world, disks) = run.world();
        world.inject(lie);
        let pool = Pool::new(16).expect("memory");
        let config = Config { request_size: 4096, ..Config::default() };
        let mut client = LocalClient::with_clock(config, pool, world.backend(), world.clone());
        let whole = |index: usize| Extent::new(&disks[index].device(), 0, 1 << 15);
        let copy = Job::copy(whole(0)).to(whole(1));
        client.submit(copy, |outcome| assert!(outcome.is_ok(), "nobody noticed")).expect("copy");
        client.run_until_idle().expect("the backend works");
        world.clear_faults();
        let compare = Job::compare(whole(0)).to(whole(1));
        client.submit(compare, |outcome| assert!(!outcome.is_ok())).expect("compare");
        client.run_until_idle().expect("the backend works");
        assert_eq!(client.stats().jobs_failed, 1);
        assert_eq!(client.stats().callback_panics, 0);
    }
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
