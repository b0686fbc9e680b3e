"""Who takes part, and how each is called at its best."""
from .host import MIB, have
from .rounds import CEILING, OURS, PEER, Competitor, Sample
from .run import Fio


def ours(programs, arguments, name="kcopy"):
    return Competitor(name, OURS, f"{programs.kcopy} {arguments}")


def _fio_sample(amount_seconds):
    """A Competitor's `measure` from a function that gives (fio run, seconds)."""
    def measure():
        fio, seconds = amount_seconds()
        return Sample(seconds, fio.cpu, fio.machine_cpu)
    return measure


def copy_ceilings(programs, here, destinations):
    """fio with a reader and a writer per destination, free-running, and the reference pipeline."""
    def fio():
        common = f"--bs=1M --iodepth=4 --size={here.size}"
        writers = [f"--filename={d} --rw=write {common} --end_fsync=1" for d in destinations]
        run = Fio(f"--filename={here.source} --rw=read {common}", *writers)
        return run, run.seconds()
    found = []
    if have("fio"):
        found.append(Competitor("fio read + write", CEILING, measure=_fio_sample(fio)))
    for label, block, depth in (("1M x 4", MIB, 4), ("256K x 16", MIB // 4, 16)):
        command = (f"{programs.reference} copy {block} {depth} {here.size} {here.source} "
                   + " ".join(destinations))
        found.append(Competitor(f"reference {label}", CEILING, command))
    return found


def _dd(source, target, block="1M"):
    return (f"dd if={source} of={target} bs={block} iflag=direct oflag=direct conv=notrunc"
            " status=none")


def _qemu(source, target):
    return f"qemu-img convert -n -W -m 16 -t none -T none -f raw -O raw {source} {target}"


def _qemu_io_uring(here, source, target):
    driver = "host_device" if here.is_block else "file"

    def options(path):
        return (f"driver=raw,file.driver={driver},file.filename={path},"
                "file.aio=io_uring,file.cache.direct=on")
    return ("qemu-img convert -n -W -m 16 -t none -T none --image-opts --target-image-opts "
            f"{options(source)} {options(target)}")


def single_copiers(here, target, quick):
    """Peers that copy one source to one destination."""
    source, buffered = here.source, "conv=notrunc status=none"

    def peer(name, command, program=None, fresh=False):
        found = have(program or command.split()[0])
        return [Competitor(name, PEER, command, sync=True, fresh=fresh)] if found else []
    nbd = "nbdcopy --sparse=0 --no-extents --requests=64 --request-size=1048576"
    found = peer("dd direct 1M", _dd(source, target))
    found += peer("dd direct 4M", _dd(source, target, "4M"))
    found += peer("qemu-img threads", _qemu(source, target))
    found += peer("qemu-img io_uring", _qemu_io_uring(here, source, target))
    found += peer("nbdcopy tuned", f"{nbd} {source} {target}")
    if quick:
        return found
    found += peer("dd buffered 1M", f"dd if={source} of={target} bs=1M {buffered}")
    found += peer("nbdcopy", f"nbdcopy {source} {target}")
    found += peer("ddpt direct", f"ddpt if={source} of={target} bs=512 bpt=2048 iflag=direct "
                  "oflag=direct status=none")
    found += peer("ddrescue direct", f"ddrescue -q -f -d -D -b 4096 -c 256 {source} {target}")
    if not here.is_block:
        whole = dict(fresh=True)
        found += peer("cp", f"cp --reflink=never --sparse=never {source} {target}", **whole)
        found += peer("xcp", f"xcp --no-progress --reflink=never {source} {target}", **whole)
        found += peer("cpz", f"cpz -f {source} {target}", **whole)
        found += peer("fcp", f"fcp {source} {target}", **whole)
    return found


def multiple_copiers(here, targets, quick):
    """Peers that copy one source to several destinations, each in the best way it has."""
    source, fresh = here.source, not here.is_block

    def peer(name, command, program, fresh=False):
        found = have(program)
        return [Competitor(name, PEER, command, sync=True, fresh=fresh)] if found else []
    each_of = " ".join("of=" + target for target in targets)
    at_once = " ".join(_dd(source, target) + " &" for target in targets) + " wait"
    found = peer("dd direct, at once", at_once, "dd")
    found += peer("dd direct, in turn", " && ".join(_dd(source, t) for t in targets), "dd")
    if len(targets) == 2:
        found += peer("ddpt of2", f"ddpt if={source} of={targets[0]} of2={targets[1]} bs=512 "
                      "bpt=2048 iflag=direct oflag=direct status=none", "ddpt")
    if quick:
        return found
    found += peer("dcfldd", f"dcfldd if={source} {each_of} bs=1M status=off conv=notrunc",
                  "dcfldd")
    found += peer("dc3dd", f"dc3dd if={source} {each_of} bufsz=1M", "dc3dd", fresh)
    found += peer("dd | tee", f"dd if={source} bs=1M iflag=direct status=none"
                  f" | tee {' '.join(targets[:-1])} > {targets[-1]}", "tee", fresh)
    found += peer("qemu-img, in turn", " && ".join(_qemu(source, t) for t in targets), "qemu-img")
    return found


def job_ceilings(programs, device, block, depth, jobs, half, quick):
    """fio with random reads and writes in two jobs, free-running; and the reference pipeline."""
    def fio():
        common = f"--bs={block} --iodepth={depth} --time_based --runtime={0.8 if quick else 1.5}"
        place = f"--filename={device} --size={half}"
        run = Fio(f"{place} --rw=randread {common}",
                  f"{place} --offset={half} --rw=randwrite {common}")
        # A copy is a read and a write.
        return run, jobs / (run.operations_per_second() / 2)
    found = []
    if have("fio"):
        found.append(Competitor("fio randread + randwrite", CEILING, measure=_fio_sample(fio)))
    return found


def job_peers(programs, device, block, depths, jobs_file, quick):
    found = []
    for depth in depths:
        reference = f"{programs.reference} jobs {block} {depth} {jobs_file} {device} {device}"
        found.append(Competitor(f"reference x {depth}", CEILING, reference))
    for threads in (64,) if quick else (1, 64):
        command = f"{programs.reference} threads {threads} {jobs_file} {device} {device}"
        found.append(Competitor(f"pread + pwrite x {threads}", PEER, command))
    return found


def zero_peers(programs, here, target):
    reference = f"{programs.reference} zero {MIB} 4 {here.size} {target}"
    found = [Competitor("reference writes", CEILING, reference)]
    dd = f"dd if=/dev/zero of={target} bs=1M count={here.size // MIB} oflag=direct conv=notrunc"
    commands = [("dd zeros, direct", dd + " status=none"),
                ("fallocate -z", f"fallocate -z -l {here.size} {target}")]
    if here.is_block:
        commands.append(("blkdiscard -z", f"blkdiscard -f -z {target}"))
    found += [Competitor(name, PEER, command, sync=True) for name, command in commands
              if have(command.split()[0])]
    return found


def verify_ceiling(target, size):
    def fio():
        run = Fio(f"--filename={target} --rw=read --bs=1M --iodepth=4 --size={size}")
        return run, run.seconds()
    return [Competitor("fio read", CEILING, measure=_fio_sample(fio))] if have("fio") else []
