"""The machine: its facts, directories and loop devices that go away with us, the time we have.

Only what was made here is removed, and only processes started here are ended."""
import atexit
import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81
# Numbers that nobody who asks for "the next free one" will be handed.
LOOP_NUMBERS = range(400, 4000)

_directories, _loops, _zrams, processes = [], [], [], set()


def note(text):
    print("# " + text, file=sys.stderr, flush=True)


def prepare():
    """Cleans up at every kind of end, and finds what lies outside an ordinary user's path."""
    atexit.register(_clean_up)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: sys.exit(128 + n))
    more = [os.environ.get("PEERS_PATH"), "/usr/local/sbin", "/usr/sbin", "/sbin"]
    os.environ["PATH"] = os.pathsep.join([os.environ["PATH"], *filter(None, more)])


def _clean_up():
    for process in list(processes):
        try:
            os.killpg(process, signal.SIGKILL)
        except OSError:
            pass
    for loop, backing in _loops:
        _detach(loop, backing)
    for zram in list(_zrams):
        detach_zram(zram)
    for directory in _directories:
        shutil.rmtree(directory, ignore_errors=True)
    processes.clear(), _loops.clear(), _directories.clear()


class Budget:
    """Seconds to spend."""

    def __init__(self, seconds):
        self.seconds, self.start = seconds, time.monotonic()

    def spent(self):
        return time.monotonic() - self.start

    def left(self):
        return self.seconds - self.spent()


def have(program):
    return shutil.which(program) is not None


def is_root():
    return os.geteuid() == 0


def disk_dir():
    return os.environ.get("BENCH_DISK_DIR") or tempfile.gettempdir()


def ram_dir():
    return os.environ.get("BENCH_RAM_DIR") or "/dev/shm"


def directory(base):
    path = tempfile.mkdtemp(prefix="kcopy-bench.", dir=base)
    _directories.append(path)
    return path


def remove_directory(path):
    shutil.rmtree(path, ignore_errors=True)
    _directories.remove(path)


def free_bytes(path):
    facts = os.statvfs(path)
    return facts.f_bavail * facts.f_frsize


def _loop_control(operation, number):
    with open("/dev/loop-control", "rb+", buffering=0) as control:
        return fcntl.ioctl(control, operation, number)


def backing_file(loop):
    try:
        with open(f"/sys/block/{os.path.basename(loop)}/loop/backing_file") as file:
            return file.read().strip()
    except OSError:
        return None


def attach_loop(path):
    """A new loop device over a file, past the page cache below it."""
    for number in random.sample(LOOP_NUMBERS, 50):
        try:
            _loop_control(LOOP_CTL_ADD, number)
        except OSError:
            continue
        loop = f"/dev/loop{number}"
        _wait_for(lambda: os.path.exists(loop))
        done = subprocess.run(["losetup", "--direct-io=on", loop, path], capture_output=True)
        if done.returncode == 0:
            _loops.append((loop, os.path.realpath(path)))
            return loop
    sys.exit("compare: no loop device is to be had (it needs root)")


def reattach_if_lost(loop, path):
    """Whether the device still had our file behind it; others may run `losetup -D`."""
    if backing_file(loop) == os.path.realpath(path):
        return True
    note(f"{loop} was detached by someone else: attaching it again")
    subprocess.run(["losetup", "--direct-io=on", loop, path])
    return False


def detach_loop(loop):
    for entry in [entry for entry in _loops if entry[0] == loop]:
        _detach(*entry)
        _loops.remove(entry)


def _detach(loop, backing):
    if backing_file(loop) != backing:
        return
    subprocess.run(["losetup", "--detach", loop], stderr=subprocess.DEVNULL)

    def removed():
        try:
            _loop_control(LOOP_CTL_REMOVE, int(os.path.basename(loop)[4:]))
            return True
        except OSError:
            return False
    _wait_for(removed)


def attach_zram(size):
    """A new block device in memory that takes nothing for blocks of zeros; None if there is none."""
    try:
        with open("/sys/class/zram-control/hot_add") as control:
            zram = f"/dev/zram{control.read().strip()}"
    except OSError:
        return None
    _zrams.append(zram)
    with open(f"/sys/block/{os.path.basename(zram)}/disksize", "w") as file:
        file.write(str(size))
    _wait_for(lambda: os.path.exists(zram))
    return zram


def detach_zram(zram):
    _zrams.remove(zram)

    def removed():
        try:
            with open("/sys/class/zram-control/hot_remove", "w") as control:
                control.write(zram.removeprefix("/dev/zram"))
            return True
        except OSError:
            return False
    _wait_for(removed)


def _wait_for(condition):
    for _ in range(40):
        if condition():
            return
        time.sleep(0.05)


def uncache(path):
    """Writes what is dirty and drops the file from the page cache."""
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def cache(path):
    """Reads the file, so that it is in the page cache."""
    with open(path, "rb", buffering=0) as file:
        while file.read(4 * MIB):
            pass


def load():
    return os.getloadavg()[0]


def busy_seconds():
    """Seconds that processors of the machine were busy so far, for whomever."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def machine():
    def text(path):
        try:
            with open(path) as file:
                return file.read()
        except OSError:
            return ""
    model = re.search(r"model name\s*:\s*(.*)", text("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", text("/proc/meminfo"))
    return {"kernel": os.uname().release, "processors": os.cpu_count(),
            "model": model and model[1], "memory_gib": memory and int(memory[1]) >> 20,
            "load": round(load(), 2)}
