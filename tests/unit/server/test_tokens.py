"""Tokens are known by their hash, compared all alike, and read anew when their file changes."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from server.tokens import LOOK_EVERY_S, TokenError, Tokens, main, read_tokens


def line(name: str, token: str) -> str:
    return f"{name} sha256:{hashlib.sha256(token.encode()).hexdigest()}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("# who may call\n\n" + line("shop", "one") + line("bench", "two").replace("\n", "  # until May\n"))
    return path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("shown", "accepted"),
    [
        ("Bearer one", True),
        ("bearer two", True),
        ("Bearer  one ", True),
        ("Bearer three", False),
        ("Bearer ", False),
        ("Bearer", False),
        ("", False),
        ("one", False),
        ("Basic one", False),
        ("Bearer one two", False),
        (f"Bearer {hashlib.sha256(b'one').hexdigest()}", False),
        ("Bearer \udcff", False),
        (b"Bearer one", False),
    ],
)
def test_who_is_known(path: Path, shown: str | bytes, accepted: bool) -> None:
    assert Tokens(path).accept(shown) is accepted


def test_an_editors_mark_before_the_first_line_is_passed_over(path: Path) -> None:
    path.write_text("\ufeff" + line("shop", "one"), encoding="utf-8")
    assert Tokens(path).accept("Bearer one")


def test_every_hash_is_compared_in_constant_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("server.tokens.hmac.compare_digest", compare)
    assert Tokens(path).accept("Bearer one")
    assert compared == list(read_tokens(path))


def test_who_is_taken_out_is_refused_a_second_later(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    known = Tokens(path, clock)
    path.write_text(line("bench", "two"))
    assert known.accept("Bearer one")
    clock.now += LOOK_EVERY_S
    with caplog.at_level(logging.INFO):
        assert not known.accept("Bearer one")
    assert known.accept("Bearer two")
    assert caplog.messages == [f"1 tokens read from {path}"]


def test_a_broken_change_leaves_what_there_was(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    known = Tokens(path, clock)
    for break_it in (lambda: path.write_text("shop one"), path.unlink):
        break_it()
        clock.now += LOOK_EVERY_S
        assert known.accept("Bearer one")
    assert [message.partition(":")[0] for message in caplog.messages] == ["the tokens stay as they were"] * 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", " holds no token: nobody could call"),
        (b"# nobody\n", " holds no token: nobody could call"),
        (b"\nshop one\n", ", line 2: expected NAME sha256:HEX, as python -m server.tokens NAME prints it"),
        (b"\xff", " can't be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (None, " can't be read: No such file or directory"),
    ],
)
def test_a_file_that_cant_be_used_is_refused(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TokenError) as caught:
        Tokens(path)
    assert str(caught.value) == f"{path}{reason}"


def test_a_new_token_opens_and_is_never_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for _ in range(2):
        assert main(["shop"]) == 0
        shown, entry = (told.partition(": ")[2].strip() for told in capsys.readouterr().out.splitlines())
        (tmp_path / "tokens").write_text(entry)
        assert Tokens(tmp_path / "tokens").accept(f"Bearer {shown}")
        made.append(shown)
    assert made[0] != made[1]
    assert min(map(len, made)) >= 43


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a b"], ["#"], [""]])
def test_without_a_name_there_is_no_token(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("digitserve: say whom the token is for: ")
