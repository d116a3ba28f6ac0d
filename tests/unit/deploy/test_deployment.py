"""The launcher's own settings, and what it passes on."""

from __future__ import annotations

from pathlib import Path

import pytest

import deploy.main
from deploy.main import give_sockets, list_sockets
from deploy.settings import read_deployment
from server.config import SettingError


def test_flags_win_over_the_environment_and_defaults() -> None:
    environment = {"DIGITSERVE_PAGE_PORT": "1", "DIGITSERVE_ADMIN_PORT": "2", "DIGITSERVE_MAX_MESSAGE_BYTES": "4096"}
    deployment = read_deployment(["--page-port", "3", "--page", "/site", "--max-batch-size", "8"], environment)
    assert (deployment.page_port, deployment.admin_port, deployment.page) == (3, 2, Path("/site"))
    assert deployment.server_flags == ("--max-batch-size", "8")
    assert (deployment.server.max_batch_size, deployment.server.max_message_bytes) == (8, 4096)


def test_origins_are_a_list() -> None:
    assert read_deployment(["--origins", "https://a.example, http://b:1"], {}).origins == ("https://a.example", "http://b:1")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--page-port", "70000"], "--page-port"),
        (["--admin-port", "-1"], "--admin-port"),
        (["--origins", "*"], "--origins"),
        (["--origins", "https://a.example/path"], "--origins"),
        (["--nothing", "1"], "--nothing"),
        (["--tls-certificate", "c", "--tls-key", "k"], "tls_certificate is for python -m server alone"),
        (["--page-por", "1"], "--page-por"),
    ],
)
def test_what_can_not_be_meant_is_refused_by_name(flags: list[str], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        read_deployment(flags, {})


def test_each_of_several_workers_gets_a_socket_that_envoy_is_told_of(tmp_path: Path) -> None:
    given = give_sockets(read_deployment(["--workers", "2"], {}), tmp_path)
    assert given.server_flags == ("--workers", "2", "--socket", f"{tmp_path}/worker")
    assert list_sockets(given.server) == (f"{tmp_path}/worker.1", f"{tmp_path}/worker.2")


def test_sockets_that_were_asked_for_are_kept(tmp_path: Path) -> None:
    asked = read_deployment(["--workers", "2"], {"DIGITSERVE_SOCKET": "/run/mine"})
    assert give_sockets(asked, tmp_path) == asked
    assert list_sockets(asked.server) == ("/run/mine.1", "/run/mine.2")


def test_one_worker_is_called_by_its_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(deploy.main, "count_workers", lambda workers: 1)
    alone = read_deployment(["--workers", "auto"], {})
    assert give_sockets(alone, tmp_path) == alone
    assert list_sockets(read_deployment(["--socket", "/run/mine"], {}).server) == ()
