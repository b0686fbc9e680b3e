"""What is measured: each suite turns a place into cases."""
import os

from . import host, peers
from .host import MIB
from .place import Place
from .rounds import Case, measure, random_source

PLACES = ("ext4", "loop-ext4", "loop-tmpfs")
# Of a job of fio; it has two, one that reads and one that writes, so as many copies have as many
# operations on their way.
DEPTH = 64
COPIES = 2 * DEPTH


class Setting:
    """What a suite needs to know to make its cases."""

    def __init__(self, options, programs, here, share):
        self.quick, self.options, self.programs = options.quick, options, programs
        self.here, self.share = here, share

    def rounds(self, usual):
        return self.options.rounds or (1 if self.quick else usual)

    def case(self, key, title, **more):
        size = self.here.size
        values = dict(unit="MB/s", amount=size / 1e6, destinations=self.here.destinations,
                      rounds=self.rounds(7), share=self.share)
        values.update(more)
        title = f"{title}, {size // MIB} MiB, {self.here.kind}"
        return Case(f"{key} {self.here.kind}", title, place=self.here, **values)


def bulk(setting, cached=False):
    here, programs = setting.here, setting.programs
    target = here.destinations[0]
    competitors = [*peers.copy_ceilings(programs, here, [target]),
                   peers.ours(programs, f"copy {here.source} {target}"),
                   *peers.single_copiers(here, target, setting.quick)]
    key, how = ("cached", "cached") if cached else ("bulk", "cold")
    yield setting.case(key, f"copy 1 -> 1, {how}", competitors=competitors, cached=cached)


def cached(setting):
    return bulk(setting, cached=True)


def multi(setting):
    here, programs = setting.here, setting.programs
    for count in (2, 3):
        targets = here.destinations[:count]
        competitors = [*peers.copy_ceilings(programs, here, targets),
                       peers.ours(programs, f"copy {here.source} {' '.join(targets)}"),
                       *peers.multiple_copiers(here, targets, setting.quick)]
        yield setting.case(f"multi-{count}", f"copy 1 -> {count}", destinations=targets,
                           competitors=competitors, share=setting.share / 2)


def _write_list(here, jobs):
    path = os.path.join(here.directory, "jobs")
    with open(path, "w") as file:
        file.writelines(f"{start} {to} {length}\n" for start, to, length in jobs)
    return path


def _jobs_command(list_path, block, device, more=""):
    return (f"jobs --list {list_path} --block-size {block} --depth {COPIES} {more}"
            f"{device} {device}")


