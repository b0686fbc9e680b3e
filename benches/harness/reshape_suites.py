"""Reshapes: what is moved in a second, beside what the disks could move."""
import json
import os
from dataclasses import dataclass

from . import host
from .host import MIB
from .members import Members, fio_seconds, must
from .run import Run
from .turns import Case, Goal, measure, of

OURS, MIX, READ, WRITE = "reshape", "fio, the same bytes", "fio reading", "fio writing"
BOUND, HALF = "bound", "bound, one way at a time"


@dataclass
class Kind:
    """A reshape: the level and members before and after, the chunk before and what changes."""
    key: str
    title: str
    before: tuple
    after: tuple
    change: str
    make: tuple = ()
    # Whether everything is saved first.
    saved: bool = False

    def data_disks(self):
        return self.before[1] - (2 if self.before[0] == 6 else 1)

    def writes_per_read(self):
        """Bytes written to members for each byte of content."""
        level, disks = self.after
        return disks / (disks - (2 if level == 6 else 1))


KINDS = (
    Kind("grow", "RAID5 from 4 to 5 members", (5, 4), (5, 5), "--raid-devices 5"),
    Kind("level", "RAID5 of 4 to RAID6 of 5 members", (5, 4), (6, 5), "--level 6"),
    Kind("chunk", "RAID5 of 5 members, chunk 64 KiB to 128 KiB", (5, 5), (5, 5), "--chunk 128"),
    Kind("chunk-saved", "RAID5 of 5 members, chunk 64 KiB to 128 KiB, all saved", (5, 5), (5, 5),
         "--chunk 128 --backup-file", make=("-e", "1.0"), saved=True),
)


def cases(setting):
    if not any(setting.wants(kind.key) for kind in KINDS):
        return
    members = Members(setting, 5, setting.size(160, 32))
    for kind in KINDS:
        if setting.wants(kind.key):
            yield _kind(setting, kind, members)
    members.close()


def command(members, kind, more=""):
    """The command that carries a change out."""
    used = " ".join(members.devices[:kind.before[1]])
    added = " ".join(f"--add {device}" for device in members.devices[kind.before[1]:])
    change = kind.change
    if kind.saved:
        change += " " + members.path("backup")
    return f"{members.reshape} grow --yes --progress none --json {more} {added} {change} {used}"


