"""The public contract: clients that are out there go on working, and the generated code is what the .proto says."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from server import errors
from tests.contract.descriptor import describe_contract, lost_members
from tests.server_process import ROOT

PROTO = "digitserve/v1/recognizer.proto"
GENERATED = ROOT / "clients" / "python" / "digitserve" / "v1"
RECORDED = Path(__file__).parent / "recognizer.json"
RECORD = "python -m tests.contract.descriptor > tests/contract/recognizer.json"


def generate(folder: Path) -> None:
    """Runs protoc as `make protos` does."""
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *outputs, PROTO]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_generated_code_is_what_the_proto_says(tmp_path: Path) -> None:
    assert importlib.metadata.version("grpcio-tools") == "1.81.1", "the last version that generates for protobuf 6"
    generate(tmp_path)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / PROTO).parent.glob("recognizer_pb2*")}
    checked_in = {path.name: path.read_bytes() for path in GENERATED.glob("recognizer_pb2*")}
    assert sorted(fresh) == ["recognizer_pb2.py", "recognizer_pb2.pyi", "recognizer_pb2_grpc.py"]
    stale = [name for name in fresh if fresh[name] != checked_in.get(name)]
    assert not stale, f"stale: {stale}; run make protos"


def test_nothing_of_the_contract_is_lost_or_renumbered() -> None:
    lost = lost_members(json.loads(RECORDED.read_text(encoding="utf-8")), describe_contract())
    assert not lost, "clients that are out there would break:\n" + "\n".join(lost)


def test_what_was_added_is_recorded() -> None:
    added = lost_members(describe_contract(), json.loads(RECORDED.read_text(encoding="utf-8")))
    assert not added, f"new in the contract, to be kept from now on; record it: {RECORD}"


def test_a_renumbered_field_is_noticed() -> None:
    described = describe_contract()
    described["message Box"]["left"] = "9: uint32"
    assert lost_members(describe_contract(), described) == ["message Box.left was '1: uint32', is '9: uint32'"]


def test_a_removed_method_is_noticed() -> None:
    described = describe_contract()
    del described["service digitserve.v1.Recognizer"]["ListModels"]
    (lost,) = lost_members(describe_contract(), described)
    assert lost.startswith("service digitserve.v1.Recognizer.ListModels was")


def test_the_proto_describes_every_status_that_the_server_sends() -> None:
    text = (ROOT / "protos" / PROTO).read_text(encoding="utf-8")
    codes = {str(vars(error)["code"]) for error in vars(errors).values() if isinstance(error, type) and "code" in vars(error)}
    codes -= {errors.ModelRefused.code}  # only the Open Inference Protocol loads models
    assert [code for code in sorted(codes) if code not in text] == []
