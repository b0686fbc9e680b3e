"""The flat line: what a copy takes in time and memory must not depend on how much there is.

Three series, each drawn with its rate and the largest resident set of the process:

  size          one copy of 1 MiB to 64 GiB; the source is a sparse file read as data, the destination
                a block device in memory that keeps no zeros (zram), or a file where there is none
  destinations  one copy of 256 MiB in all, written to 1 to 64 destinations
  jobs          random 4 KiB jobs, with 1 to 100,000 of them queued at once
"""
import json
import os
import re
import statistics

from . import host, svg
from .host import MIB
from .run import Run

REPEAT = 3


class Series:
    """Runs commands and keeps (x, rate, MiB of resident memory) of each."""

    def __init__(self, name, budget, out):
        self.name, self.budget, self.out, self.points = name, budget, out, []

    def add(self, x, amount, command, prepare, likely_seconds=1.0):
        """The median of a few runs; nothing if the time is spent."""
        runs = []
        for _ in range(REPEAT):
            if self.budget.left() < likely_seconds or (runs and likely_seconds > 10):
                break
            prepare()
            run = Run(command, max(30, likely_seconds * 10))
            if run.complaint():
                host.note(f"{self.name} {x}: {run.complaint()}")
                return
            runs.append(run)
        if not runs:
            host.note(f"{self.name}: no time left for {x}")
            return
        rate = amount / statistics.median(run.wall for run in runs)
        memory = max(run.resident_kib for run in runs) / 1024
        self.points.append((x, rate, memory))
        print(f"{self.name:12} {x:>12} {rate:>10.0f} {memory:>8.1f} MiB", flush=True)
        self.out.line(kind="flat", series=self.name, x=x, rate=rate, memory_mib=memory)


def draw(options, programs, budget, out):
    """Measures the series (those that `--only` names) and writes the picture. What is not measured
    is drawn from the file of `--json`, if an earlier run left it there."""
    earlier = _earlier(options.json)
    panels = []
    for name, measure in (("size", _sizes), ("destinations", _destinations), ("jobs", _jobs)):
        series = Series(name, budget, out)
        if re.search(options.only, name):
            panels.append(measure(series, options, programs))
        else:
            panels.append(PANELS[name](earlier.get(name, [])))
    panels = [panel for panel in panels if panel.points]
    if not panels:
        return
    os.makedirs(os.path.dirname(os.path.abspath(options.flat)), exist_ok=True)
    with open(options.flat, "w") as file:
        file.write(svg.chart(panels, "kcopy: rate (blue) and resident memory (orange)"))


def _earlier(path):
    """The points of earlier runs, by series; of several at one place, the last."""
    found = {}
    if path and os.path.exists(path):
        with open(path) as file:
            for line in map(json.loads, file):
                if line.get("kind") == "flat":
                    point = (line["x"], line["rate"], line["memory_mib"])
                    found.setdefault(line["series"], {})[line["x"]] = point
    return {name: [points[x] for x in sorted(points)] for name, points in found.items()}


def _sizes(series, options, programs):
    directory = host.directory(host.disk_dir())
    source, target = (os.path.join(directory, name) for name in ("source", "target"))
    mib, largest = 1, options.largest
    zram = host.attach_zram(largest * MIB) if host.is_root() else None
    if zram:
        target = zram
    elif largest > int(host.free_bytes(directory) * 0.8) // MIB:
        largest = int(host.free_bytes(directory) * 0.8) // MIB
        host.note(f"the disk has room for {largest} MiB")
    while mib <= largest:
        with open(source, "wb") as file:
            file.truncate(mib * MIB)

        def prepare():
            host.uncache(source)
            if zram:
                return
            # What writing new space costs is the file system's business: write it before.
            if not os.path.exists(target) or os.path.getsize(target) < mib * MIB:
                Run(f"fallocate -l {mib * MIB} {target}")
            if mib < 4096:
                Run(f"dd if=/dev/zero of={target} bs=1M count={mib} oflag=direct conv=notrunc")
        likely = mib / 1000
        series.add(mib, mib * MIB / 1e6, f"{programs.kcopy} copy --sparse never {source} {target}",
                   prepare, likely)
        mib *= 4
    if zram:
        host.detach_zram(zram)
    host.remove_directory(directory)
    return PANELS["size"](series.points)


def _destinations(series, _options, programs):
    directory, total = host.directory(host.disk_dir()), 256 * MIB
    for count in (1, 2, 4, 8, 16, 32, 64):
        size = total // count
        paths = [os.path.join(directory, f"d{index}") for index in range(count + 1)]
        for seed, path in enumerate(paths):
            Run(f"{programs.reference} fill {path} {size} {seed + 1}")
        command = f"{programs.kcopy} copy {' '.join(paths)}"
        series.add(count, total / 1e6, command, lambda: host.uncache(paths[0]))
        for path in paths:
            os.unlink(path)
    host.remove_directory(directory)
    return PANELS["destinations"](series.points)


def _jobs(series, _options, programs):
    directory, count = host.directory(host.disk_dir()), 100_000
    data = os.path.join(directory, "data")
    Run(f"{programs.reference} fill {data} {1024 * MIB} 1")
    for queued in (1, 10, 100, 1000, 10_000, 100_000):
        jobs = min(count, 2_000 * queued)
        series.add(queued, jobs, f"{programs.queued} {data} {jobs} {queued}",
                   lambda: host.uncache(data), jobs / 30_000)
    host.remove_directory(directory)
    return PANELS["jobs"](series.points)


def _binary(mib):
    return f"{mib} M" if mib < 1024 else f"{mib // 1024} G"


PANELS = {
    "size": lambda points: svg.Panel("one copy, by size", "size", "MB/s", points, _binary),
    "destinations": lambda points: svg.Panel("256 MiB written in all, by destinations",
                                             "destinations", "MB/s written", points, str),
    "jobs": lambda points: svg.Panel("random 4 KiB jobs, by queued jobs", "jobs queued", "jobs/s",
                                     points, lambda value: f"{value:,}"),
}