def _random_jobs(here, block, count):
    half = here.size // 2
    count = min(count, half // block)
    sources = random_source.sample(range(half // block), count)
    targets = random_source.sample(range(half // block), count)
    return [(s * block, half + t * block, block) for s, t in zip(sources, targets)]


def jobs(setting):
    here, programs = setting.here, setting.programs
    for block, usual in ((4096, 60_000), (65536, 8_000)):
        wanted = _random_jobs(here, block, usual // 4 if setting.quick else usual)
        path, device = _write_list(here, wanted), here.source
        competitors = [
            *peers.job_ceilings(programs, device, block, DEPTH, len(wanted), here.size // 2,
                                setting.quick),
            *peers.job_peers(programs, device, block, (DEPTH, COPIES), path, setting.quick),
            peers.ours(programs, _jobs_command(path, block, device))]
        yield setting.case(f"jobs-{block // 1024}k", f"random {block // 1024} KiB jobs",
                           unit="jobs/s", amount=len(wanted), jobs=len(wanted),
                           destinations=[device], competitors=competitors,
                           samples=random_source.sample(wanted, 40), share=setting.share / 3)
    yield _adjacent(setting)


def _adjacent(setting):
    """The first half copied to the second, as 4 KiB jobs in order and as one piece of work."""
    here, programs = setting.here, setting.programs
    half, block, device = here.size // 2, 4096, here.source
    wanted = [(at, half + at, block) for at in range(0, half, block)]
    path = _write_list(here, wanted)
    large = [(at, half + at, MIB) for at in range(0, half, MIB)]
    large_path = os.path.join(here.directory, "jobs-large")
    with open(large_path, "w") as file:
        file.writelines(f"{start} {to} {length}\n" for start, to, length in large)
    competitors = [
        peers.ours(programs, _jobs_command(path, block, device), "kcopy 4 KiB jobs in order"),
        peers.ours(programs, _jobs_command(large_path, MIB, device), "kcopy 1 MiB jobs in order")]
    return setting.case("adjacent", "adjacent jobs", amount=half / 1e6, destinations=[device],
                        competitors=competitors, samples=random_source.sample(wanted, 40),
                        share=setting.share / 3)


def zero(setting):
    here, programs = setting.here, setting.programs
    target = here.destinations[0]
    competitors = [peers.ours(programs, f"zero {target}"),
                   *peers.zero_peers(programs, here, target)]
    offsets = [random_source.randrange(here.size // 4096) * 4096 for _ in range(24)]
    yield setting.case("zero", "zero", competitors=competitors, refill=True,
                       samples=[(None, offset, 4096) for offset in offsets],
                       rounds=setting.rounds(5))


def threads(setting):
    """Both backends of ours, on large and on small jobs."""
    here, programs = setting.here, setting.programs
    target, device = here.destinations[0], here.source
    large = [peers.ours(programs, f"copy --backend {backend} {device} {target}", backend)
             for backend in ("io-uring", "threads")]
    yield setting.case("threads-bulk", "backends, copy 1 -> 1", competitors=large,
                       share=setting.share / 2)
    wanted = _random_jobs(here, 4096, 10_000 if setting.quick else 40_000)
    path = _write_list(here, wanted)
    small = [peers.ours(programs, _jobs_command(path, 4096, device, f"--backend {backend} "),
                        backend) for backend in ("io-uring", "threads")]
    yield setting.case("threads-jobs", "backends, random 4 KiB jobs", unit="jobs/s",
                       amount=len(wanted), jobs=len(wanted), destinations=[device],
                       competitors=small, samples=random_source.sample(wanted, 40),
                       share=setting.share / 2)


def verify(setting):
    here, programs = setting.here, setting.programs
    target = here.destinations[0]
    competitors = [peers.ours(programs, f"copy {here.source} {target}", "kcopy"),
                   peers.ours(programs, f"copy --verify {here.source} {target}", "kcopy --verify"),
                   *peers.verify_ceiling(target, here.size)]
    yield setting.case("verify", "copy and verify", competitors=competitors)


# Suite: (its cases, weight in the time, size in MiB, the same when quick, destinations, places)
SUITES = {
    "bulk": (bulk, 3, 2048, 256, 1, PLACES),
    "cached": (cached, 1, 1024, 256, 1, ("ext4",)),
    "multi": (multi, 3, 1024, 128, 3, PLACES),
    "jobs": (jobs, 2, 1024, 256, 0, PLACES),
    "zero": (zero, 1, 512, 128, 1, PLACES),
    "threads": (threads, 1, 1024, 128, 1, ("ext4", "loop-tmpfs")),
    "verify": (verify, 1, 1024, 128, 1, ("ext4",)),
}


def run(options, programs, budget, out):
    """All suites that were asked for, at all places where they make sense."""
    places = options.place.split(",")
    if not host.is_root():
        host.note("not root: no loop devices, files only")
        places = [name for name in places if not name.startswith("loop")]
    work = [(name, kind) for name in options.suite.split(",") for kind in places
            if kind in SUITES[name][5]]
    results = {}
    for index, (name, kind) in enumerate(work):
        rest = sum(SUITES[other][1] for other, _ in work[index:])
        make, weight, usual, quick, destinations, _ = SUITES[name]
        share = budget.left() * weight / rest
        if share < 2:
            host.note(f"no time left for {name} on {kind}")
            continue
        size = (options.size or (quick if options.quick else usual)) * MIB
        here = Place(kind, size, destinations, programs.reference)
        try:
            for case in make(Setting(options, programs, here, share)):
                result = measure(case, budget, options.only)
                results[case.key] = result
                out.result(result)
        finally:
            here.close()
    return results
