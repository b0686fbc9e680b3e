//! Copies of awkward sizes and offsets, compared byte by byte.

use std::fs::File;
use std::process::Command;

use tests::binary::{LIMIT, kcopy, run};
use tests::tmp::text;
use tests::{data, tmp};

const EDGES: [u64; 12] =
    [1, 2, 511, 512, 513, 4095, 4096, 4097, 65_535, 65_537, 1 << 20, 1_048_577];

#[test]
fn files_of_every_awkward_size_are_copied_to_two() {
    let (_dir, [source, one, two]) = tmp::with_paths(["source", "one", "two"]);
    for (seed, len) in (1..).zip(EDGES) {
        data::write_file(&source, seed, len);
        for path in [&one, &two] {
            let _ = std::fs::remove_file(path);
        }
        let report =
            kcopy(["copy", "--json", text(&source), text(&one), text(&two)]).expect_code(0).json();
        for path in [&one, &two] {
            assert_eq!(path.metadata().unwrap().len(), len);
            data::expect_equal((&source, 0), (path, 0), len);
        }
        assert_eq!(report["bytes"], len);
        assert_eq!(report["source"]["bytes_read"], len, "the source is read once");
    }
}

#[test]
fn odd_offsets_are_byte_exact_and_touch_nothing_else() {
    let (_dir, [source, copy, before]) = tmp::with_paths(["source", "copy", "before"]);
    let size = 3 << 20;
    data::write_file(&source, 1, size);
    let mut random = data::Random::new(7);
    for direct in ["auto", "never"] {
        for _ in 0..12 {
            data::write_file(&copy, 2, size);
            data::write_file(&before, 2, size);
            let (skip, seek) = (random.below(70_000), random.below(70_000));
            let count = 1 + random.below(2 << 20);
            let [skip_text, seek_text, count_text] = [skip, seek, count].map(|n| n.to_string());
            let mut arguments = vec!["copy", "-q", "--verify", "--direct", direct];
            arguments.extend(["--skip", &skip_text, "--seek", &seek_text, "--count", &count_text]);
            arguments.extend([text(&source), text(&copy)]);
            kcopy(arguments).expect_code(0);
            data::expect_equal((&before, 0), (&copy, 0), seek);
            data::expect_equal((&source, skip), (&copy, seek), count);
            let end = seek + count;
            data::expect_equal((&before, end), (&copy, end), size - end);
            assert_eq!(copy.metadata().unwrap().len(), size, "a longer file keeps its tail");
        }
    }
}

#[test]
fn sparse_gigabyte_and_one_byte_stays_sparse() {
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
    let size = (1 << 30) + 1;
    data::write_file(&source, 3, 1 << 20);
    File::options().write(true).open(&source).unwrap().set_len(size).unwrap();
    data::overwrite_at(&source, 5, size - 1, 1);
    kcopy(["copy", "-q", "--verify", text(&source), text(&copy)]).expect_code(0);
    assert_eq!(copy.metadata().unwrap().len(), size);
    // Quicker than ours over so many zeros.
    run(Command::new("cmp").args([&source, &copy]), LIMIT).expect_code(0);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&copy.metadata().unwrap());
    assert!(blocks * 512 < 16 << 20, "{blocks} blocks of a sparse copy");
    kcopy(["compare", text(&source), text(&copy)]).expect_code(0);
}

#[test]
fn empty_file_is_copied_as_one() {
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
    File::create(&source).unwrap();
    kcopy(["copy", "-q", text(&source), text(&copy)]).expect_code(0);
    assert_eq!(copy.metadata().unwrap().len(), 0);
}

#[test]
fn zeros_really_land_in_an_existing_destination() {
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
    let size = 8 << 20;
    // A hole, data, written zeros, data.
    File::create(&source).unwrap().set_len(size).unwrap();
    data::overwrite_at(&source, 1, 1 << 20, 1 << 20);
    std::os::unix::fs::FileExt::write_all_at(
        &File::options().write(true).open(&source).unwrap(),
        &vec![0; 1 << 20],
        3 << 20,
    )
    .unwrap();
    data::overwrite_at(&source, 2, (6 << 20) + 100, 5000);
    for sparse in ["auto", "never"] {
        data::write_file(&copy, 9, size + 77);
        kcopy(["copy", "-q", "--verify", "--sparse", sparse, text(&source), text(&copy)])
            .expect_code(0);
        data::expect_equal((&source, 0), (&copy, 0), size);
        assert_eq!(copy.metadata().unwrap().len(), size + 77);
    }
}

#[test]
fn file_that_is_too_short_is_extended() {
    let (_dir, [source, copy]) = tmp::with_paths(["source", "copy"]);
    data::write_file(&source, 1, 100_000);
    data::write_file(&copy, 2, 10);
    kcopy(["copy", "-q", "--seek", "5000", text(&source), text(&copy)]).expect_code(0);
    assert_eq!(copy.metadata().unwrap().len(), 105_000);
    assert_eq!(data::read_at(&copy, 0, 10), data::bytes(2, 10));
    assert_eq!(data::read_at(&copy, 10, 4990), vec![0; 4990]);
    data::expect_equal((&source, 0), (&copy, 5000), 100_000);
}
