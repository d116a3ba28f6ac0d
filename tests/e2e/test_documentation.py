"""What the documentation shows is true: its commands and examples run, its links lead somewhere, its error texts exist.

A block marked `sh` is run line by line, a block marked `python` as a whole, both against a real server. In an example,
`print(...)  # 7` promises the output; `# such as 7` promises one line of any text, `# 7, then 8` two lines. A block marked
`toml` is a file of settings that the server takes. `text` is not run.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from digitserve import Client, MessageTooLarge

from server.config import Settings, read_settings
from tests.server_process import ROOT, SERVING, ServerProcess
from tests.unit.train.printed import printed_dataset, write_data_folder

DOCS = [page for folder in ("docs", "docs/models") for page in sorted((ROOT / folder).glob("*.md"))]
PAGES = [ROOT / "README.md", ROOT / "clients/python/README.md", *DOCS]
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
TOPS = ("server", "deploy", "train", "export", "benchmarks", "clients")
SOURCES = sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py") if "node_modules" not in path.parts)
BIN = Path(sys.executable).parent
TIMEOUT_S = 120.0
INSTALLED = {"digitserve", "google", "grpc", "numpy", "PIL", "tritonclient"}  # by the extra `serve`, as far as examples use it

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISE = re.compile(r"print\(.*\)  # (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

# Settings that make a command that is shown small enough for a test; {} is the test's own folder.
SMALL = {
    "train": "--epochs 1 --limit 512",
    "export": "--models {}/models --variants fp32",
    "bench": "--quick --only start lone --models {0}/served --output {0}/results.json",
    "digitserve bench": "--duration 0.3 --warmup 0.1",
    "server.labels": "--models {}/labelled",
}


class Block(NamedTuple):
    """A fenced block, or a line of one."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 2, found[1], found[2])


def split_lines(block: Block) -> Iterator[Block]:
    for offset, line in enumerate(block.text.splitlines()):
        if line.strip() and not line.startswith("#"):
            yield block._replace(line=block.line + offset, text=line.strip())


BLOCKS = [block for page in PAGES for block in read_blocks(page)]
EXAMPLES = [block for block in BLOCKS if block.kind == "python"]
COMMANDS = [line for block in BLOCKS if block.kind == "sh" for line in split_lines(block)]
SERVERS = [line for line in COMMANDS if re.search(r"^make run| -m server( |$)", line.text)]
TRAININGS = [line for line in COMMANDS if line.text.startswith(("make train", "make export"))]
INSTALLS = [line for line in COMMANDS if " -m pip " in line.text]
OTHERS = [line for line in COMMANDS if line not in [*SERVERS, *TRAININGS, *INSTALLS]]


def words_of(command: str, folder: Path, more: str = "") -> list[str]:
    """The command as it is run here: by this interpreter, without installing anything, small, with files in `folder`."""
    words = [_run_here(word.replace("runs/mine", f"{folder}/run")) for word in shlex.split(command)]
    if words[0] != "make":
        small = next((SMALL[name] for name in ("digitserve bench", "server.labels") if name in command), "")
        return [part for word in words for part in shlex.split(word)] + shlex.split(f"{small.format(folder)} {more}")
    target, *arguments = words[1:]
    given = " ".join(arguments).removeprefix("ARGS=")
    wanted = f"ARGS={given} {SMALL.get(target, '').format(folder)} {more}"
    return ["make", f"BIN={BIN}", "-o", ".venv/.serve", "-o", ".venv/.all", target, wanted]


def _run_here(word: str) -> str:
    if not word.startswith(".venv/bin/"):
        return word
    program = BIN / word.removeprefix(".venv/bin/")
    return str(program) if program.exists() else f"{sys.executable} -m {program.name}"