def _kind(setting, kind, members):
    members.make(kind.before[0], kind.before[1], 64, kind.make)
    members.keep()
    amount, n, remarks = os.path.getsize(members.content), kind.after[1], {}

    def ours():
        members.restore()
        if os.path.exists(members.path("backup")):
            os.unlink(members.path("backup"))
        run = Run(command(members, kind, setting.options.more), limit=240)
        if run.complaint():
            raise SystemExit(f"arrays: {kind.key}: {run.complaint()}")
        remarks.update(_checkpoints(run, amount))
        if not members.is_whole(members.devices):
            raise SystemExit(f"arrays: {kind.key}: WRONG DATA")
        return run.wall

    def read():
        members.cold()
        return fio_seconds(members.devices[:kind.before[1]], [], amount // kind.before[1], 0)

    def write():
        members.cold()
        return fio_seconds([], members.devices, 0, int(amount * kind.writes_per_read()) // n)

    def mix():
        members.cold()
        return fio_seconds(members.devices[:kind.before[1]], members.devices,
                           amount // kind.before[1], int(amount * kind.writes_per_read()) // n)

    def bounds(times):
        # The seconds of fio are for exactly the bytes that have to be moved.
        saving = times[WRITE] / kind.writes_per_read() if kind.saved else 0
        written = times[WRITE] + saving
        return {BOUND: max(times[READ], written), HALF: times[READ] + written}
    want, aim = (0.65, 0.80) if kind.saved else (0.75, 0.85)
    goals = [Goal("of min(R, W)", want, of(OURS, BOUND)),
             Goal("of min(R, W), aim", aim, of(OURS, BOUND))]
    return measure(Case(f"{kind.key} {setting.place}", f"{kind.title}, {setting.place}", amount,
                        {OURS: ours, MIX: mix, READ: read, WRITE: write},
                        setting.options.rounds or (1 if setting.quick else 5),
                        setting.budget.left() / 3, bounds, goals, remarks), setting.budget)


def _checkpoints(run, amount):
    """What checkpoints cost, as the command counts it."""
    said = json.loads(run.output.strip().splitlines()[-1])
    count, seconds, gib = said["checkpoints"], said["checkpoint_seconds"], amount / (1 << 30)
    return {"checkpoints": count, "ms for each, others going on": round(seconds * 1e3 / max(count, 1), 2),
            "checkpoints per GiB": round(count / gib), "ms per GiB": round(seconds * 1e3 / gib)}


def linear(setting):
    """RAID5 from 4 to 5 members, sparse, from 64 MiB a member up; 1 MiB of each 64 MiB of the array is content."""
    grow = KINDS[0]
    size = 64
    while size <= setting.options.largest and setting.budget.left() > 0:
        members = Sparse(setting, grow.after[1])
        members.make(size)
        members.fill(size)
        before = members.allocated()

        def ours():
            run = Run(command(members, grow, setting.options.more), limit=280)
            if run.complaint():
                raise SystemExit(f"arrays: linear: {run.complaint()}")
            remarks.update(_checkpoints(run, size * 3 * MIB))
            remarks["ms per GiB of a member"] = round(run.wall * 1e3 * 1024 / size)
            remarks["MiB allocated"] = f"{before} before, {members.allocated()} after"
            return run.wall
        remarks = {}
        case = Case(f"linear-{size} {setting.place}", f"RAID5 from 4 to 5 sparse members of "
                    f"{size} MiB, {setting.place}", size * 3 * MIB, {OURS: ours}, 1, 0, remarks=remarks)
        yield measure(case, setting.budget)
        members.close()
        size *= 4


class Sparse:
    """Members with little content: files with holes."""

    def __init__(self, setting, count):
        self.reshape = setting.reshape
        base = host.ram_dir() if setting.place.endswith("tmpfs") else host.disk_dir()
        self.directory, self.count = host.directory(base), count
        self.devices = [os.path.join(self.directory, f"m{index}") for index in range(count)]

    def make(self, mebibytes):
        must([self.reshape, "create", "--yes", "--progress", "none", "--assume-clean", "--level", "5",
              "--raid-devices", "4", "--chunk", "64KiB", "--size", f"{mebibytes}MiB",
              "--create-files", f"{mebibytes + 264}MiB", "--data-offset", "256MiB",
              *self.devices[:4]])
        with open(self.devices[4], "wb") as file:
            file.truncate((mebibytes + 264) * MIB)

    def fill(self, mebibytes):
        """Whole stripes, 1.1 MiB of every 64, where RAID5 of four members with chunks of 64 KiB has them."""
        chunk, data, start = 64 << 10, 3, 256 * MIB
        blocks = [os.urandom(chunk) for _ in range(data)]
        parity = 0
        for block in blocks:
            parity ^= int.from_bytes(block, "little")
        blocks.append(parity.to_bytes(chunk, "little"))
        files = [os.open(device, os.O_WRONLY) for device in self.devices[:data + 1]]
        for at in range(0, mebibytes * data * MIB, 64 * MIB):
            first = at // (data * chunk)
            for stripe in range(first, min(first + 6, mebibytes * MIB // chunk)):
                of_parity = data - stripe % (data + 1)
                for index, block in enumerate(blocks):
                    slot = (of_parity + 1 + index) % (data + 1)
                    os.pwrite(files[slot], block, start + stripe * chunk)
        for file in files:
            os.fsync(file)
            os.close(file)

    def allocated(self):
        """Mebibytes that all members take."""
        return sum(os.stat(device).st_blocks for device in self.devices) // 2048

    def path(self, name):
        return os.path.join(self.directory, name)

    def close(self):
        host.remove_directory(self.directory)
