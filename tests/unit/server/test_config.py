"""Settings come from flags, then the environment, then defaults; what can't be meant is refused by name."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from server.config import SettingError, Settings, describe, list_unknown, read_command, read_settings, write_flags
from tests.server_process import ROOT

QUOTED = re.compile(r"""["'](DIGITSERVE_[A-Z_]*[A-Z])["']""")


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
        (["--tls-key", "k"], "tls_certificate and tls_key belong together: one of them is not set"),
        (["--tls-certificate", "c"], "tls_certificate and tls_key belong together: one of them is not set"),
        (
            ["--tls-client-authorities", "a"],
            "tls_client_authorities needs tls_certificate and tls_key: without TLS, callers show no certificate",
        ),
        (["--traces", "collector:4317"], "traces must be an address such as http://127.0.0.1:4317, not 'collector:4317'"),
        *[
            (["--traces", address], f"traces must be an address such as http://127.0.0.1:4317, not '{shown or address}'")
            for address, shown in {
                "http://[": "",
                "http://": "",
                "http://host:port": "",
                "ftp://user:secret@host": "ftp://***@host",
            }.items()
        ],
        (["--port", "7", "--metrics-port", "7"], "port and metrics_port must differ, and both are 7"),
        (["--host", ""], "host and metrics_host must not be empty: 0.0.0.0 is every address of this machine"),
        (["--metrics-host", ""], "host and metrics_host must not be empty: 0.0.0.0 is every address of this machine"),
        (
            ["--model-control", "true", "--workers", "2"],
            "model_control needs workers = 1: a call to load or unload reaches one worker alone",
        ),
        (["--workers", "0"], "workers must be auto or a number from 1 to 256, not '0'"),
        (["--workers", "257"], "workers must be auto or a number from 1 to 256, not '257'"),
        (["--workers", "-1"], "workers must be auto or a number from 1 to 256, not '-1'"),
        (["--workers", "all"], "workers must be auto or a number from 1 to 256, not 'all'"),
        (["--socket", "/run/\0s"], "socket must not hold a null character"),
        (["--log", "info"], "unrecognized arguments: --log info (see --help)"),
        (["folder"], "unrecognized arguments: folder (see --help)"),
    ],
    ids=" ".join,
)
def test_what_cant_be_meant_is_refused(flags: list[str], message: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings(flags, {})
    assert str(caught.value) == message


def test_a_number_of_workers_needs_no_quotes(tmp_path: Path) -> None:
    for text, workers in (("2", "2"), ('"2"', "2"), ('"auto"', "auto")):
        assert read_settings(["--config", write(tmp_path, f"workers = {text}")], {}).workers == workers


def test_an_editors_mark_before_the_first_key_is_passed_over(tmp_path: Path) -> None:
    assert read_settings(["--config", write(tmp_path, "\ufeffport = 7")], {}).port == 7


def test_workers_are_refused_where_a_port_cant_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Settings().workers == "1"
    for workers in ("2", "auto"):
        with pytest.raises(SettingError, match=r"^workers must be 1 here: only Linux "):
            Settings(workers=workers)


def test_what_is_printed_masks_a_password_and_what_a_worker_is_told_does_not() -> None:
    settings = Settings(traces="http://user:secret@collector:4317")
    assert "traces=http://***@collector:4317" in describe(settings)
    assert "secret" not in describe(settings)
    assert read_settings(write_flags(settings), {}) == settings


def test_ports_that_the_system_chooses_or_of_two_addresses_may_be_the_same() -> None:
    assert Settings(port=0, metrics_port=0).metrics_port == 0
    assert Settings(port=7, metrics_port=7, metrics_host="127.0.0.2").port == 7


def test_what_a_worker_is_told_is_what_its_supervisor_has() -> None:
    settings = Settings(host="::", port=7, workers="3", models=Path("/m n"), inline_ms=0.5, cuda_graphs=False, tokens="-t=u")
    assert read_settings(write_flags(settings), {"DIGITSERVE_PORT": "1"}) == settings


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


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "digitserve.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_gives_way_to_variables_and_these_to_flags(tmp_path: Path) -> None:
    file = write(tmp_path, 'port = 1\nhost = "::"\nlog_level = "debug"\nmodels = "/m"\n')
    settings = read_settings(["--config", file, "--port", "3"], {"DIGITSERVE_PORT": "2", "DIGITSERVE_HOST": "0.0.0.0"})
    assert settings == Settings(port=3, host="0.0.0.0", log_level="debug", models=Path("/m"))


def test_the_file_can_be_named_by_a_variable_and_the_flag_wins(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1")
    assert read_settings([], {"DIGITSERVE_CONFIG": file}).port == 1
    assert read_settings(["--config", file], {"DIGITSERVE_CONFIG": "/nowhere.toml"}).port == 1


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_setting_can_stand_in_a_file(field: dataclasses.Field[object], tmp_path: Path) -> None:
    default = str(field.default) if isinstance(field.default, Path) else field.default
    text = str(default).lower() if isinstance(default, bool) else repr(default)
    assert read_settings(["--config", write(tmp_path, f"{field.name} = {text}")], {}) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('port = "1"', "port in {} must be a whole number, not '1'"),
        ("workers = 0", "workers must be auto or a number from 1 to 256, not '0'"),
        ("workers = 2.0", "workers in {} must be text in quotes, not 2.0"),
        ("workers = true", "workers in {} must be text in quotes, not True"),
        ("port = 1.0", "port in {} must be a whole number, not 1.0"),
        ("port = true", "port in {} must be a whole number, not True"),
        ("port = 65536", "port must be between 0 and 65535, not 65536"),
        ("drain_grace_s = true", "drain_grace_s in {} must be a number, not True"),
        ("drain_grace_s = nan", "drain_grace_s must be between 0 and 600, not nan"),
        ("cuda_graphs = 1", "cuda_graphs in {} must be true or false, not 1"),
        ("models = 1", "models in {} must be text in quotes, not 1"),
        ("log_level = ['info']", "log_level in {} must be text in quotes, not ['info']"),
        ("prot = 1\n[server]\nport = 1", "{} sets prot, server, which no setting is called: did you mean port?"),
        ("max-queue-size = 1", "{} sets max-queue-size, which no setting is called: did you mean max_queue_size?"),
        ("[http]\nquic = 1", "{} sets http, which no setting is called"),
        ("port = " + "[" * 5000, "{} is not TOML: maximum recursion depth exceeded"),
        ("port: 1", "{} is not TOML: Expected '=' after a key in a key/value pair (at line 1, column 5)"),
    ],
)
def test_what_cant_be_meant_in_a_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingError) as caught:
        read_settings(["--config", file], {})
    assert str(caught.value) == message.format(file)


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    missing, binary = tmp_path / "missing.toml", tmp_path / "binary.toml"
    binary.write_bytes(b"port = 1\xff")
    with pytest.raises(SettingError, match=f"^{missing} can't be read: No such file or directory$"):
        read_settings(["--config", str(missing)], {})
    with pytest.raises(SettingError, match=f"^{binary} is not TOML: .*utf-8"):
        read_settings(["--config", str(binary)], {})


