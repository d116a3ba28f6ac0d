"""Promise: every expression of the dashboard and of the alerts has a result over what a real server tells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from digitserve.v1 import recognizer_pb2 as pb

from tests.conftest import StartServer
from tests.e2e.metrics import scrape
from tests.e2e.test_metrics import settled
from tests.pictures import encode_grey
from tests.promql import Evaluator, NonsenseError, read_series
from tests.repository import write_model
from tests.server_process import ROOT, ServerProcess
from tests.unit.server.graphs import write_graph

DASHBOARD = json.loads((ROOT / "deploy/grafana/digitserve.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8"))
CONFIGURATION = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text(encoding="utf-8"))
SIDE = 8
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}  # what Grafana fills in


def write_fragile_model(root: Path) -> Path:
    """A repository with a model that fails on a bright pixel, and beside it a version that is no good at all."""
    (root / "graph").mkdir()
    content = write_graph(root / "graph", SIDE, brightest=199).read_bytes()
    described: dict[str, Any] = {"class_names": ["a", "b", "c"], "input": {"height": SIDE, "width": SIDE}}
    folder = write_model(root / "models", content=content, **described)
    (folder.parent / "2").mkdir()
    return root / "models"


@pytest.fixture(scope="module")
def evaluator(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    """Two scrapes, between which everything happens that a server can tell of."""
    server = start_server("--metrics-port", "0", models=write_fragile_model(tmp_path_factory.mktemp("fragile")))
    given = {"instance": "here:9464", "job": CONFIGURATION["scrape_configs"][0]["job_name"]}
    before = read_series(scrape(server), **given)
    call_in_every_way(server)
    settled(server)
    return Evaluator(before, read_series(scrape(server), **given))


def call_in_every_way(server: ServerProcess) -> None:
    stub = server.stub()
    for level in (0, 100, 150):
        stub.Recognize(make_request(level))
    stub.RecognizeBatch(pb.RecognizeBatchRequest(images=bytes([9]) * SIDE * SIDE * 3))
    list(stub.RecognizeStream(iter([pb.RecognizeStreamRequest(request=make_request(7))])))
    stub.ListModels(pb.ListModelsRequest())
    picture = pb.Image(encoded=encode_grey(np.eye(40, dtype=np.uint8) * 190))
    with pytest.raises(grpc.RpcError, match="INTERNAL"):
        stub.Recognize(pb.RecognizeRequest(image=picture))  # framing makes the ink as bright as can be


def make_request(level: int) -> pb.RecognizeRequest:
    raw = pb.RawImage(pixels=bytes([level]) * SIDE * SIDE, width=SIDE, height=SIDE)
    return pb.RecognizeRequest(image=pb.Image(raw=raw), layout=pb.LAYOUT_FRAMED)


def expressions() -> Iterator[tuple[str, str, str]]:
    """Where from, the expression, and the texts that show its labels."""
    for title, panel in PANELS.items():
        for target in panel["targets"]:
            yield f"panel: {title} {target['refId']}", target["expr"], target["legendFormat"]
    for name, rule in ALERTS.items():
        yield f"alert: {name}", rule["expr"], " ".join(rule["annotations"].values())


def fill_in(text: str) -> str:
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    return text


@pytest.mark.parametrize(("expression", "shown"), [each[1:] for each in expressions()], ids=[each[0] for each in expressions()])
def test_an_expression_has_a_result_with_the_labels_that_are_shown(expression: str, shown: str, evaluator: Evaluator) -> None:
    result = evaluator.evaluate(fill_in(expression))
    names = {name for labels in result for name, _ in labels}
    for name in find_labels(shown):
        assert name in names, f"{name} is shown, but the result has only {names}"


def find_labels(shown: str) -> set[str]:
    """{{model}} in Grafana, {{ $labels.model }} in an alert."""
    inside = [part.partition("}}")[0].strip() for part in shown.split("{{")[1:]]
    return {each.removeprefix("$labels.") for each in inside if not each.startswith("$value")}


def test_the_dashboard_asks_only_for_variables_that_are_filled_in() -> None:
    assert {word for _, text, _ in expressions() if "$" in fill_in(text) for word in [text]} == set()
    queries = [each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    assert [each["query"] for each in queries] == ["label_values(digitserve_serving, instance)"]


def test_panels_and_alerts_are_many_and_whole() -> None:
    assert len(PANELS) >= 20
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len(ALERTS) == len([rule for group in RULES["groups"] for rule in group["rules"]]) >= 8
    for rule in ALERTS.values():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description"}
    assert CONFIGURATION["rule_files"] == ["alerts.yaml"]


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        ("digitserve_call_total", "selects nothing"),
        ('digitserve_drops_total{reason="queue_ful"}', "selects nothing"),
        ("rate(digitserve_call_seconds[5m])", "no counter"),
        ("rate(digitserve_queue_images[5m])", "no counter"),
        ("sum by (modell) (rate(digitserve_images_total[5m]))", "label modell"),
        ("digitserve_images_total / digitserve_queue_images", "never match"),
        ("histogram_quantile(0.9, sum by (model) (rate(digitserve_batch_images_bucket[5m])))", "by le"),
    ],
)
def test_nonsense_would_be_found(nonsense: str, reason: str, evaluator: Evaluator) -> None:
    with pytest.raises(NonsenseError, match=reason):
        evaluator.evaluate(nonsense)
