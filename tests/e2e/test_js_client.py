"""The JavaScript client keeps its promises: its own tests pass, against the server that the other tests use.

They need Node 20 or newer, and what package-lock.json names. Where either is missing the tests fail, and say what mends it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.decode import decode, open_image
from tests.server_process import ROOT, ServerProcess

PACKAGE = ROOT / "clients/js"
CONTRACT = "digitserve/v1/recognizer"
TIMEOUT_S = 300.0

# Reads pictures of RGBA pixels from standard input, and writes what the client makes of them.
TO_GREY = """
import { readFileSync } from "node:fs";
const { greyFrom } = await import(process.argv[1]);
const pictures = JSON.parse(readFileSync(0, "utf8"));
const greys = pictures.map(({ data, width, height }) => {
  const { pixels } = greyFrom({ data: Uint8ClampedArray.from(Buffer.from(data, "base64")), width, height });
  return Buffer.from(pixels).toString("base64");
});
console.log(JSON.stringify(greys));
"""


@pytest.fixture(scope="module")
def environment(server: ServerProcess, models_folder: Path) -> dict[str, str]:
    """Where Node, this interpreter and the shared server are."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    places = {"DIGITSERVE_SERVER": server.address, "DIGITSERVE_MODELS": str(models_folder)}
    return os.environ | places | {"DIGITSERVE_PYTHON": sys.executable, "PATH": path, "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def node(environment: dict[str, str]) -> str:
    found = shutil.which("node", path=environment["PATH"])
    assert found, "Node is missing: install version 20 or newer, with npm (Debian and Ubuntu: apt install nodejs npm)"
    assert (PACKAGE / "node_modules/vitest").is_dir(), "the client's packages are missing: npm ci --prefix clients/js"
    return found


def run(words: list[str], environment: dict[str, str], text: str = "") -> str:
    """Standard output of a command that must end with status 0."""
    done = subprocess.run(words, cwd=PACKAGE, env=environment, input=text, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{words[-1]}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_types_are_right(node: str, environment: dict[str, str]) -> None:
    run([node, "node_modules/typescript/bin/tsc", "--noEmit"], environment)


@pytest.mark.usefixtures("node")
def test_the_generated_code_is_that_of_the_contract(environment: dict[str, str], tmp_path: Path) -> None:
    plugin = f"--plugin=protoc-gen-es={PACKAGE / 'node_modules/.bin/protoc-gen-es'}"
    words = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "protos"), plugin, f"--es_out={tmp_path}"]
    run([*words, "--es_opt=target=ts,import_extension=js", CONTRACT + ".proto"], environment)
    (fresh,) = tmp_path.rglob("*.ts")
    stale = (PACKAGE / "src" / (CONTRACT + "_pb.ts")).read_bytes()
    assert stale == fresh.read_bytes(), "stale: npm run generate, in clients/js"


def test_its_own_tests_pass(node: str, environment: dict[str, str]) -> None:
    report = run([node, "node_modules/vitest/vitest.mjs", "run", "--reporter=json"], environment)
    counts = json.loads(report[report.index("{") :])
    assert counts["numPassedTests"] == counts["numTotalTests"] > 100


def test_a_canvas_is_grey_as_a_file_is(node: str, environment: dict[str, str], tmp_path: Path) -> None:
    pictures = [_random_picture(seed) for seed in range(40)]
    built = tmp_path / "grey.mjs"
    run(["node_modules/.bin/esbuild", "src/grey.ts", "--bundle", "--format=esm", f"--outfile={built}"], environment)
    asked = json.dumps([_as_image_data(picture) for picture in pictures])
    greys = json.loads(run([node, "--input-type=module", "-e", TO_GREY, built.as_uri()], environment, asked))
    for picture, grey in zip(pictures, greys, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        expected = decode(open_image(file.getvalue())).grey
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(grey), np.uint8).reshape(expected.shape), expected)


def _random_picture(seed: int) -> NDArray[np.uint8]:
    """(h, w, 4) uint8. Opaque in parts, from nothing to everything."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    picture = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    share = seed % 5 / 4
    is_plain = rng.random((height, width)) < 0.8
    plain = np.where(rng.random((height, width)) < share, 255, 0).astype(np.uint8)
    picture[..., 3] = np.where(is_plain, plain, picture[..., 3])
    if seed < 5:
        picture[..., 3] = 255 * (seed % 2)
    return picture


def _as_image_data(picture: NDArray[np.uint8]) -> dict[str, object]:
    height, width, _ = picture.shape
    return {"data": base64.b64encode(picture.tobytes()).decode(), "width": width, "height": height}
