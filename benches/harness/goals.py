"""The goals, and what was reached. Measurements never decide whether a test passes."""
from dataclasses import dataclass

from .rounds import CEILING, PEER

DISKS = ("ext4", "loop-ext4")
MEMORY = ("loop-tmpfs",)


@dataclass
class Goal:
    """At the case `key`, `reached(result)` should be at least (or at most) `want`."""
    key: str
    what: str
    want: float
    reached: object
    at_most: bool = False


def _to(*roles, matching="", name="kcopy"):
    """How many times as fast as the fastest of these."""
    return lambda result: result.ratio(name, result.fastest(*roles, matching=matching))


def _cpu_per_job(result):
    return result.row("kcopy")["cpu_us_per_job"] if result.median("kcopy") else None


def _cpu_per_gigabyte(result):
    if not result.median("kcopy"):
        return None
    return result.row("kcopy")["cpu_seconds"] / (result.case.place.size / 1e9)


def _pair(name, other):
    return lambda result: result.ratio(name, other)


def _verify_rate(result):
    """The rate of the verifying pass alone, against fio reading."""
    both, copy, read = map(result.median, ("kcopy --verify", "kcopy", "fio read"))
    return read / (both - copy) if both and copy and read and both > copy else None


def _at(places, key, *goals):
    return [Goal(f"{key} {place}", *goal) for place in places for goal in goals]


def _all():
    peer, ceiling = "x best peer", "x ceiling"
    zeroing = "x blkdiscard -z, fallocate -z"
    return [
        *_at(DISKS, "bulk", (peer, 1.35, _to(PEER)), (ceiling, 0.98, _to(CEILING)),
             ("cpu s/GB", 0.03, _cpu_per_gigabyte, True)),
        *_at(MEMORY, "bulk", (peer, 1.05, _to(PEER)), (ceiling, 0.98, _to(CEILING))),
        *_at(("ext4",), "cached", ("x nbdcopy", 1.0, _to(PEER, matching="^nbdcopy")),
             ("x nbdcopy, aim", 1.4, _to(PEER, matching="^nbdcopy")),
             (ceiling, 1.0, _to(CEILING))),
        *_at(DISKS, "multi-2", (peer, 2.1, _to(PEER)), (ceiling, 0.98, _to(CEILING))),
        *_at(MEMORY, "multi-2", (peer, 1.3, _to(PEER)), (ceiling, 0.98, _to(CEILING))),
        *_at(DISKS, "multi-3", (peer, 2.8, _to(PEER)), (ceiling, 0.98, _to(CEILING))),
        *_at(MEMORY, "multi-3", (peer, 1.8, _to(PEER)), (ceiling, 0.98, _to(CEILING))),
        *_at(DISKS, "jobs-4k", ("x fio", 0.95, _to(CEILING, matching="fio")),
             ("x 64 threads", 1.05, _to(PEER, matching="x 64")),
             ("x 1 thread", 8.0, _to(PEER, matching="x 1$")),
             ("cpu us/job", 3.0, _cpu_per_job, True)),
        *_at(MEMORY, "jobs-4k", ("x fio", 1.0, _to(CEILING, matching="fio")),
             ("x 64 threads", 1.45, _to(PEER, matching="x 64")),
             ("cpu us/job", 2.0, _cpu_per_job, True)),
        *_at(DISKS, "jobs-64k", ("x fio", 1.4, _to(CEILING, matching="fio")),
             ("x reference", 1.0, _to(CEILING, matching="reference"))),
        *_at((*DISKS, *MEMORY), "adjacent",
             ("x 1 MiB jobs", 0.9, _pair("kcopy 4 KiB jobs in order", "kcopy 1 MiB jobs in order"))),
        *_at((*DISKS, *MEMORY), "zero",
             (zeroing, 0.9, _to(PEER, matching="blkdiscard -z|fallocate -z")),
             ("x dd", 1.8, _to(PEER, matching="^dd"))),
        *_at(("ext4", "loop-tmpfs"), "threads-bulk",
             ("x io-uring", 0.85, _pair("threads", "io-uring"))),
        *_at(("ext4", "loop-tmpfs"), "threads-jobs",
             ("x io-uring", 0.55, _pair("threads", "io-uring"))),
        *_at(("ext4",), "verify", ("verifying x fio read", 0.9, _verify_rate)),
    ]


def report(results, out):
    """Prints each goal whose case was measured."""
    print("\n## Goals")
    passed = missed = 0
    for goal in _all():
        if goal.key not in results:
            continue
        reached = goal.reached(results[goal.key])
        if reached is None:
            verdict = "not measured"
        elif (reached <= goal.want) if goal.at_most else (reached >= goal.want):
            verdict, passed = "PASS", passed + 1
        else:
            verdict, missed = "MISS", missed + 1
        sign = "<=" if goal.at_most else ">="
        shown = "" if reached is None else f"{reached:.2f}"
        print(f"{goal.key:24} {goal.what:30} {sign} {goal.want:<5} {shown:>7}  {verdict}")
        out.goal(case=goal.key, what=goal.what, want=goal.want, at_most=goal.at_most,
                 reached=reached, verdict=verdict)
    print(f"{passed} reached, {missed} missed")
