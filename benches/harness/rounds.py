"""Competitors in turns: the heart of the harness."""
import os
import random
import re
import statistics
import time
from dataclasses import dataclass, field

from . import host, place
from .run import Run

OURS, PEER, CEILING = "ours", "peer", "ceiling"
random_source = random.Random(os.urandom(8))


@dataclass
class Competitor:
    """Somebody who does the work: a shell command, or a function that gives a Sample."""
    name: str
    role: str
    command: str = ""
    measure: object = None
    # What it leaves in the page cache is written within its time.
    sync: bool = False
    # It starts without the destination files.
    fresh: bool = False


@dataclass
class Sample:
    """One run: wall seconds, processor seconds of the process and of the machine."""
    wall: float
    cpu: float
    machine_cpu: float


@dataclass
class Case:
    """One piece of work at one place.

    `key` names it for the goals; `amount` over the wall time is the figure, in `unit`;
    `samples` is what is looked at afterwards (None: random blocks, the same offset on both)."""
    key: str
    title: str
    unit: str
    amount: float
    place: place.Place
    destinations: list
    competitors: list
    rounds: int
    share: float
    samples: list = None
    cached: bool = False
    refill: bool = False
    jobs: int = 0


@dataclass
class Result:
    """Samples per competitor, one per round (None: it did not run)."""
    case: Case
    runs: dict = field(default_factory=dict)
    load: float = 0.0

    def role(self, name):
        return next(c.role for c in self.case.competitors if c.name == name)

    def names(self, *roles):
        return [name for name in self.runs if self.role(name) in roles and self.median(name)]

    def median(self, name):
        walls = [sample.wall for sample in self.runs.get(name, []) if sample]
        return statistics.median(walls) if walls else None

    def fastest(self, *roles, matching=""):
        names = [name for name in self.names(*roles) if re.search(matching, name)]
        return min(names, key=self.median, default=None)

    def ratio(self, name, other):
        """How many times as fast as the other: the median over the rounds that both ran."""
        pairs = zip(self.runs.get(name, []), self.runs.get(other, []))
        ratios = [theirs.wall / mine.wall for mine, theirs in pairs if mine and theirs]
        return statistics.median(ratios) if ratios else None

    def row(self, name):
        samples = [sample for sample in self.runs[name] if sample]
        walls = [sample.wall for sample in samples]
        median = statistics.median(walls)
        best, ceiling = self.fastest(PEER), self.fastest(CEILING)
        cpu = statistics.median(sample.cpu for sample in samples)
        return {"case": self.case.key, "name": name, "unit": self.case.unit,
                "rate": round(self.case.amount / median),
                "best": round(self.case.amount / min(walls)), "runs": len(walls),
                "spread": round((max(walls) - min(walls)) / median, 3),
                "to_best_peer": _rounded(self.ratio(name, best)),
                "to_ceiling": _rounded(self.ratio(name, ceiling)),
                "cpu_seconds": round(cpu, 3),
                "machine_cpu_seconds":
                    round(statistics.median(sample.machine_cpu for sample in samples), 3),
                "cpu_us_per_job": round(cpu / self.case.jobs * 1e6, 2) if self.case.jobs else None,
                "load": round(self.load, 2)}


def _rounded(ratio):
    return ratio and round(ratio, 3)


def measure(case, budget, only=""):
    """Rounds until all are done or the case's share of the time is spent."""
    competitors = [c for c in case.competitors if re.search(only, c.name) or c.role == OURS]
    result = Result(case, {c.name: [] for c in competitors})
    end = time.monotonic() + min(case.share, budget.left())
    longest, failed = 0.0, {}
    for number in range(case.rounds):
        if number and time.monotonic() + longest > end:
            break
        start = time.monotonic()
        for competitor in random_source.sample(competitors, len(competitors)):
            # Even the first round does not run over, but ours and the ceiling always run once.
            late = time.monotonic() > end + 5 and competitor.role == PEER
            sample = None
            if competitor.name not in failed and not late:
                try:
                    sample = _once(case, competitor)
                except RuntimeError as error:
                    failed[competitor.name] = error
            result.runs[competitor.name].append(sample)
        longest = max(longest, time.monotonic() - start)
    for name, error in failed.items():
        host.note(f"{case.title}: {name}: {error}")
    result.load = host.load()
    return result


def _once(case, competitor):
    here = case.place
    here.intact()
    samples = case.samples or _random_samples(here.size)
    _set_up(case, competitor, samples)
    if competitor.measure:
        return competitor.measure()
    command = competitor.command
    if competitor.sync:
        command += " && sync --data " + " ".join(case.destinations)
    run = Run(command)
    if not here.intact():
        return None
    if run.complaint():
        raise RuntimeError(run.complaint())
    if not place.is_copied(here.source, case.destinations, samples):
        raise RuntimeError("WRONG DATA")
    return Sample(run.wall, run.cpu, run.machine_cpu)


def _random_samples(size):
    blocks = size // 4096
    chosen = {0, blocks - 1, *(random_source.randrange(blocks) for _ in range(24))}
    return [(block * 4096, block * 4096, 4096) for block in sorted(chosen)]


def _set_up(case, competitor, samples):
    here = case.place
    if case.refill:
        for destination in case.destinations:
            here.fill(destination, random_source.randrange(1 << 30))
    if competitor.fresh:
        for destination in filter(os.path.exists, case.destinations):
            os.unlink(destination)
    elif not competitor.measure:
        place.poison(case.destinations, [to for _, to, _ in samples])
    for path in filter(os.path.exists, {here.source, *case.destinations}):
        if case.cached:
            host.cache(path)
        else:
            host.uncache(path)
