"""A real server, `python -m server`, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from digitserve.v1.recognizer_pb2_grpc import RecognizerStub
from grpc_health.v1.health_pb2_grpc import HealthStub

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
SERVING = re.compile(r"serving on (\S+:\d+)")


class ServerProcess:
    """Serves inside a `with` statement. SIGTERM ends it, and then its exit status must be 0.

    Attributes:
        address: host:port, as its own log names it.
        start_s: from starting the process to the line `serving on H:P`.
    """

    def __init__(self, *flags: str) -> None:
        self.flags = flags
        self.address = ""
        self.start_s = 0.0
        self._lines: list[str] = []
        self._told = threading.Event()
        self._more = threading.Condition()
        self._asked = False
        self._descriptor = -1
        self._channels: list[grpc.Channel] = []

    def __enter__(self) -> Self:
        started_s = time.perf_counter()
        self._process = start_process(*self.flags)
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        self._told.wait(START_TIMEOUT_S)
        self.start_s = time.perf_counter() - started_s
        if not self.address:
            self._kill()
            raise AssertionError(f"the server did not start ({self.start_s:.1f} s):\n{self.stderr}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for channel in self._channels:
            channel.close()
        if not self._asked:
            self.terminate()
        status = self.wait()
        assert status == 0, f"exit status {status} after SIGTERM:\n{self.stderr}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return "".join(self._lines)

    def wait_for_lines(self, text: str, number: int) -> None:
        """Returns once it has said so many lines with that text in them."""
        with self._more:
            told = self._more.wait_for(lambda: self.stderr.count(text) >= number, START_TIMEOUT_S)
        assert told, f"{text!r} was not said {number} times:\n{self.stderr}"

    def connect(self, **options: int) -> grpc.Channel:
        """A channel of its own, closed with the server. Options are gRPC's, with _ for the dots after `grpc`."""
        given = [(f"grpc.{name}", value) for name, value in options.items()]
        limits = [(f"grpc.max_{way}_message_length", MAX_MESSAGE_BYTES) for way in ("send", "receive")]
        channel = grpc.insecure_channel(self.address, [*limits, ("grpc.use_local_subchannel_pool", 1), *given])
        self._channels.append(channel)
        return channel

    def stub(self) -> RecognizerStub:
        return RecognizerStub(self.connect())  # type: ignore[no-untyped-call]

    def health_stub(self) -> HealthStub:
        return HealthStub(self.connect())

    def terminate(self) -> None:
        """SIGTERM: it drains. Nothing happens if it has ended already."""
        self._asked = True
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Its exit status, once it has ended; a server that hangs is killed, and that is a failure."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end in {timeout_s:.0f} s:\n{self.stderr}") from None
        finally:
            self._kill()

    def exit_descriptor(self) -> int:
        """A file descriptor that becomes readable when the process ends. Closed with it."""
        self._descriptor = os.pidfd_open(self.pid)
        return self._descriptor

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._more:
                self._lines.append(line)
                self._more.notify_all()
            if found := SERVING.search(line):
                self.address = found[1]
                self._told.set()
        self._told.set()

    def _kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def start_process(*flags: str, log: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """`python -m server` with these flags and no setting from this environment. `log` is where it says what it does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIGITSERVE_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
    command = [sys.executable, "-m", "server", *flags]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, text=True)


def read_statistics(pid: int) -> tuple[float, float]:
    """(CPU seconds, resident bytes) of a process, from Linux' /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * float(os.sysconf("SC_PAGE_SIZE"))
