"""The programs: ours, the reference, and the peers that Debian has."""
import os
import subprocess
import sys

from . import host

HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
WORKSPACE = os.path.dirname(HERE)
PACKAGES = {"fio": "fio", "qemu-img": "qemu-utils", "nbdcopy": "libnbd-bin", "ddpt": "ddpt",
            "ddrescue": "gddrescue", "dcfldd": "dcfldd", "dc3dd": "dc3dd",
            "blkdiscard": "util-linux", "losetup": "mount"}


def install_peers():
    missing = sorted({package for program, package in PACKAGES.items() if not host.have(program)})
    if not missing:
        return
    if not host.is_root():
        sys.exit("compare: --install needs root; install by hand: " + " ".join(missing))
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    subprocess.run(command, check=True, env=environment)


class Programs:
    """Paths: `kcopy`, and `reference` and `queued` (see benches/src/bin)."""

    def __init__(self, kcopy, built):
        self.kcopy = os.path.abspath(kcopy)
        self.reference, self.queued = (os.path.join(built, n) for n in ("reference", "queued"))


def programs():
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(WORKSPACE, "target")
    built = os.path.join(WORKSPACE, target, "release")
    _cargo("--package", "benches", "--bin", "reference", "--bin", "queued")
    kcopy = os.environ.get("KCOPY_BIN")
    if not kcopy:
        _cargo("--package", "cli", "--bin", "kcopy")
        kcopy = os.path.join(built, "kcopy")
    missing = [program for program in PACKAGES if not host.have(program)]
    if missing:
        host.note(f"not installed, so not beside us: {', '.join(missing)} (try --install)")
    return Programs(kcopy, built)


def reshape():
    """The path of `reshape`."""
    named = os.environ.get("RESHAPE_BIN")
    if named:
        return os.path.abspath(named)
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(WORKSPACE, "target")
    _cargo("--package", "cli", "--bin", "reshape")
    return os.path.join(WORKSPACE, target, "release", "reshape")


def _cargo(*arguments):
    command = ["cargo", "build", "--quiet", "--release", *arguments]
    if subprocess.run(command, cwd=WORKSPACE).returncode:
        sys.exit(f"compare: {' '.join(command)} failed")
