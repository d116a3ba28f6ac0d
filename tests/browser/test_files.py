"""Image files: dropped, pasted and chosen; a table, a CSV file, and corrections that training takes."""

from __future__ import annotations

import base64
import csv
import zipfile
from pathlib import Path

from playwright.sync_api import FilePayload, Page, expect

from tests.browser.hands import draw_with_mouse, read_hand
from tests.browser.states import open_view, picture_files, show_history, text_file
from train.folder import read_folder

# Files that the page makes for itself, as if they came from another window.
HAND_OVER = """([kind, files]) => {
    const transfer = new DataTransfer();
    for (const { name, type, content } of files) {
        transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, { type }));
    }
    const settings = { bubbles: true, cancelable: true };
    const event = kind === "paste" ? new ClipboardEvent(kind, { ...settings, clipboardData: transfer })
                                   : new DragEvent(kind, { ...settings, dataTransfer: transfer });
    return !document.body.dispatchEvent(event);
}"""


def hand_over(page: Page, kind: str, files: list[FilePayload]) -> bool:
    """Dispatches a dragover, drop or paste with these files. Returns whether the page took it."""
    packed = [
        {"name": file["name"], "type": file["mimeType"], "content": base64.b64encode(file["buffer"]).decode()} for file in files
    ]
    return bool(page.evaluate(HAND_OVER, [kind, packed]))


def read_table(page: Page) -> list[tuple[str, str, str]]:
    """(file, answer, note) of each row, once all are read."""
    expect(page.locator("#csv")).to_be_enabled()
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#rows tr").all()]
    return [(name, answer, note) for _, name, answer, _, note in rows]


def test_dropped_files_are_read_wherever_they_fall(page: Page) -> None:
    assert hand_over(page, "dragover", picture_files("5")), "the browser would open the file instead"
    assert hand_over(page, "drop", picture_files("508"))
    expect(page.locator("#files")).to_be_visible()
    assert read_table(page) == [("5.png", "5", ""), ("0.png", "0", ""), ("8.png", "8", "")]
    expect(page.locator("#progress")).to_have_text("3 of 3 read")


def test_a_pasted_picture_is_read(page: Page) -> None:
    hand_over(page, "paste", picture_files("6"))
    assert read_table(page) == [("6.png", "6", "")]


def test_text_that_is_dropped_or_pasted_is_not_ours(page: Page) -> None:
    assert not hand_over(page, "drop", [])
    hand_over(page, "paste", [])
    expect(page.locator("#draw")).to_be_visible()


def test_a_file_that_can_not_be_read_is_named_among_the_others(page: Page) -> None:
    open_view(page, "files")
    one, two = picture_files("12")
    page.locator("#chooser").set_input_files([one, text_file(), two])
    first, second, third = read_table(page)
    assert (first[:2], third[:2]) == (("1.png", "1"), ("2.png", "2"))
    assert second[:2] == ("notes.png", "")
    assert second[2].startswith("can't be read: not a readable image file")


def test_the_same_file_can_be_chosen_again_and_the_list_emptied(page: Page) -> None:
    open_view(page, "files")
    for _ in range(2):
        page.locator("#chooser").set_input_files(picture_files("9"))
    assert [answer for _, answer, _ in read_table(page)] == ["9", "9"]
    page.locator("#empty").click()
    expect(page.locator("#results")).to_be_hidden()


def test_the_table_goes_home_as_csv(page: Page, tmp_path: Path) -> None:
    open_view(page, "files")
    page.locator("#chooser").set_input_files([*picture_files("37"), text_file()])
    read_table(page)
    with page.expect_download() as download:
        page.locator("#csv").click()
    assert download.value.suggested_filename == "answers.csv"
    download.value.save_as(tmp_path / "answers.csv")
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        three, seven, notes = csv.DictReader(file)
    assert (three["file"], three["answer"], three["unsure"], three["error"]) == ("3.png", "3", "false", "")
    assert seven["answer"] == "7"
    assert float(seven["probability"]) > float(seven["runner_up_probability"])
    assert seven["model"].startswith("digits:")
    assert (notes["file"], notes["answer"]) == ("notes.png", "")
    assert notes["error"]


def test_corrections_are_a_folder_that_training_reads(page: Page, tmp_path: Path) -> None:
    show_history(page, "7")
    with page.expect_download() as download:
        page.locator("#zip").click()
    assert download.value.suggested_filename == "corrections-digits.zip"
    download.value.save_as(tmp_path / "corrections.zip")
    with zipfile.ZipFile(tmp_path / "corrections.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    collection = read_folder(tmp_path / "corrections-digits")
    assert collection.class_names == ("9",)
    assert tuple(collection.images.images.shape) == (1, 28, 28)
    assert collection.images.labels.tolist() == [0]


def test_the_history_survives_a_reload_and_is_forgotten_on_request(page: Page) -> None:
    show_history(page, "27")
    page.reload()
    open_view(page, "history")
    expect(page.locator("#cards > li")).to_have_count(2)
    expect(page.locator("#corrected")).to_have_text("1 corrected")
    page.locator("#forget").click()
    expect(page.locator("#nothing")).to_be_visible()


def test_another_model_reads_the_list_anew(page: Page) -> None:
    draw_with_mouse(page, read_hand("round")["0"])
    open_view(page, "files")
    page.locator("#chooser").set_input_files(picture_files("4"))
    read_table(page)
    other = next(label for label in page.locator("#model option").all_inner_texts() if label.startswith("digits-large"))
    page.locator("#model").select_option(label=other)
    assert read_table(page) == [("4.png", "4", "")]
