"""Timed runs of one command, and fio."""
import json
import os
import signal
import subprocess
import threading
import time

from . import host


class Run:
    """One shell command: wall time, processor time of its processes and of the whole machine
    (which counts kernel threads too, and everybody else), largest resident set, output."""

    def __init__(self, command, limit=60):
        busy, start = host.busy_seconds(), time.monotonic()
        process = subprocess.Popen(["bash", "-c", command], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        host.processes.add(process.pid)
        self.timed_out = False
        timer = threading.Timer(limit, self._end, [process.pid])
        timer.start()
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        self.wall = time.monotonic() - start
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        host.processes.discard(process.pid)
        self.cpu = usage.ru_utime + usage.ru_stime
        self.machine_cpu = host.busy_seconds() - busy
        self.resident_kib = usage.ru_maxrss
        self.code, self.output = process.returncode, output.decode(errors="replace")

    def _end(self, group):
        self.timed_out = True
        os.killpg(group, signal.SIGKILL)

    def complaint(self):
        """Why it does not count; None if it does."""
        if self.timed_out:
            return "took too long"
        if self.code:
            return f"failed ({self.code}): {self.output.strip()[-200:]}"
        return None


# The best that fio does here: one thread per job, memory and files registered.
FIO = ("fio --ioengine=io_uring --direct=1 --thread --fixedbufs=1 --registerfiles=1"
       " --norandommap=1 --randrepeat=0 --output-format=json")


class Fio:
    """One run of fio with these jobs (option strings)."""

    def __init__(self, *jobs, limit=60):
        options = "".join(f" --name=job{index} {job}" for index, job in enumerate(jobs))
        run = Run(FIO + options, limit)
        start, end = run.output.find("{"), run.output.rfind("}")
        if run.complaint() or start < 0:
            raise RuntimeError("fio " + (run.complaint() or "said nothing"))
        self.jobs = json.loads(run.output[start:end + 1])["jobs"]
        self.cpu, self.machine_cpu = run.cpu, run.machine_cpu

    def seconds(self):
        """Of the longest job."""
        return max(max(job["read"]["runtime"], job["write"]["runtime"]) for job in self.jobs) / 1e3

    def operations_per_second(self):
        return sum(job["read"]["iops"] + job["write"]["iops"] for job in self.jobs)
