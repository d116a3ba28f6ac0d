"""Imports go one way. What a process really loads is asked of a fresh one; who names whom is read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import ROOT

SERVER = ROOT / "server"


def loaded_after(*modules: str) -> set[str]:
    """The top-level packages that a fresh process has loaded after importing these modules."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    path = [str(ROOT), str(ROOT / "clients" / "python")]
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {path}; {code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def imports_of(source: Path) -> set[str]:
    """The modules of the server that this one names, without `server.`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("server."):
            found.add((node.module or "").removeprefix("server."))
        if isinstance(node, ast.Import):
            found.update(name.name.removeprefix("server.") for name in node.names if name.name.startswith("server."))
    return found


def graph() -> dict[str, set[str]]:
    return {source.stem: imports_of(source) for source in SERVER.glob("*.py")}


def test_the_batcher_knows_neither_grpc_nor_onnxruntime() -> None:
    assert not loaded_after("server.batcher") & {"grpc", "onnxruntime", "digitserve", "google"}


def test_the_command_can_be_interrupted_before_it_loads_anything() -> None:
    assert not loaded_after("digitserve_command") & {"digitserve", "grpc", "numpy", "asyncio"}


def test_who_wants_no_metrics_does_not_load_them() -> None:
    assert not loaded_after("server.main", "server.app") & {"prometheus_client"}
    assert not loaded_after("server.metrics") & {"prometheus_client"}, "only what answers Prometheus knows its library"
    assert "prometheus_client" in loaded_after("server.scrape"), "the check must look at the real thing"


def test_who_wants_no_traces_does_not_load_them() -> None:
    assert not loaded_after("server.main", "server.app", "server.scrape") & {"opentelemetry"}
    assert "opentelemetry" in loaded_after("server.traces"), "the check must look at the real thing"
    assert {name for name, imports in graph().items() if "traces" in imports} == {"app"}


def test_only_who_records_and_who_starts_knows_the_recorder() -> None:
    assert {name for name, imports in graph().items() if "recorder" in imports} == {
        "app",
        "loader",
        "metrics",
        "scrape",
        "worker",
    }
    assert {name for name, imports in graph().items() if "scrape" in imports} == {"app", "supervisor"}


def test_the_supervisor_loads_nothing_that_answers_calls() -> None:
    ours = loaded_after("server.main", "server.supervisor", "server.scrape")
    assert not ours & {"grpc", "onnxruntime", "numpy", "PIL", "digitserve", "google"}
    assert "asyncio" in ours, "the check must look at the real thing"


def test_the_framing_routine_knows_neither_grpc_nor_onnxruntime() -> None:
    assert not loaded_after("server.preprocess", "server.decode") & {"grpc", "onnxruntime", "digitserve", "google"}


def test_the_server_never_imports_torch() -> None:
    loaded = loaded_after("server.main", "server.app")
    assert not loaded & {"torch", "torchvision", "onnx", "matplotlib"}
    assert {"grpc", "onnxruntime"} <= loaded, "the check must look at the real thing"


@pytest.mark.parametrize("package", ["train", "export"])
def test_training_and_export_never_import_grpc(package: str) -> None:
    loaded = loaded_after(f"{package}.main")
    assert not loaded & {"grpc", "digitserve"}
    assert package in loaded


def test_a_wrong_setting_is_told_before_anything_slow_is_loaded() -> None:
    assert not loaded_after("server.main") & {"grpc", "onnxruntime", "numpy", "PIL"}


def test_only_who_loads_knows_the_session() -> None:
    assert {name for name, imports in graph().items() if "session" in imports} == {"main", "loader"}


def test_labels_are_moved_without_loading_what_serves() -> None:
    assert not loaded_after("server.labels") & {"grpc", "onnxruntime", "digitserve", "google"}


def test_only_the_wires_side_knows_the_wire() -> None:
    wire = {source.stem for source in SERVER.glob("*.py") if "digitserve.v1" in source.read_text(encoding="utf-8")}
    assert wire <= {"app", "intake", "open_inference", "servicer", "statuses"}


def test_the_batcher_knows_only_jobs_crowds_and_errors() -> None:
    assert graph()["batcher"] == {"admission", "clock", "crowd", "errors", "job", "limits", "tray"}
    assert (graph()["admission"], graph()["tray"]) == ({"errors", "tray"}, {"errors", "job"})
    assert graph()["job"] == graph()["crowd"] == graph()["clock"] == graph()["limits"] == set()


def test_no_import_goes_round_in_a_circle() -> None:
    remaining = graph()
    while leaves := [name for name, imports in remaining.items() if not imports & set(remaining)]:
        for name in leaves:
            del remaining[name]
    assert remaining == {}