@pytest.fixture(scope="module")
def environment(server: ServerProcess, models_folder: Path, folder: Path) -> dict[str, str]:
    """Where the packages, the server and its models are; what is cached stays in the test's folder."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "clients/python")])
    places = {"DIGITSERVE_SERVER": server.address, "DIGITSERVE_MODELS": str(models_folder), "XDG_CACHE_HOME": str(folder)}
    places |= {"DIGITSERVE_PAGE_PORT": "0", "DIGITSERVE_ADMIN_PORT": "0"}
    return os.environ | places | {"PYTHONPATH": path}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, models_folder: Path) -> Path:
    made = tmp_path_factory.mktemp("documentation")
    (made / "served").symlink_to(models_folder.absolute())
    shutil.copytree(models_folder / "digits", made / "labelled" / "digits")
    return made


def run(words: list[str], environment: dict[str, str]) -> str:
    """Standard output of a command that must end with status 0 and say nothing of a traceback."""
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{shlex.join(words)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


def test_every_block_says_what_it_is() -> None:
    kinds = {str(block): block.kind for block in BLOCKS}
    assert {block: kind for block, kind in kinds.items() if kind not in {"sh", "python", "toml", "text"}} == {}
    assert len(EXAMPLES) > 5
    assert min(map(len, (SERVERS, TRAININGS, INSTALLS, OTHERS))) > 0


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.kind == "toml"], ids=str)
def test_the_server_takes_a_file_of_settings(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "digitserve.toml"
    file.write_text(block.text, encoding="utf-8")
    assert read_settings(["--config", str(file)], {}) != Settings()


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_prints_what_it_promises(block: Block, server: ServerProcess, environment: dict[str, str]) -> None:
    code = block.text.replace("localhost:50051", server.address)
    printed = run([sys.executable, "-W", "error", "-c", code], environment).splitlines()
    promised = [line for promise in PROMISE.findall(block.text) for line in promise.split(", then ")]
    assert len(printed) == len(promised), printed
    for line, promise in zip(printed, promised, strict=True):
        assert line == promise or promise.startswith("such as "), f"{line!r} is not {promise!r}"


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_an_example_imports_nothing_that_make_run_does_not_install(block: Block) -> None:
    nodes = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes]
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names <= INSTALLED


@pytest.mark.parametrize("line", OTHERS, ids=str)
def test_a_command_works(line: Block, folder: Path, environment: dict[str, str]) -> None:
    run(words_of(line.text, folder), environment)


@pytest.mark.parametrize("line", INSTALLS, ids=str)
def test_an_installation_works(line: Block, folder: Path, environment: dict[str, str]) -> None:
    """From a copy, since building leaves files behind; without dependencies, which are here already."""
    copy = shutil.copytree(ROOT / "clients/python", folder / "copy")
    words = words_of(line.text, folder, f"--no-deps --no-build-isolation --target {folder}/site")
    run([str(copy) if word == "./clients/python" else word for word in words], environment)
    code = "import digitserve; print(digitserve.__file__)"
    found = run([sys.executable, "-c", code], environment | {"PYTHONPATH": str(folder / "site")})
    assert found.startswith(str(folder / "site"))


@pytest.mark.parametrize("line", SERVERS, ids=str)
def test_a_server_starts_and_ctrl_c_drains_it(line: Block, folder: Path, environment: dict[str, str]) -> None:
    words = words_of(line.text, folder, "--port 0")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(words, cwd=ROOT, env=environment, text=True, start_new_session=True, **pipes) as process:  # type: ignore[call-overload]
        said = []
        for text in process.stdout:
            said.append(text)
            if SERVING.search(text):
                os.killpg(process.pid, signal.SIGINT)
        status = process.wait(TIMEOUT_S)
    output = "".join(said)
    assert SERVING.search(output), output
    assert "drained" in output
    assert "Traceback" not in output
    # make itself always dies of the signal, after its command has ended.
    assert status == (-signal.SIGINT if words[0] == "make" else 0), output


def test_training_and_export_lead_to_a_served_model(folder: Path, environment: dict[str, str]) -> None:
    """The lines of all pages in their order, as a reader would type them: each builds on the one before."""
    data = write_data_folder(folder / "data", printed_dataset())  # a report on all of MNIST takes longer than the training
    for line in TRAININGS:
        run(words_of(line.text, folder), environment | {"DIGITSERVE_DATA": str(data)})
    with ServerProcess("--port", "0", "--models", str(folder / "models")) as own, Client(own.address) as client:
        assert client.models()[0].version == "2"


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if link.startswith("https://"):
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in map(slug, HEADING.findall(target.read_text(encoding="utf-8"))), link


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_make_target_that_is_named_exists() -> None:
    there = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in [*PAGES, *DECISIONS]:
        named = set(re.findall(r"`make ([a-z]+)", page.read_text(encoding="utf-8")))
        assert named <= there, f"{page.name} names {named - there}"


def test_every_test_that_is_named_exists() -> None:
    there = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for page in [*PAGES, *DECISIONS]:
        for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")):
            assert f"def {name}(" in there, f"{page.name} names {name}"


def error_texts() -> Iterator[str]:
    """Every text in the sources and the Makefile, {} standing for what is filled in."""
    yield (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(PYTHON)", "{}")
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%(\.\d)?[a-z]", "{}", node.value)  # what logging fills in


def test_every_heading_of_troubleshooting_is_a_text_of_the_program() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    texts = list(error_texts())
    plain = [re.sub(r"\{\w+\}", "{}", heading) for heading in headings]
    assert len(plain) > 40
    assert [heading for heading in plain if not any(heading in text for text in texts)] == []


def test_every_line_of_the_log_that_operating_explains_is_logged() -> None:
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `(.+)` \| (?:ERROR|INFO)", page, re.MULTILINE)
    texts = list(error_texts())
    assert len(lines) > 3
    assert [line for line in lines if line not in texts] == []


def test_grpcs_own_text_is_the_one_that_troubleshooting_names(server: ServerProcess) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    with Client(server.address, max_message_bytes=1000) as client, pytest.raises(MessageTooLarge, match="larger than max"):
        client.recognize_batch(images)
