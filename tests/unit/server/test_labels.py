"""Labels: what a model's names mean, where labels stand, and the command that moves them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from server.labels import Labels, index_names, main, parse_labels, read_own_labels
from server.repository import ModelCard, RepositoryError
from tests.in_process import CARD
from tests.repository import write_model

OLD, NEW = replace(CARD, labels=("stable",)), replace(CARD, version="2", labels=("canary",))
CHARS = replace(CARD, name="chars", labels=())


def names_of(*cards: ModelCard, default: str = "digits", **labels: Mapping[str, str | None]) -> dict[str, str]:
    """What each name of digits means: a version."""
    found = index_names(cards, {**read_own_labels(cards), **labels}, default)
    return {name: card.version for name, card in found.items()}


def test_every_name_leads_to_its_version() -> None:
    found = {name: (card.name, card.version) for name, card in index_names([CHARS, OLD, NEW], {}, "digits").items()}
    assert found == {
        "": ("digits", "2"),
        "digits": ("digits", "2"),
        "digits:1": ("digits", "1"),
        "digits:2": ("digits", "2"),
        "chars": ("chars", "1"),
        "chars:1": ("chars", "1"),
    }


def test_the_plain_name_is_the_stable_version_else_the_newest() -> None:
    assert names_of(OLD, NEW) == {
        "": "1", "digits": "1", "digits:1": "1", "digits:2": "2", "digits@stable": "1", "digits@canary": "2"
    }  # fmt: skip
    assert names_of(OLD, NEW, digits={"stable": "2"})["digits"] == "2"
    assert names_of(OLD, NEW, digits={"canary": "1"})["digits"] == "2"


def test_where_the_stable_version_is_missing_the_plain_name_does_not_fall_to_one_that_was_held_back() -> None:
    found = names_of(OLD, NEW, digits={"stable": None, "canary": "2"})
    assert found == {"digits:1": "1", "digits:2": "2", "digits@canary": "2"}
    assert names_of(OLD, NEW, digits={"canary": "1"})["digits"] == "2", "none is meant to be stable"


def test_a_label_that_two_versions_name_means_the_newer_one() -> None:
    assert names_of(OLD, replace(NEW, labels=("stable",)))["digits@stable"] == "2"


def test_without_the_default_model_nothing_is_meant_by_no_name() -> None:
    assert "" not in names_of(CHARS)


@pytest.mark.parametrize("content", [b"", b"[]", b'"stable"', b'{"stable": 1}', b'{"stable": "01"}', b"\xff", b"[" * 100_000])
def test_what_is_no_table_of_labels_is_refused(content: bytes) -> None:
    with pytest.raises(RepositoryError, match=r'^digits/labels\.json must be an object of .* such as {"stable": "1"}$'):
        parse_labels(content, "digits")


def test_labels_stand_where_the_file_says() -> None:
    labels = Labels()
    assert labels.place([OLD, NEW]) == {"digits": {"stable": "1", "canary": "2"}}
    assert labels.read({"digits": b'{"stable": "2"}'})
    assert labels.place([OLD, NEW]) == {"digits": {"stable": "2"}}
    assert not labels.read({"digits": b'{"stable": "2"}'}), "nothing has changed"
    assert labels.read({})
    assert labels.place([OLD, NEW]) == {"digits": {"stable": "1", "canary": "2"}}


def test_a_move_is_logged_once_and_the_start_is_none(caplog: pytest.LogCaptureFixture) -> None:
    labels = Labels()
    with caplog.at_level(logging.INFO, "digitserve"):
        labels.place([OLD, NEW])
        labels.place([OLD, NEW])
        assert caplog.messages == []
        labels.read({"digits": b'{"stable": "2"}'})
        labels.place([OLD, NEW])
        labels.place([OLD, NEW])
    assert caplog.messages == ["digits@stable is version 2 now"]


def test_a_label_waits_for_its_version_where_it_was_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    labels = Labels()
    labels.read({"digits": b'{"stable": "1", "canary": "3"}'})
    assert labels.place([OLD, NEW]) == {"digits": {"stable": "1", "canary": None}}
    labels.read({"digits": b'{"stable": "3", "canary": "3"}'})
    assert labels.place([OLD, NEW]) == {"digits": {"stable": "1", "canary": None}}
    assert labels.place([OLD, NEW]) == {"digits": {"stable": "1", "canary": None}}
    canary, stable = "digits@canary names nothing", "digits@stable stays where it was"
    assert caplog.messages == [f"{said}: version 3 is not served" for said in (canary, stable)]
    third = replace(NEW, version="3")
    assert labels.place([OLD, NEW, third]) == {"digits": {"stable": "3", "canary": "3"}}
    assert labels.place([OLD, NEW]) == {"digits": {"stable": None, "canary": None}}, "a version that has gone has no labels"


def test_a_label_that_waited_where_it_was_and_then_names_nothing_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    labels = Labels()
    labels.read({"digits": b'{"canary": "2"}'})
    labels.place([OLD, NEW])
    labels.read({"digits": b'{"canary": "3"}'})
    for cards in ([OLD, NEW], [OLD], [OLD]):
        labels.place(cards)
    told = ("stays where it was", "names nothing")
    assert caplog.messages == [f"digits@canary {what}: version 3 is not served" for what in told]


def test_labels_that_cant_be_read_stay_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    labels = Labels()
    labels.read({"digits": b'{"stable": "2"}'})
    for _ in range(3):
        labels.read({"digits": b'{"stable": '})
    assert labels.place([OLD, NEW]) == {"digits": {"stable": "2"}}
    (said,) = caplog.messages
    assert said.startswith("the labels of digits stay as they were: digits/labels.json must be an object")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version, labels in [("1", ["stable"]), ("2", []), ("10", ["canary"])]:
        write_model(tmp_path, version=version, labels=labels)
    return tmp_path


def read(models: Path) -> dict[str, str]:
    content = (models / "digits" / "labels.json").read_bytes()
    assert not list((models / "digits").glob(".labels*"))
    return parse_labels(content, "digits")


def test_the_command_shows_what_stands_and_writes_nothing(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digits", "--models", str(models)]) == 0
    assert capsys.readouterr().out == "digits@stable is version 1\ndigits@canary is version 10\n"
    assert not (models / "digits" / "labels.json").exists()


def test_the_command_moves_adds_and_takes_away(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digits", "stable=2", "old=1", "--models", str(models)]) == 0
    assert read(models) == {"stable": "2", "canary": "10", "old": "1"}
    assert main(["digits", "stable=", "old=2", "--models", str(models)]) == 0
    assert read(models) == {"canary": "10", "old": "2"}
    assert capsys.readouterr().out.endswith(
        "digits@canary is version 10\ndigits@old is version 2\ndigits is its newest version: no version is labelled stable\n"
    )


def test_what_the_command_writes_others_may_read(models: Path) -> None:
    main(["digits", "stable=2", "--models", str(models)])
    assert (models / "digits" / "labels.json").stat().st_mode == (models / "digits" / "1" / "model.json").stat().st_mode


def test_a_damaged_version_is_not_in_the_way_of_a_rollback(models: Path) -> None:
    (models / "digits" / "10" / "model.json").write_text("{")
    assert main(["digits", "stable=1", "--models", str(models)]) == 0
    assert read(models) == {"stable": "1"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["letters", "stable=1"], "there is no model 'letters' in "),
        (["../digits", "stable=1"], "there is no model '../digits' in "),
        (["digits", "stable=3"], "there is no version '3' of digits in "),
        (["digits", "stable=../1"], "there is no version '../1' of digits in "),
        (["digits", "stable"], "'stable' moves no label: write LABEL=VERSION, such as stable=1"),
        (["digits", "=1"], "'=1' moves no label"),
        (["digits", "a b=1"], "'a b=1' moves no label"),
        (["digits", "\udcff=1"], "'\\udcff=1' moves no label"),
    ],
)
def test_the_command_refuses_what_is_not_there(
    models: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert main([*arguments, "--models", str(models)]) == 1
    assert capsys.readouterr().err.startswith(f"digitserve: {reason}")
    assert not (models / "digits" / "labels.json").exists()


def test_labels_that_cant_be_read_are_not_overwritten(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models / "digits" / "labels.json").write_text(json.dumps(["stable"]))
    assert main(["digits", "stable=1", "--models", str(models)]) == 1
    assert "digits/labels.json must be an object" in capsys.readouterr().err


def test_the_repository_is_the_servers_own_unless_it_is_named(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DIGITSERVE_MODELS", str(models))
    assert main(["digits"]) == 0
    assert "digits@stable is version 1" in capsys.readouterr().out
