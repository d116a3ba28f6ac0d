"""What every test may ask for: marks by folder, MNIST, the shipped models, and real server processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.mnist import Digits, find_raw, read_digits
from tests.server_process import ROOT, ServerProcess

TESTS = Path(__file__).parent
KINDS = ("unit", "contract", "e2e", "browser", "conformance")

StartServer = Callable[..., ServerProcess]


settings.register_profile("any machine", deadline=None)  # how long an example takes says more of the machine than of us
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole", action="store_true", help="try the promises of tests/conformance at full size (make conformance)"
    )


def pytest_configure() -> None:
    """Under nohup or in the background of a shell, signals arrive ignored, and whatever a test starts would inherit that.

    A handler is not inherited: here nothing happens still, and the processes get what they get in a terminal.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's folder is its mark, so that nobody has to remember it."""
    for item in items:
        if item.path.is_relative_to(TESTS):
            kind = item.path.relative_to(TESTS).parts[0]
            if kind in KINDS:
                item.add_marker(kind)


@pytest.fixture(scope="session")
def mnist_test() -> Digits:
    """MNIST's test set: 10,000 images and labels."""
    folder = os.environ.get("DIGITSERVE_DATA")
    if not folder:
        pytest.skip("DIGITSERVE_DATA is not set: it names the folder that holds MNIST/raw")
    raw = find_raw(Path(folder))
    if raw is None:
        pytest.skip(f"no MNIST test set in {folder}: expected MNIST/raw/t10k-images-idx3-ubyte, with .gz or without")
    return read_digits(raw)


@pytest.fixture(scope="session")
def models_folder() -> Path:
    """The model repository under test: the one that ships, or the one that the server's own variable names."""
    return Path(os.environ.get("DIGITSERVE_MODELS", ROOT / "models"))


@pytest.fixture(scope="session")
def start_server(models_folder: Path) -> Iterator[StartServer]:
    """Starts a server of its own with further flags. It must have drained with status 0 at the latest by the session's end."""
    started: list[ServerProcess] = []
    with ExitStack() as stack:

        def start(*flags: str, models: Path = models_folder) -> ServerProcess:
            started.append(stack.enter_context(ServerProcess("--port", "0", "--models", str(models), *flags)))
            return started[-1]

        yield start
        for server in started:  # all of them drain at the same time
            server.terminate()


@pytest.fixture(scope="session")
def server(start_server: StartServer) -> ServerProcess:
    """One server with default settings, shared by all tests that leave it as they found it."""
    return start_server()
