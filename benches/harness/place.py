"""Where copies run: a source and destinations of one kind."""
import os
import subprocess
import sys

from . import host

PATTERN = b"\xa5" * 4096


class Place:
    """`source` and `destinations`, `size` bytes each: files on the disk (ext4), or loop devices
    over such files (loop-ext4) or over files in memory (loop-tmpfs)."""

    def __init__(self, kind, size, destinations, reference):
        self.kind, self.size, self.reference = kind, size, reference
        self.is_block = kind.startswith("loop")
        self.directory = host.directory(host.ram_dir() if kind.endswith("tmpfs")
                                        else host.disk_dir())
        self.files = [os.path.join(self.directory, f"d{i}") for i in range(destinations + 1)]
        for seed, file in enumerate(self.files):
            self.fill(file, seed + 1)
        self.devices = [host.attach_loop(f) for f in self.files] if self.is_block else self.files
        self.source, self.destinations = self.devices[0], self.devices[1:]

    def fill(self, path, seed):
        command = [self.reference, "fill", path, str(self.size), str(seed)]
        if subprocess.run(command).returncode:
            sys.exit(f"compare: cannot fill {path}")

    def intact(self):
        """False (after mending it) if one of our loop devices was taken away."""
        if not self.is_block:
            return True
        return all([host.reattach_if_lost(loop, file)
                    for loop, file in zip(self.devices, self.files)])

    def close(self):
        if self.is_block:
            for loop in self.devices:
                host.detach_loop(loop)
        host.remove_directory(self.directory)


def poison(paths, offsets):
    """Writes a pattern that the copy has to replace."""
    for path in filter(os.path.exists, paths):
        file = os.open(path, os.O_RDWR)
        for offset in offsets:
            os.pwrite(file, PATTERN, offset)
        os.close(file)


def is_copied(source, destinations, samples):
    """Whether every sample (from, to, length; from is None for zeros) is where it belongs."""
    origin = os.open(source, os.O_RDONLY)
    try:
        return all(_holds(destination, origin, samples) for destination in destinations)
    finally:
        os.close(origin)


def _holds(path, origin, samples):
    file = os.open(path, os.O_RDONLY)
    try:
        for start, to, length in samples:
            wanted = bytes(length) if start is None else os.pread(origin, length, start)
            if os.pread(file, length, to) != wanted:
                return False
        return True
    finally:
        os.close(file)
