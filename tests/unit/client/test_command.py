"""The installed command, from its first line on."""

from __future__ import annotations

import sys
import tomllib
from typing import Any

import digitserve_command
import pytest

from tests.server_process import ROOT


class Interrupted:
    """Stands where modules are looked for, and is interrupted when the command line's is."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "digitserve.cli":
            raise KeyboardInterrupt


def test_ctrl_c_while_modules_load_is_130_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "digitserve.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert digitserve_command.main() == 130
    assert capsys.readouterr() == ("", "")


def test_it_is_what_is_installed() -> None:
    project = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"digitserve": "digitserve_command:main"}
    assert project["tool"]["setuptools"]["py-modules"] == ["digitserve_command"]


def test_it_hands_over(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["digitserve", "--version"])
    with pytest.raises(SystemExit):
        digitserve_command.main()
    assert capsys.readouterr().out.startswith("digitserve ")
