"""Arrays at rest: exported, checked, rebuilt, examined."""
import os

from .host import MIB
from .members import Members, fio_seconds
from .run import Run
from .turns import Case, Goal, measure, of

DISKS, CHUNK = 5, 64
OURS, FIO = "reshape", "fio"


def cases(setting):
    size = setting.size(256, 64)
    for level in (5, 6):
        if not any(setting.wants(f"{what}-raid{level}{more}") for what, more in
                   (("export", ""), ("export", "-degraded"), ("check", ""), ("rebuild", ""))):
            continue
        members = Members(setting, DISKS, size)
        members.make(level, DISKS, CHUNK)
        yield from _exports(setting, members, level)
        yield from _check_and_rebuild(setting, members, level)
        members.close()
    yield from _examine(setting)


def _timed(members, command, limit=120):
    """Seconds of a command of ours, from its start to its end, with nothing in the page cache."""
    members.cold()
    run = Run(command, limit)
    if run.complaint():
        raise SystemExit(f"arrays: {command}: {run.complaint()}")
    return run.wall


def _rounds(setting, usual=7):
    return setting.options.rounds or (1 if setting.quick else usual)


def _case(setting, key, title, amount, contenders, goal):
    what, want = goal
    return Case(f"{key} {setting.place}", f"{title}, {setting.place}", amount, contenders,
                _rounds(setting), setting.budget.left() / 3,
                goals=[Goal(what, want, of(OURS, FIO))])


def _exports(setting, members, level):
    """To a pipe that is thrown away: what is measured is reading the members."""
    for missing, key in ((0, f"export-raid{level}"), (level - 4, f"export-raid{level}-degraded")):
        if not setting.wants(key):
            continue
        content = os.path.getsize(members.content)
        there = members.devices[missing:]

        def ours():
            return _timed(members, f"{members.reshape} export --progress none --to - "
                          f"{setting.options.more} {' '.join(there)} >/dev/null")

        def fio():
            members.cold()
            # Healthy: the data alone; degraded: all that is left, for all of it is needed.
            return fio_seconds(there, [], members.data if missing else content // DISKS, 0)
        if not members.is_whole(there):
            raise SystemExit(f"arrays: {key}: WRONG DATA")
        want = 0.7 if missing else 0.9
        title = f"export RAID{level} of {DISKS} members" + (f" without {missing}" if missing else "")
        yield measure(_case(setting, key, title, content, {OURS: ours, FIO: fio},
                            ("of fio reading at once", want)), setting.budget)


def _check_and_rebuild(setting, members, level):
    size = members.data

    def check():
        return _timed(members, f"{members.reshape} check --progress none "
                      f"{setting.options.more} {' '.join(members.devices)}")

    def read():
        members.cold()
        return fio_seconds(members.devices, [], size, 0)
    if setting.wants(f"check-raid{level}"):
        yield measure(_case(setting, f"check-raid{level}",
                            f"check RAID{level} of {DISKS} members (bytes of all members)",
                            size * DISKS, {OURS: check, FIO: read},
                            ("of fio reading all at once", 0.8)), setting.budget)
    if setting.wants(f"rebuild-raid{level}"):
        yield _rebuild(setting, members, level, size)


def _rebuild(setting, members, level, size):
    rest, new = members.devices[1:], members.devices[0]

    def rebuild():
        members.empty(new)
        seconds = _timed(members, f"{members.reshape} rebuild --yes --progress none "
                         f"{setting.options.more} --add {new} {' '.join(rest)}")
        # What was computed has to be what was there: without another member, too.
        if not members.is_whole([new, *rest[1:]]):
            raise SystemExit("arrays: rebuild: WRONG DATA")
        return seconds

    def fio():
        members.cold()
        # Written to the member that is written anew anyway.
        return fio_seconds(rest, [new], size, size)
    return measure(_case(setting, f"rebuild-raid{level}",
                         f"rebuild a member of RAID{level} (bytes written)", size,
                         {OURS: rebuild, FIO: fio},
                         ("of fio reading the rest, writing one", 0.8)), setting.budget)


def _examine(setting):
    key = "examine-24"
    if not setting.wants(key):
        return
    members = Members(setting, 24, 2 * MIB)
    members.make(6, 24, CHUNK)

    def ours():
        return _timed(members, f"{members.reshape} examine {' '.join(members.devices)}")
    case = Case(f"{key} {setting.place}", f"examine 24 members, {setting.place}", 24 * 4096,
                {OURS: ours}, _rounds(setting, 15), setting.budget.left() / 4,
                goals=[Goal("ms", 50, lambda result: result.seconds(OURS) * 1e3, at_most=True)])
    yield measure(case, setting.budget)
    members.close()
