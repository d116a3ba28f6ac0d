"""docs/configuration.md names every setting once, with its flag, environment variable, default and limits."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from server.config import ENVIRONMENT_PREFIX, Settings
from tests.server_process import ROOT

HEADER = ["Flag", "Environment variable", "Default", "Limits", "Meaning"]


def read_rows() -> dict[str, list[str]]:
    """The table's rows by their first cell."""
    lines = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    start = rows.index(HEADER)
    table = [row for row in rows[start + 1 :] if row[0].startswith("`--")]
    assert len({row[0] for row in table}) == len(table), "a setting has two rows"
    return {row[0]: row for row in table}


def expected_cells(field: dataclasses.Field[Any]) -> list[str]:
    flag, variable = "--" + field.name.replace("_", "-"), ENVIRONMENT_PREFIX + field.name.upper()
    default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return [f"`{flag}`", f"`{variable}`", f"`{default}`", expected_limits(field)]


def expected_limits(field: dataclasses.Field[Any]) -> str:
    choices = field.metadata["one_of"]
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if field.metadata["at_least"] is not None:
        return f"{field.metadata['at_least']} to {field.metadata['at_most']}"
    return "true, false" if isinstance(field.default, bool) else ""


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_setting_has_its_row(field: dataclasses.Field[Any]) -> None:
    expected = expected_cells(field)
    assert read_rows()[expected[0]][:4] == expected


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_row_says_what_the_setting_means(field: dataclasses.Field[Any]) -> None:
    meaning = read_rows()[expected_cells(field)[0]][4]
    assert len(meaning) > 20


def test_no_row_is_of_a_setting_that_is_gone() -> None:
    assert set(read_rows()) == {expected_cells(field)[0] for field in dataclasses.fields(Settings)}