def test_only_the_server_itself_checks() -> None:
    assert read_command(["--check", "--port", "1"], {}) == (Settings(port=1), True)
    assert read_command([], {}) == (Settings(), False)
    with pytest.raises(SettingError, match=r"^--check is a flag of python -m server alone$"):
        read_settings(["--check"], {})


def test_the_description_is_whole() -> None:
    described = dict(each.split("=", 1) for each in describe(Settings()).split(" "))
    assert described == {field.name: str(field.default) for field in dataclasses.fields(Settings)}


def test_a_variable_that_nobody_reads_is_named_and_those_of_our_other_programs_are_not() -> None:
    known = {"DIGITSERVE_PORT": "1", "DIGITSERVE_CONFIG": "x", "DIGITSERVE_TOKEN": "x", "DIGITSERVE_DATA": "x", "PROT": "x"}
    assert list_unknown(known) == []
    assert list_unknown(known | {"DIGITSERVE_PROT": "1", "DIGITSERVE_port": "1"}) == ["DIGITSERVE_PROT", "DIGITSERVE_port"]


def test_every_variable_of_the_sources_is_known() -> None:
    """A program of ours that reads another one must be entered in config.py."""
    tops = ("clients/python", "clients/js/test", "deploy", "export", "train", "tests/browser")
    sources = [path for top in tops for path in (ROOT / top).rglob("*.[pt][ys]")]
    read = {name for path in sources for name in QUOTED.findall(path.read_text(encoding="utf-8"))}
    assert {"DIGITSERVE_TOKEN", "DIGITSERVE_DATA", "DIGITSERVE_BROWSER"} <= read, "the check must look at the real thing"
    assert list_unknown(dict.fromkeys(read, "")) == []
