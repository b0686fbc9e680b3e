//! `reshape layout`: pictures and JSON.

use tests::binary::reshape;
use tests::golden;

fn drawn(line: &str) -> String {
    reshape(line.split(' ')).expect_code(0).stdout
}

/// The lines of the table without its margin: heads, then rows.
fn table(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.trim_start().strip_prefix("row "));
    rows.map(|row| row.split_whitespace().skip(1).collect()).collect()
}

#[test]
fn pictures_are_as_in_the_golden_files() {
    for (name, line) in [
        ("raid5", "layout --level 5 --raid-devices 4"),
        ("raid6-24", "layout -l raid6 -n 24 -p ddf-N-continue --rows 3"),
        ("raid10-far", "layout -l 10 -n 5 -p f2 -c 64"),
        ("raid1", "layout -l mirror -n 2"),
        ("linear", "layout -l linear -n 3"),
        ("raid0-wide", "layout -l 0 -n 500 --rows 3"),
    ] {
        let text = drawn(line);
        assert!(text.lines().all(|line| line.len() <= 80), "{name} is wider than a terminal");
        golden::expect(&format!("reshape/layout-{name}.txt"), &text);
    }
}

#[test]
fn picture_is_the_known_one_for_each_name_of_a_layout() {
    for (name, first_rows) in [
        ("la", ["0 1 2 3 P", "0 1 2 P 3", "0 1 P 2 3"]),
        ("ra", ["P 0 1 2 3", "0 P 1 2 3", "0 1 P 2 3"]),
        ("ls", ["0 1 2 3 P", "1 2 3 P 0", "2 3 P 0 1"]),
        ("rs", ["P 0 1 2 3", "3 P 0 1 2", "2 3 P 0 1"]),
        ("parity-first", ["P 0 1 2 3", "P 0 1 2 3", "P 0 1 2 3"]),
        ("parity-last", ["0 1 2 3 P", "0 1 2 3 P", "0 1 2 3 P"]),
    ] {
        let text = drawn(&format!("layout -l 5 -n 5 -p {name}"));
        let rows = table(&text);
        assert_eq!(rows.len(), 5, "{name}: as many rows as parity needs");
        for (number, (row, expected)) in (0..).zip(rows.iter().zip(first_rows)) {
            let in_row = |cell: &&str| match cell.parse::<u64>() {
                Ok(chunk) => (chunk - 4 * number).to_string(),
                Err(_) => (*cell).to_owned(),
            };
            let found: Vec<String> = row.iter().map(in_row).collect();
            assert_eq!(found.join(" "), expected, "{name}, row {number}");
        }
    }
}

#[test]
fn json_has_every_chunk() {
    let report = reshape(["layout", "-l6", "-n4", "-c", "64", "--json"]).expect_code(0).json();
    let expected = serde_json::json!({
        "schema": 1,
        "level": "raid6",
        "layout": "left-symmetric",
        "layout_number": 2,
        "chunk_bytes": 65536,
        "raid_devices": 4,
        "period_rows": 4,
        "rows": [["Q", 0, 1, "P"], [2, 3, "P", "Q"], [5, "P", "Q", 4], ["P", "Q", 6, 7]],
    });
    assert_eq!(report, expected);
}

#[test]
fn parity_is_coloured_when_asked_for_and_named_always() {
    let plain = drawn("layout -l 5 -n 3");
    let painted = drawn("layout -l 5 -n 3 --color always");
    assert!(!plain.contains('\u{1b}') && plain.contains('P'));
    assert!(painted.contains("\u{1b}[33mP"), "{painted}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (line, cause) in [
        ("layout -l 5 -n 1", "cannot have 1 members"),
        ("layout -l 6 -n 3", "cannot have 3 members"),
        ("layout -l 6 -n 300", "cannot have 300 members"),
        ("layout -l 1 -n 4000000000", "cannot have 4000000000 members"),
        ("layout -l 10 -n 2 -p n3", "3 copies"),
        ("layout -l 1 -n 2 -p ls", "has no layouts"),
        ("layout -l 5 -n 4 -p n2", "layout n2 is not known"),
        ("layout -l 5 -n 4 -c 3", "power of two"),
        ("layout -l 0 -n 4 -c 100B", "whole sectors"),
        ("layout -l 0 -n 4 -c 0", "whole sectors"),
        ("layout -l 0 -n 4 -c 15E", "too large"),
    ] {
        let done = reshape(line.split(' ')).expect_code(2);
        assert!(done.stderr.starts_with("reshape: cannot draw "), "{line}: {}", done.stderr);
        assert!(done.stderr.contains(cause), "{line}: {}", done.stderr);
        assert!(done.stderr.contains("\nhint: "), "{line}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{line}");
    }
    for line in ["layout -l 7 -n 4", "layout -l 5", "layout -n 4", "layout -l 5 -n 0"] {
        reshape(line.split(' ')).expect_code(2);
    }
}
