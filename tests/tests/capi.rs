//! The C interface, used from C: compiled without a warning, linked both ways, run; and the header
//! says what the library has.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tests::binary::{Finished, LIMIT, run};
use tests::cargo::{CLibrary, c_library, root};
use tests::{data, tmp};

/// What the static library needs besides itself; `docs/c-api.md` and `kcopy.pc.in` say the same.
const SYSTEM_LIBRARIES: [&str; 6] = ["-lpthread", "-ldl", "-lm", "-lrt", "-lutil", "-lgcc_s"];

/// What a program that was linked with the shared library asks for.
const SONAME: &str = concat!("libkcopy.so.", env!("CARGO_PKG_VERSION_MAJOR"));

#[derive(Clone, Copy, Debug)]
enum Linking {
    Static,
    Shared,
}

const BOTH: [Linking; 2] = [Linking::Static, Linking::Shared];

/// The library, copied to a place where no other build replaces it while it is being used.
fn library() -> &'static CLibrary {
    static LIBRARY: OnceLock<(CLibrary, tempfile::TempDir)> = OnceLock::new();
    let made = LIBRARY.get_or_init(|| {
        let (built, directory) = (c_library(), tmp::on_disk());
        let keep = |file: &Path| {
            let kept = directory.path().join(file.file_name().expect("a library has a name"));
            fs::copy(file, &kept).expect("a library can be copied");
            kept
        };
        let (archive, shared) = (keep(&built.archive), keep(&built.shared));
        (CLibrary { archive, shared, include: built.include }, directory)
    });
    &made.0
}

/// The compiler for C; a test that has none fails.
fn compiler(command: &str, package: &str) -> Command {
    let found = Command::new(command).arg("--version").output().is_ok();
    assert!(found, "{command} is missing; install it with: apt-get install {package} libc6-dev");
    let mut compiler = Command::new(command);
    compiler.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-g"]);
    compiler.arg("-I").arg(&library().include);
    compiler
}

/// Compiles and links a program.
fn program(source: &Path, linking: Linking, directory: &Path) -> PathBuf {
    let program = directory.join(format!("{linking:?}-program"));
    let mut cc = compiler("cc", "gcc");
    cc.arg("-std=c99").arg(source).arg("-o").arg(&program);
    match linking {
        Linking::Static => cc.arg(&library().archive).args(SYSTEM_LIBRARIES),
        Linking::Shared => {
            let place = library().shared.parent().expect("a file lies somewhere");
            // Where it is found when the program starts there is nothing but its soname.
            let installed = place.join("installed");
            fs::create_dir_all(&installed).expect("a directory can be made");
            let _ = std::os::unix::fs::symlink(&library().shared, installed.join(SONAME));
            let rpath = format!("-Wl,-rpath,{}", installed.display());
            cc.arg("-L").arg(place).args(["-lkcopy", &rpath, "-lpthread"])
        }
    };
    assert_eq!(run(&mut cc, LIMIT).expect_code(0).stderr, "");
    program
}

/// Writes, compiles, links and runs a program made up here.
fn say(source: &str, linking: Linking) -> Finished {
    let directory = tmp::on_disk();
    let file = directory.path().join("made-up.c");
    fs::write(&file, source).expect("the source can be written");
    run(&mut Command::new(program(&file, linking, directory.path())), LIMIT)
}

#[test]
fn c_interface_keeps_its_promises_on_both_backends_linked_both_ways() {
    for linking in BOTH {
        let directory = tmp::on_disk();
        let program = program(&root().join("tests/c/behaviour.c"), linking, directory.path());
        for backend in ["threads", "auto"] {
            let place = tmp::on_disk();
            let done = run(Command::new(&program).arg(backend).arg(place.path()), LIMIT);
            let done = done.expect_code(0);
            assert!(done.stdout.ends_with(" checks hold\n"), "{linking:?} {backend}: {done:?}");
        }
    }
}

