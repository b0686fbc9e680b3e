//! Where io_uring, or its memory, is refused: what a client does then.
//!
//! The refusals are real: a system call filter as containers have it, an ordinary user's limit on
//! locked memory. Each test runs itself once more inside; [`INSIDE`] tells the two apart.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kcopy::device::OpenOptions;
use kcopy::{BackendChoice, BackendKind, BuildError, Client, Device, Extent, Job};
use tests::binary::{LIMIT, run};
use tests::{data, require_root, tmp};

const INSIDE: &str = "KCOPY_TEST_INSIDE";
const LEN: u64 = (3 << 20) + 777;

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs test `name` of this program once more, as `command` puts it.
fn once_more(command: &mut Command, test: &str) {
    let directory = std::env::temp_dir();
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").current_dir(directory);
    let output = run(command, LIMIT).expect_code(0).stdout;
    assert!(output.contains("1 passed"), "{output}");
}

/// Copies a file within a new directory, flushed, and compares.
fn copy_works(client: &Client) {
    let dir = tmp::on_disk();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    data::write_file(&from, 1, LEN);
    let source = Device::open(&from, &OpenOptions::source()).unwrap();
    let options = OpenOptions::destination().create(true);
    let destination = Device::open(&to, &options).unwrap();
    let job = Job::copy(Extent::new(&source, 0, LEN)).to(Extent::new(&destination, 0, LEN));
    let outcome = client.run(job.flush()).unwrap();
    assert!(outcome.is_ok(), "{outcome:?}");
    data::expect_equal((&from, 0), (&to, 0), LEN);
}

fn with_pages(pages: u32, choice: BackendChoice) -> Result<Client, BuildError> {
    Client::builder().pages(pages).backend(choice).build()
}

/// The program that refuses io_uring to what it starts.
fn filter(directory: &Path) -> PathBuf {
    let program = directory.join("without-io-uring");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/helpers/without-io-uring.c");
    let mut compiler = Command::new("cc");
    drop(run(compiler.arg("-o").arg(&program).arg(source), LIMIT).expect_code(0));
    program
}

fn threads_take_over(errno: i32, test: &str) {
    if is_inside() {
        let client = with_pages(1024, BackendChoice::Auto).unwrap();
        assert_eq!(client.backend(), BackendKind::Threads);
        copy_works(&client);
        let refused = with_pages(1024, BackendChoice::IoUring).unwrap_err();
        assert!(refused.to_string().contains("io_uring is not available here"), "{refused}");
        return;
    }
    let dir = tmp::on_disk();
    let mut command = Command::new(filter(dir.path()));
    once_more(command.arg(errno.to_string()).arg(std::env::current_exe().unwrap()), test);
}

#[test]
fn threads_take_over_where_io_uring_is_forbidden() {
    threads_take_over(1, "threads_take_over_where_io_uring_is_forbidden");
}

#[test]
fn threads_take_over_where_io_uring_is_unknown() {
    threads_take_over(38, "threads_take_over_where_io_uring_is_unknown");
}

/// Runs a test as a user without rights, who may lock so many bytes of memory.
fn as_nobody(locked: u64, test: &str) {
    require_root();
    // The user must be able to reach the program.
    let dir = tmp::on_disk();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = dir.path().join("test");
    // Not by this process: a child that another test starts now would hold it open for writing.
    let mut copy = Command::new("cp");
    drop(run(copy.arg(std::env::current_exe().unwrap()).arg(&program), LIMIT).expect_code(0));
    let mut command = Command::new("prlimit");
    command.arg(format!("--memlock={locked}:{locked}"));
    // A number that nobody else uses: locked memory counts for a user as a whole.
    let user = 20_000 + std::process::id() % 10_000 * 2 + u32::from(locked > 64 << 10);
    command.args(["setpriv", "--clear-groups", "--no-new-privs"]);
    command.args([format!("--reuid={user}"), format!("--regid={user}")]);
    once_more(command.arg(program), test);
}

#[test]
fn root_the_pool_is_plain_memory_where_locked_memory_is_short() {
    if !is_inside() {
        return as_nobody(64 << 10, "root_the_pool_is_plain_memory_where_locked_memory_is_short");
    }
    let client = with_pages(1024, BackendChoice::Auto).unwrap();
    assert_eq!(client.backend(), BackendKind::IoUring);
    let mode = client.describe();
    assert!(mode.contains("plain buffers"), "{mode}");
    copy_works(&client);
    // Several at a time, until there is none for another ring: then threads.
    let more: Vec<_> = (0..8).map(|_| with_pages(64, BackendChoice::Auto).unwrap()).collect();
    more.iter().for_each(copy_works);
}

#[test]
fn root_an_ordinary_limit_is_enough_for_the_default_pool() {
    if !is_inside() {
        return as_nobody(8 << 20, "root_an_ordinary_limit_is_enough_for_the_default_pool");
    }
    let client = with_pages(1024, BackendChoice::Auto).unwrap();
    let mode = client.describe();
    assert!(mode.contains("fixed buffer"), "{mode}");
    copy_works(&client);
    drop(client);
    // Again and again: what one gave back is there for the next, after a moment.
    for _ in 0..10 {
        let client = with_pages(1024, BackendChoice::Auto).unwrap();
        assert_eq!(client.backend(), BackendKind::IoUring);
    }
    // Larger than the limit: never an error.
    copy_works(&with_pages(4096, BackendChoice::Auto).unwrap());
}
