"""Members of an array as files or loop devices, and what fio reads and writes on them."""
import os
import subprocess
import sys

from . import host
from .host import MIB
from .run import Fio, Run

# Where the data of a member begins, in bytes: room for a reshape that moves data offsets.
DATA_OFFSET = 32 * MIB
# Of each member: as many bytes on their way as four requests of 1 MiB.
_FIO = "--bs=1M --iodepth=4"


class Members:
    """`count` members of `data` bytes at one place, filled with an array of known content."""

    def __init__(self, setting, count, data):
        self.reshape = setting.reshape
        self.is_block, self.data = setting.place.startswith("loop"), data
        base = host.ram_dir() if setting.place.endswith("tmpfs") else host.disk_dir()
        self.directory = host.directory(base)
        self.files = [self.path(f"m{index}") for index in range(count)]
        for file in self.files:
            # Not holes: what it costs to give a file its blocks is not to be measured.
            _fill("/dev/zero", file, DATA_OFFSET + data + MIB)
        self.devices = [host.attach_loop(f) for f in self.files] if self.is_block else self.files
        self.content = self.path("content")
        self.used = 0

    def path(self, name):
        return os.path.join(self.directory, name)

    def _wipe(self, device):
        """Both ends, where superblocks are."""
        size = DATA_OFFSET + self.data + MIB
        for at in (0, size // MIB - 1):
            must(["dd", "if=/dev/zero", f"of={device}", "bs=1M", "count=1", f"seek={at}",
                  "conv=notrunc,fsync", "status=none"])

    def make(self, level, count, chunk, more=()):
        """An array of the first `count` members with this level and chunk (KiB), filled."""
        for device in self.devices:
            self._wipe(device)
        where = () if "1.0" in more else ("--data-offset", f"{DATA_OFFSET // MIB}MiB")
        must([self.reshape, "create", "--yes", "--progress", "none", "--assume-clean", "--level",
              str(level), "--raid-devices", str(count), "--chunk", f"{chunk}KiB", "--size",
              f"{self.data // MIB}MiB", *where, *more, *self.devices[:count]])
        self.used = count
        data_disks = count - (2 if level == 6 else 1)
        if os.path.exists(self.content):
            os.unlink(self.content)
        _fill("/dev/urandom", self.content, self.data * data_disks)
        must([self.reshape, "import", "--yes", "--progress", "none", "--from", self.content,
              *self.devices[:count]])

    def empty(self, device):
        """Zeros all over: nothing of what was there can pass for what is computed."""
        _fill("/dev/zero", device, DATA_OFFSET + self.data + MIB)

    def keep(self):
        """Remembers the members as they are, for `restore`."""
        for file in self.files:
            must(["cp", "--reflink=never", file, file + ".kept"])
            host.uncache(file + ".kept")

    def restore(self):
        for file in self.files:
            kept = f"if={file}.kept of={file} bs=4M conv=notrunc status=none"
            if self.is_block:
                kept = f"if={file}.kept of={self.devices[self.files.index(file)]} bs=4M " \
                       "oflag=direct conv=notrunc status=none"
            must(["dd", *kept.split()])
        self.cold()

    def cold(self):
        for index, file in enumerate(self.files):
            if self.is_block and not host.reattach_if_lost(self.devices[index], file):
                sys.exit("arrays: a loop device was taken away while it was in use")
            host.uncache(self.devices[index])

    def is_whole(self, devices):
        """Whether the array on these devices has the content that was put into it."""
        command = (f"set -o pipefail; {self.reshape} export --progress none --count "
                   f"{os.path.getsize(self.content)} --to - {' '.join(devices)}"
                   f" | cmp - {self.content}")
        return Run(command, limit=120).complaint() is None

    def close(self):
        if self.is_block:
            for loop in self.devices:
                host.detach_loop(loop)
        host.remove_directory(self.directory)


def _fill(source, path, size):
    must(["dd", f"if={source}", f"of={path}", "bs=4M", "iflag=count_bytes,fullblock",
          f"count={size}", "conv=notrunc,fsync", "status=none"])
    host.uncache(path)


def must(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"arrays: {' '.join(command)} failed: {done.stderr.strip()[-400:]}")


def _jobs(devices, way, each):
    end = " --end_fsync=1" if way == "write" else ""
    return [f"--filename={device} --rw={way} {_FIO} --offset={DATA_OFFSET} --size={each}{end}"
            for device in devices]


def fio_seconds(read, write, read_each, write_each):
    """Seconds that fio needs to read and write the data areas of these devices, all at once."""
    # In whole requests: what is left over of one is nothing to compare.
    jobs = [*_jobs(read, "read", read_each // MIB * MIB),
            *_jobs(write, "write", write_each // MIB * MIB)]
    return Fio(*jobs, limit=120).seconds()
