"""Turns: ours and fio on the same members, round after round; bounds, ratios and goals."""
import os
import random
import re
import statistics
import time
from dataclasses import dataclass, field

from . import host

_random = random.Random(os.urandom(8))


class Setting:
    """What a suite needs to know to make its cases."""

    def __init__(self, options, reshape, place, budget):
        self.options, self.reshape, self.place, self.budget = options, reshape, place, budget
        self.quick = options.quick

    def size(self, usual, quick):
        return (self.options.size or (quick if self.quick else usual)) * host.MIB

    def wants(self, key):
        return re.search(self.options.only, key) and self.budget.left() > 0


@dataclass
class Goal:
    """`reached(result)` should be at least (or at most) `want`."""
    what: str
    want: float
    reached: object
    at_most: bool = False


@dataclass
class Case:
    """Contenders are functions that do the work once and return its seconds."""
    key: str
    title: str
    amount: int
    contenders: dict
    rounds: int
    share: float
    # From {contender: seconds} of one round to {name: seconds}: what cannot be beaten.
    bounds: object = None
    goals: list = field(default_factory=list)
    # What else is to be said, by name; filled while it is measured.
    remarks: dict = field(default_factory=dict)


@dataclass
class Result:
    case: Case
    # One dictionary per round: contender or bound -> seconds.
    rounds: list = field(default_factory=list)
    load: float = 0.0

    def names(self):
        return list(self.rounds[0]) if self.rounds else []

    def seconds(self, name):
        return statistics.median(r[name] for r in self.rounds)

    def ratio(self, name, other):
        """How many times as fast as the other: the median over the rounds."""
        return statistics.median(r[other] / r[name] for r in self.rounds)

    def spread(self, name):
        times = [r[name] for r in self.rounds]
        return (max(times) - min(times)) / self.seconds(name)

    def verdicts(self):
        for goal in self.case.goals:
            reached = goal.reached(self)
            good = reached <= goal.want if goal.at_most else reached >= goal.want
            yield goal, reached, "PASS" if good else "MISS"

    def missed(self):
        return sum(verdict == "MISS" for _, _, verdict in self.verdicts()) if self.rounds else 0

    def facts(self):
        """For JSON."""
        return {"case": self.case.key, "bytes": self.case.amount, "load": self.load,
                "rounds": self.rounds, "remarks": self.case.remarks,
                "goals": [{"what": goal.what, "want": goal.want, "reached": round(reached, 3),
                           "verdict": verdict} for goal, reached, verdict in self.verdicts()]}


def of(name, other):
    return lambda result: result.ratio(name, other)


def measure(case, budget):
    """Rounds until all are done or the share of the time is spent; one at least."""
    result, end, longest = Result(case), time.monotonic() + min(case.share, budget.left()), 0.0
    for number in range(case.rounds):
        if number and time.monotonic() + longest > end:
            break
        start, times = time.monotonic(), {}
        for name in _random.sample(list(case.contenders), len(case.contenders)):
            times[name] = case.contenders[name]()
        ordered = {name: times[name] for name in case.contenders}
        ordered.update(case.bounds(times) if case.bounds else {})
        result.rounds.append(ordered)
        longest = max(longest, time.monotonic() - start)
    result.load = round(host.load(), 1)
    return result


def show(result):
    case = result.case
    print(f"\n## {case.title} (rounds {len(result.rounds)}, load {result.load})")
    print(f"{'':34} {'MB/s':>7} {'ms':>7} {'spread':>7}")
    for name in result.names():
        seconds = result.seconds(name)
        print(f"{name:34} {case.amount / seconds / 1e6:>7.0f} {seconds * 1e3:>7.0f}"
              f" {result.spread(name):>7.0%}")
    for what, value in case.remarks.items():
        print(f"  {what}: {value}")
    for goal, reached, verdict in result.verdicts():
        sign = "<=" if goal.at_most else ">="
        print(f"  {case.key:22} {goal.what:36} {sign} {goal.want:<5} {reached:>7.2f}  {verdict}",
              flush=True)
