"""Processes under measurement: started, watched through /proc, and always ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from digitserve.bench.settings import BenchError

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
SERVING = re.compile(r"serving on (\S+:\d+)")
CPU_FIELDS = slice(11, 15)  # utime, stime, cutime, cstime of /proc/PID/stat, counted after the name


def python_path() -> dict[str, str]:
    """The environment in which `python -m server` and `python -m benchmarks.echo` find their packages."""
    path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "clients/python"), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


class ServerProcess:
    """A server that says `serving on H:P` on stderr when it serves. To be used in a `with` statement.

    `start_s` is how long that took. Raises BenchError if the process ends instead or takes too long.
    """

    def __init__(self, *command: str) -> None:
        self.command = [sys.executable, "-m", *command]
        self.last_lines: deque[str] = deque(maxlen=20)
        self.address = ""
        self.start_s = 0.0
        self._known = threading.Event()

    def __enter__(self) -> ServerProcess:
        started_s = time.perf_counter()
        self.launch(ROOT, python_path())
        self._known.wait(START_TIMEOUT_S)
        self.start_s = time.perf_counter() - started_s
        if not self.address:
            self.__exit__(None, None, None)
            last = self.last_lines[-1] if self.last_lines else "it said nothing"
            raise BenchError(f"`{' '.join(self.command[1:])}` did not start: {last}")
        keep_to_first_core(self.process.pid)
        return self

    def launch(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Starts the command there, and has its stderr read."""
        self.process = subprocess.Popen(
            self.command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.last_lines.append(line.strip())
            if not self.address and (match := SERVING.search(line)):
                self.address = match[1]
                self._known.set()
        self._known.set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(STOP_TIMEOUT_S)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def cpu_s(self) -> float:
        """Processor seconds that the process and its children have used."""
        ticks = sum(sum(map(int, _stat_fields(pid)[CPU_FIELDS])) for pid in _family(self.process.pid))
        return ticks / os.sysconf("SC_CLK_TCK")

    def cpu_s_of_workers(self) -> list[float]:
        """The same of each of its worker processes by itself."""
        ticks = [sum(map(int, _stat_fields(pid)[CPU_FIELDS])) for pid in _family(self.process.pid)[1:]]
        return [each / os.sysconf("SC_CLK_TCK") for each in ticks]

    def resident_mb(self) -> float:
        """Resident memory of the process and its children, in megabytes of 1,000,000 bytes."""
        return sum(_status_kb(pid, "VmRSS") for pid in _family(self.process.pid)) * 1024 / 1e6


def keep_to_first_core(pid: int) -> None:
    """Moves the threads that keep to a core to the first one. Servers that are compared share it, as each works alone: of the
    cores of a virtual machine, one may be quicker than another by some percent."""
    if not hasattr(os, "sched_setaffinity"):
        return
    first = {min(os.sched_getaffinity(0))}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that has ended meanwhile
            if len(os.sched_getaffinity(int(task.name))) == 1:
                os.sched_setaffinity(int(task.name), first)


def run_for_json(*command: str) -> str:
    """The standard output of a program that is run to its end. Raises BenchError with its last line if it fails."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=python_path(), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise BenchError(f"`python -m {' '.join(command)}` failed: {last}")
    return done.stdout


def busy_cores(seconds: float) -> float:
    """How many cores the whole machine keeps busy while this process waits: what others take from the figures."""
    before, then = _machine_busy_ticks(), time.perf_counter()
    time.sleep(seconds)
    return (_machine_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - then)


def _machine_busy_ticks() -> int:
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return user + nice + system + irq + softirq


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _stat_fields(pid: int) -> Sequence[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _status_kb(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0
