from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from export.page import BEGIN, END, main, renewed

ROOT = Path(__file__).parents[3]
CARDS = sorted((ROOT / "models").glob("*/*/model.json"))


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parts[-3])
def test_every_model_that_ships_has_a_page_that_says_what_its_card_says(path: Path) -> None:
    page = (ROOT / "docs/models" / f"{path.parts[-3]}.md").read_text(encoding="utf-8")
    assert renewed(page, read(path)) == page, "to mend it: python -m export.page"


def test_only_the_block_is_made_anew() -> None:
    card = read(CARDS[0])
    page = renewed(f"# mine\n\n{BEGIN}\nold\n{END}\n\nby hand\n", card)
    assert page.startswith(f"# mine\n\n{BEGIN}\n| | |\n")
    assert page.endswith(f"|\n{END}\n\nby hand\n")
    assert "old" not in page
    assert f"{card['metrics']['accuracy']:.2%} of {card['metrics']['n']:,} test images" in page
    assert renewed(page, card) == page


def test_a_page_without_its_block_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        renewed("# mine\n", {"name": "mine"})


def test_a_missing_page_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    card = tmp_path / "models" / "digits" / "1" / "model.json"
    card.parent.mkdir(parents=True)
    card.write_text(CARDS[0].read_text(encoding="utf-8"), encoding="utf-8")
    assert main() == 1
    assert "docs/models/digits.md is missing" in capsys.readouterr().err
    (tmp_path / "docs/models").mkdir(parents=True)
    (tmp_path / "docs/models/digits.md").write_text(f"{BEGIN}\n{END}\n")
    assert main() == 0
    assert "99." in (tmp_path / "docs/models/digits.md").read_text()
