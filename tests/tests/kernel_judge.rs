//! The judge of arrays is right: it takes what the real driver made, and refuses what was damaged.

use std::fs;
use std::path::{Path, PathBuf};

use tests::corpus::{self, Kind};
use tests::data;
use tests::judge::{self, Case};
use tests::pattern::Pattern;
use tests::tmp;

/// Arrays with redundancy that are complete and whole.
const WHOLE: [&str; 5] = ["raid1-v10", "raid4-v11", "raid5-v090", "raid6-v12", "raid10-3d-f2"];

fn unpacked(dir: &Path, name: &str) -> (PathBuf, Vec<PathBuf>) {
    let folder = dir.join(name);
    fs::create_dir(&folder).expect("a new folder");
    let members = corpus::one(Kind::Arrays, name).unpack_into(&folder);
    (folder, members)
}

fn content(name: &str) -> Pattern {
    let meta = corpus::one(Kind::Arrays, name).meta();
    let number = |key: &str| meta[key].as_u64().expect("a number");
    Pattern::whole(number("seed"), number("bytes") / 512)
}

#[test]
fn kernel_judge_takes_what_the_driver_made() {
    let dir = tmp::in_memory();
    let cases: Vec<Case> = WHOLE
        .into_iter()
        .map(|name| {
            let (_, members) = unpacked(dir.path(), name);
            let pattern = content(name);
            let case = Case::new(name, &members).examine().assemble("").verify(pattern).content();
            case.check().fill(Pattern { seed: 9, from: 100, sectors: 1000 }).verify(Pattern {
                seed: 9,
                from: 100,
                sectors: 1000,
            })
        })
        .collect();
    for verdict in judge::expect_good(&cases) {
        let meta = corpus::one(Kind::Arrays, &verdict.name).meta();
        assert_eq!(verdict.fact("sha256"), meta["sha256"].as_str(), "{}", verdict.name);
        assert_eq!(verdict.fact("level"), meta["level"].as_str(), "{}", verdict.name);
        assert_eq!(verdict.examined.len(), meta["members"].as_array().expect("a list").len());
        assert!(verdict.detail.contains("Raid Level"), "{}", verdict.detail);
    }
}

#[test]
fn kernel_judge_refuses_what_was_damaged() {
    let dir = tmp::in_memory();
    let (_, content_damaged) = unpacked(dir.path(), "raid5-v12");
    let (_, parity_damaged) = unpacked(dir.path(), "raid5-v11");
    let (_, headless) = unpacked(dir.path(), "raid5-v10");
    let pattern = content("raid5-v12");
    // Data starts at 1 MiB or later: byte 6 MiB is content or parity, and a whole chunk is both.
    for member in &content_damaged {
        data::overwrite_at(member, 5, 6 << 20, 512);
    }
    data::overwrite_at(&parity_damaged[0], 5, 3 << 20, 64 << 10);
    for member in &headless {
        let end = fs::metadata(member).expect("it is there").len();
        data::overwrite_at(member, 5, end - (64 << 10), 64 << 10);
    }
    let verdicts = judge::judge(&[
        Case::new("content", &content_damaged).assemble("").verify(pattern),
        Case::new("parity", &parity_damaged).assemble("").check(),
        Case::new("superblocks", &headless).assemble(""),
        Case::new("command", &[]).then("false").then("fact never here"),
    ]);
    let complaints: Vec<String> = verdicts
        .iter()
        .map(|verdict| verdict.complaint().unwrap_or_else(|| panic!("{} is good", verdict.name)))
        .collect();
    assert!(complaints[0].contains("sectors differ"), "{}", complaints[0]);
    assert_ne!(verdicts[1].fact("mismatches"), Some("0"), "{}", complaints[1]);
    assert!(verdicts[1].fact("mismatches").is_some(), "{}", complaints[1]);
    assert!(complaints[2].contains("ended at"), "{}", complaints[2]);
    assert_eq!(verdicts[3].fact("never"), None);
}
