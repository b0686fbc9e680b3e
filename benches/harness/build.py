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
    """Paths: `kcopy`, and `reference` (see benches/src/bin/reference.rs)."""

    def __init__(self, kcopy, reference):
        self.kcopy, self.reference = kcopy, reference


def programs():
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(WORKSPACE, "target")
    built = os.path.join(WORKSPACE, target, "release")
    _cargo("--package", "benches", "--bin", "reference")
    kcopy = os.environ.get("KCOPY_BIN")
    if not kcopy:
        _cargo("--package", "cli", "--bin", "kcopy")
        kcopy = os.path.join(built, "kcopy")
    missing = [program for program in PACKAGES if not host.have(program)]
    if missing:
        host.note(f"not installed, so not beside us: {', '.join(missing)} (try --install)")
    return Programs(os.path.abspath(kcopy), os.path.join(built, "reference"))


def _cargo(*arguments):
    command = ["cargo", "build", "--quiet", "--release", *arguments]
    if subprocess.run(command, cwd=WORKSPACE).returncode:
        sys.exit(f"compare: {' '.join(command)} failed")
