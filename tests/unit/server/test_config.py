"""Settings come from flags, then the environment, then defaults; what can't be meant is refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from server.config import SettingError, Settings, read_settings


def test_without_anything_the_defaults() -> None:
    assert read_settings([], {}) == Settings()


def test_flags_win_over_the_environment_and_both_over_defaults() -> None:
    environment = {"DIGITSERVE_PORT": "1", "DIGITSERVE_HOST": "0.0.0.0", "DIGITSERVE_DATA": "is not ours", "PORT": "9"}
    settings = read_settings(["--port", "2", "--models=/m"], environment)
    assert settings == Settings(port=2, host="0.0.0.0", models=Path("/m"))


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_default_can_be_given_as_a_flag_and_as_a_variable(field: dataclasses.Field[object]) -> None:
    flag, variable = "--" + field.name.replace("_", "-"), "DIGITSERVE_" + field.name.upper()
    assert read_settings([flag, str(field.default)], {}) == Settings()
    assert read_settings([], {variable: str(field.default)}) == Settings()


@pytest.mark.parametrize(("text", "value"), [("true", True), ("ON", True), ("1", True), ("no", False), ("False", False)])
def test_words_for_yes_and_no(text: str, value: bool) -> None:
    assert read_settings(["--cuda-graphs", text], {}).cuda_graphs is value


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "65536"], "port must be between 0 and 65535, not 65536"),
        (["--port", "-1"], "port must be between 0 and 65535, not -1"),
        (["--port", "12.0"], "--port must be a whole number, not '12.0'"),
        (["--port", ""], "--port must be a whole number, not ''"),
        (["--port"], "argument --port: expected one argument (see --help)"),
        (["--inline-ms", "fast"], "--inline-ms must be a number, not 'fast'"),
        (["--inline-ms", "nan"], "inline_ms must be between 0 and 10, not nan"),
        (["--drain-delay-s", "inf"], "drain_delay_s must be between 0 and 600, not inf"),
        (["--cuda-graphs", "2"], "--cuda-graphs must be true or false, not '2'"),
        (["--log-level", "loud"], "log_level must be one of debug, info, warning, error, not 'loud'"),
        (["--log", "info"], "unrecognized arguments: --log info (see --help)"),
        (["folder"], "unrecognized arguments: folder (see --help)"),
    ],
    ids=" ".join,
)
def test_what_cant_be_meant_is_refused(flags: list[str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings(flags, {})
    assert str(caught.value) == message


def test_a_bad_variable_is_named_as_the_variable() -> None:
    with pytest.raises(SettingError, match=r"^DIGITSERVE_PORT must be a whole number, not 'x'$"):
        read_settings([], {"DIGITSERVE_PORT": "x"})


def limited() -> list[tuple[str, float]]:
    fields = [field for field in dataclasses.fields(Settings) if field.metadata["at_least"] is not None]
    return [(field.name, field.metadata[end]) for field in fields for end in ("at_least", "at_most")]


@pytest.mark.parametrize(("name", "limit"), limited())
def test_the_limits_themselves_are_allowed_and_nothing_beyond(name: str, limit: float) -> None:
    low = next(field.metadata["at_least"] for field in dataclasses.fields(Settings) if field.name == name)
    flag, beyond = "--" + name.replace("_", "-"), limit - 1 if limit == low else limit + 1
    assert getattr(read_settings([flag, str(limit)], {}), name) == limit
    with pytest.raises(SettingError, match=f"^{name} must be between"):
        read_settings([flag, str(beyond)], {})


def test_help_names_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--help"], {})
    assert caught.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(Settings):
        assert f"--{field.name.replace('_', '-')} " in shown
        assert f"(default: {field.default})" in shown
