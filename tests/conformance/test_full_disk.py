"""Promise: a server that can't write its log any more goes on serving, and drains."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from digitserve import Client

from tests.conformance.conftest import Proof
from tests.e2e.conftest import Reference
from tests.mnist import Digits
from tests.server_process import start_process

BLANK = np.zeros((28, 28), np.uint8)


def find_port() -> int:
    """One that is free now: the server can't tell which one it takes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def open_full_disk() -> Iterator[int]:
    """Every write fails with ENOSPC."""
    with open("/dev/full", "w") as full:
        yield full.fileno()


@contextmanager
def open_closed_pipe() -> Iterator[int]:
    """Every write fails with EPIPE: whoever kept the log has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("open_log", [open_full_disk, open_closed_pipe])
def test_full_disk(
    models_folder: Path, mnist_test: Digits, reference: Reference, proof: Proof, open_log: object, log_format: str
) -> None:
    port = find_port()
    flags = ("--models", str(models_folder), "--port", str(port), "--log-level", "debug", "--log-format", log_format)
    with open_log() as log:  # type: ignore[operator]
        process = start_process(*flags, log=log)
        try:
            with Client(f"127.0.0.1:{port}", timeout_s=60) as client:
                wait_until_serving(port, process)
                labels = client.recognize_batch(mnist_test.images[:1000]).labels
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
    assert labels == reference.labels[:1000]
    if log_format == "json":
        kind = "a full disk" if open_log is open_full_disk else "a pipe that nobody reads"
        proof(f"The log goes to {kind}: it serves on, and drains", f"{len(labels):,} right answers, exit status 0")


def wait_until_serving(port: int, process: subprocess.Popen[str]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
    assert process.poll() is None
