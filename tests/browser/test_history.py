"""What was read before: kept once and for all, put right, taken away, brought back and taken home for training."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Download, Page, expect

from tests.browser.answers import clear, read_answer
from tests.browser.conftest import OpenPage
from tests.browser.hands import Stroke, draw_with_mouse, read_hand
from tests.browser.states import open_view, show_history
from tests.server_process import ROOT
from train import emnist, hanzi
from train.datasets import LOADERS
from train.folder import read_folder
from train.main import build_parser

SEVEN = read_hand("slanted")["7"]
DOT: list[Stroke] = [[(0.1, 0.85), (0.13, 0.88), (0.15, 0.85)]]
# What each model is drawn, and what is said to be right: nothing depends on what it answers.
CORRECTIONS = {"digits": "9", "hanzi": "百", "letters": "Q"}
DATASETS = {"mnist": tuple("0123456789"), "hanzi": hanzi.CLASS_NAMES, "emnist-letters": emnist.CLASS_NAMES}
CARDS = "#cards > li"


def settle(page: Page) -> None:
    """Until the drawing's answer is final: it is spoken then. The page's clock has to be installed."""
    page.evaluate("document.getElementById('spoken').textContent = ''")
    read_answer(page)
    page.clock.fast_forward(1_000)
    expect(page.locator("#spoken")).not_to_have_text("")


def read_rights(page: Page) -> list[str]:
    """What each card says to be right, the newest first."""
    open_view(page, "history")
    rights: list[str] = page.locator("#cards select").evaluate_all("selects => selects.map((select) => select.value)")
    open_view(page, "draw")
    return rights


def choose_model(page: Page, name: str) -> None:
    models = page.locator("#model option").evaluate_all("options => options.map((option) => option.value)")
    page.locator("#model").select_option(next(value for value in models if value.split(":")[0] == name))


def correct_newest(page: Page, right: str) -> None:
    open_view(page, "history")
    page.locator("#cards select").first.select_option(right)
    open_view(page, "draw")


def test_a_correction_is_kept_whatever_becomes_of_the_drawing(page: Page) -> None:
    page.clock.install()
    draw_with_mouse(page, SEVEN)
    settle(page)
    correct_newest(page, "9")
    page.locator("#why").click()
    settle(page)
    assert read_rights(page) == ["9"], "its reasons were asked for, and it is the same drawing"
    draw_with_mouse(page, DOT)
    settle(page)
    assert read_rights(page) == ["", "9"], "a drawing that goes on is another one"
    page.locator("#clear").click()
    page.locator("#undo").click()
    settle(page)
    choose_model(page, "letters")
    settle(page)
    assert read_rights(page) == ["", "9"], "one drawing, one card"


def test_what_is_cleared_at_once_is_kept_and_what_is_undone_is_not(page: Page) -> None:
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") + 1_000)  # no pen has rested long enough
    for digit in "35":
        draw_with_mouse(page, read_hand("upright")[digit])
        assert read_answer(page) == digit
        if digit == "3":
            clear(page)
    while page.locator("#undo").is_enabled() and page.locator("#clear").is_enabled():
        page.locator("#undo").click()
        expect(page.locator("#draw-answer")).to_have_attribute("aria-busy", "false")
    open_view(page, "history")
    expect(page.locator(f"{CARDS} .label")).to_have_text("3")


def test_two_tabs_have_one_history(page: Page) -> None:
    other = page.context.new_page()
    other.goto("/")
    expect(other.locator("#model")).to_be_enabled()
    open_view(other, "history")
    page.bring_to_front()
    for digit in "27":
        draw_with_mouse(page, read_hand("slanted")[digit])
        assert read_answer(page) == digit
        clear(page)
    expect(other.locator(CARDS)).to_have_count(2)
    other.bring_to_front()
    other.locator("#cards select").last.select_option("3")
    page.bring_to_front()
    draw_with_mouse(page, read_hand("slanted")["4"])
    assert read_answer(page) == "4"
    clear(page)
    assert read_rights(page) == ["", "", "3"]
    expect(other.locator(CARDS)).to_have_count(3)


def test_what_is_taken_away_can_be_brought_back(page: Page) -> None:
    show_history(page, "27")
    cards, undo, back = page.locator(CARDS), page.locator(".undo"), page.locator(".undo button")
    cards.first.locator(".remove").click()
    expect(cards).to_have_count(1)
    expect(undo).to_contain_text("1 picture deleted.")
    expect(back).to_be_focused()
    page.keyboard.press("Enter")
    expect(undo).to_be_hidden()
    expect(page.locator("#cards select").first).to_have_value("9")
    page.locator("#forget").click()
    expect(page.locator("#nothing")).to_be_visible()
    expect(page.locator("#zip")).to_be_disabled()
    expect(undo).to_contain_text("2 pictures deleted.")
    back.click()
    expect(cards).to_have_count(2)
    expect(page.locator("#corrected")).to_have_text("1 corrected")
    page.reload()
    open_view(page, "history")
    expect(cards).to_have_count(2)
    page.locator("#forget").click()
    page.reload()
    open_view(page, "history")
    expect(page.locator("#nothing")).to_be_visible()
    expect(undo).to_be_hidden()


def test_the_way_back_is_offered_for_a_while(page: Page) -> None:
    """And a drawing that was deleted does not come back by itself, though it stands on the pad."""
    page.clock.install()
    draw_with_mouse(page, SEVEN)
    assert read_answer(page) == "7"
    page.clock.fast_forward(1_000)
    open_view(page, "history")
    page.locator(".remove").click()
    page.clock.fast_forward(30_000)
    expect(page.locator(".undo")).to_be_visible()
    open_view(page, "draw")
    expect(page.locator("#draw")).to_be_visible()
    clear(page)
    open_view(page, "history")
    expect(page.locator(CARDS)).to_have_count(0)
    expect(page.locator(".undo")).to_be_hidden()


def unpack(archive: Path, folder: Path) -> None:
    """With Python, and with unzip where there is one; both must give the same names."""
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(folder)
    if not shutil.which("unzip"):
        return
    other = folder.with_name(folder.name + "-by-unzip")
    for language in ("C.UTF-8", "en_US.UTF-8"):
        environment = {**os.environ, "LC_ALL": language}
        subprocess.run(["unzip", "-qo", archive, "-d", other], check=True, env=environment, capture_output=True)
    assert list_files(other) == list_files(folder)
    assert all(file.stat().st_mode & 0o777 == 0o644 & ~_umask() for file in other.rglob("*.png")), "nobody may read it"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def list_files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_corrections_train_the_model_that_was_wrong(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloaded, unpacked, and given to the commands that the page shows, which can be copied."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"]).page
    downloads: list[Download] = []
    page.on("download", lambda download: downloads.append(download))
    expect(page.locator(".commands")).to_be_hidden()
    for model, right in CORRECTIONS.items():
        choose_model(page, model)
        draw_with_mouse(page, SEVEN)
        read_answer(page)
        clear(page)
        correct_newest(page, right)
    open_view(page, "history")
    commands = page.locator(".commands code")
    expect(commands).to_have_count(len(CORRECTIONS))
    page.locator(".command button").first.click()
    expect(page.locator(".command button").first).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == commands.first.inner_text()
    page.locator("#zip").click()
    while len(downloads) < len(CORRECTIONS):
        page.wait_for_event("download")
    for download in downloads:
        download.save_as(tmp_path / download.suggested_filename)
        unpack(tmp_path / download.suggested_filename, tmp_path / "unpacked")
    monkeypatch.chdir(tmp_path / "unpacked")
    documented = (ROOT / "docs/browser.md").read_text(encoding="utf-8")
    assert any(f"`{command}`" in documented for command in commands.all_inner_texts())
    for command in commands.all_inner_texts():
        options = build_parser().parse_args(run_by_make(command, tmp_path))
        (extra,) = options.extra
        model = extra.removeprefix("folder:corrections-")
        card = json.loads((ROOT / f"models/{model}/1/model.json").read_text(encoding="utf-8"))
        shipped = build_parser().parse_args(card["training"]["command"].removeprefix("python -m train ").split())
        assert options.network == shipped.network
        collection = read_folder(Path(extra.removeprefix("folder:")))
        assert collection.class_names == (CORRECTIONS[model],)
        assert tuple(collection.images.images.shape) == (1, 28, 28)
        assert options.dataset in LOADERS
        assert CORRECTIONS[model] in DATASETS[options.dataset], "training would refuse a class that the dataset lacks"


def run_by_make(command: str, folder: Path) -> list[str]:
    """What `python -m train` is given, once everything is installed."""
    (folder / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="ascii")
    (folder / "python").chmod(0o755)
    make, *words = shlex.split(command)
    there = [f"BIN={folder}", "-o", ".venv/.all", *words]
    done = subprocess.run([make, "-s", *there], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    flag, module, *given = done.stdout.splitlines()
    assert (flag, module) == ("-m", "train")
    return given


def test_a_folder_with_a_space_in_its_name_is_trained_with_too(tmp_path: Path) -> None:
    command = "make train ARGS=\"--extra 'folder:my pictures'\""
    assert f"`{command}`" in (ROOT / "docs/browser.md").read_text(encoding="utf-8")
    assert run_by_make(command, tmp_path) == ["--extra", "folder:my pictures"]


def test_a_browser_that_keeps_nothing_is_named(page: Page) -> None:
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })")
    page.reload()
    show_history(page, "2")
    expect(page.locator("#history-hint")).to_contain_text("This browser keeps nothing for this page")


def test_the_dataset_of_a_model_that_is_not_served_any_more_is_not_guessed(page: Page) -> None:
    show_history(page, "7")
    stored = "digitserve.history"
    page.evaluate(f"localStorage['{stored}'] = localStorage['{stored}'].replaceAll('digits', 'runes')")
    page.reload()
    open_view(page, "history")
    expect(page.locator(".commands code")).to_have_text('make train ARGS="--dataset DATASET --extra folder:corrections-runes"')
    expect(page.locator(".commands")).to_contain_text("This page does not know what runes was trained on")