#[test]
fn c_example_mirrors_a_file_of_an_odd_length() {
    for linking in BOTH {
        let directory = tmp::on_disk();
        let path = |name| directory.path().join(name);
        let program = program(&root().join("kcopy/examples/c/mirror.c"), linking, directory.path());
        data::write_file(&path("source"), 5, 3_000_001);
        let mut mirror = Command::new(&program);
        mirror.args([path("source"), path("one"), path("two"), path("three")]);
        let done = run(&mut mirror, LIMIT).expect_code(0);
        assert_eq!(done.stdout.matches("3000001 bytes are written").count(), 3, "{done:?}");
        for name in ["one", "two", "three"] {
            let same = fs::read(path(name)).unwrap() == fs::read(path("source")).unwrap();
            assert!(same, "{name} differs from the source");
        }
        let missing = run(Command::new(&program).args([path("missing"), path("one")]), LIMIT);
        assert!(missing.expect_code(1).stderr.contains("cannot open"));
        let alone = run(Command::new(&program).arg("alone"), LIMIT).expect_code(2);
        assert!(alone.stderr.starts_with("usage:"));
    }
}

#[test]
fn header_and_library_have_the_same_functions() {
    let declared = declared_functions();
    let source = fs::read_to_string(root().join("kcopy/src/capi.rs")).unwrap();
    let defined: BTreeSet<String> =
        source.split("extern \"C\" fn kcopyd_").skip(1).map(|rest| name("kcopyd_", rest)).collect();
    assert!(declared.len() > 15, "the header was not understood: {declared:?}");
    assert_eq!(declared, defined);
    let mut program =
        String::from("#include \"kcopyd.h\"\n#include <stdio.h>\nint main(void)\n{\n");
    for function in &declared {
        writeln!(program, "\tif (!&{function}) return 1;").unwrap();
    }
    program.push_str("\tputs(kcopyd_version());\n\treturn 0;\n}\n");
    // The address of a function is never null, which the compiler knows and says.
    program.insert_str(0, "#pragma GCC diagnostic ignored \"-Waddress\"\n");
    for linking in BOTH {
        let version = say(&program, linking).expect_code(0).stdout;
        assert_eq!(version.trim_end(), env!("CARGO_PKG_VERSION"), "{linking:?}");
    }
}

#[test]
fn header_and_library_have_the_same_structures() {
    let layout = kcopy::capi::layout();
    let mut program = String::from(
        "#include \"kcopyd.h\"\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n",
    );
    for (what, _) in &layout {
        let value = match (what.strip_prefix("sizeof "), what.split_once('.')) {
            (Some(name), _) => format!("sizeof(struct {name})"),
            (None, Some((name, field))) => format!("offsetof(struct {name}, {field})"),
            (None, None) => panic!("neither a size nor a field: {what}"),
        };
        writeln!(program, "\tprintf(\"{what} %u\\n\", (unsigned){value});").unwrap();
    }
    program.push_str("\treturn 0;\n}\n");
    let in_c = say(&program, Linking::Shared).expect_code(0).stdout;
    let in_rust: String = layout.iter().map(|(what, value)| format!("{what} {value}\n")).collect();
    assert_eq!(in_c, in_rust);
}

#[test]
fn documents_name_the_libraries_that_are_linked_here() {
    let libraries = SYSTEM_LIBRARIES.join(" ");
    for name in ["kcopy/kcopy.pc.in", "docs/c-api.md"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        assert!(text.contains(&libraries), "{name} does not say {libraries}");
    }
}

#[test]
fn header_is_good_for_cplusplus() {
    let directory = tmp::on_disk();
    let file = directory.path().join("twice.cc");
    let text = "#include \"kcopyd.h\"\n#include \"kcopyd.h\"\n\
                int main() { io_region r = {nullptr, 0, 0}; return r.bdev != nullptr; }\n";
    fs::write(&file, text).unwrap();
    let mut cxx = compiler("c++", "g++");
    cxx.args(["-std=c++11", "-fsyntax-only"]).arg(&file);
    assert_eq!(run(&mut cxx, LIMIT).expect_code(0).stderr, "");
}

/// The functions that the header declares.
fn declared_functions() -> BTreeSet<String> {
    let header = fs::read_to_string(library().include.join("kcopyd.h")).expect("a header");
    let mut code = String::new();
    for (at, part) in header.split("/*").enumerate() {
        code.push_str(if at == 0 {
            part
        } else {
            part.split_once("*/").expect("a comment ends").1
        });
    }
    let parts = code.split("kcopyd_").skip(1);
    let called = parts.filter(|rest| {
        rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').starts_with('(')
    });
    called.map(|rest| name("kcopyd_", rest)).collect()
}

fn name(start: &str, rest: &str) -> String {
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    format!("{start}{}", &rest[..end])
}
