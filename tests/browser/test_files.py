"""Image files: dropped, pasted and chosen; a table of what is in them, and the same as a CSV file."""

from __future__ import annotations

import base64
import csv
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from playwright.sync_api import FilePayload, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.hands import connect, draw_with_mouse, paint, read_hand
from tests.browser.states import open_view, picture_files, text_file

UPLINK_BYTES_PER_S = 500_000  # 4 Mbit/s
LARGE_SIDE = 400
PHONE = {"width": 320, "height": 700}

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
    names = page.locator("#rows .name").all_inner_texts()
    lines = [[line for line in text.splitlines() if line] for text in names]
    answers = [row.locator(".label").all_inner_texts() for row in page.locator("#rows tr").all()]
    return [(name, "".join(answer), "\n".join(notes)) for (name, *notes), answer in zip(lines, answers, strict=True)]


def hash_file() -> FilePayload:
    """Three lines across four."""
    canvas = Image.new("L", (140, 140), 255)
    pen, buffer = ImageDraw.Draw(canvas), io.BytesIO()
    for place in (30, 70, 110):
        pen.line([(15, place), (125, place)], fill=0, width=7)
    for place in (25, 55, 85, 115):
        pen.line([(place, 15), (place, 125)], fill=0, width=7)
    canvas.save(buffer, "PNG")
    return {"name": "hash.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def noise_file() -> FilePayload:
    """A PNG that nothing makes smaller: half a megabyte."""
    pixels = np.random.default_rng(0).integers(0, 256, (LARGE_SIDE, LARGE_SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"name": "large.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def empty_file() -> FilePayload:
    return {"name": "empty.png", "mimeType": "image/png", "buffer": b""}


def huge_file() -> FilePayload:
    """So many pixels that no browser can make it smaller, in a few bytes."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0), b"IDAT" + zlib.compress(b""))
    packed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    content = b"".join((b"\x89PNG\r\n\x1a\n", *packed))
    return {"name": "a-picture-with-a-rather-long-name.png", "mimeType": "image/png", "buffer": content}


def large_picture(digit: str) -> FilePayload:
    """As phones take them: of 20 million pixels."""
    buffer = io.BytesIO()
    paint(read_hand("upright")[digit]).resize((5_000, 4_000)).save(buffer, "PNG")
    return {"name": f"{digit}.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def moving_picture(digit: str) -> FilePayload:
    """A digit, and black ever after."""
    first = paint(read_hand("upright")[digit])
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=[Image.new("L", first.size, 0)], duration=20)
    return {"name": f"{digit}.gif", "mimeType": "image/gif", "buffer": buffer.getvalue()}


def test_dropped_files_are_read_wherever_they_fall(page: Page) -> None:
    """And while they are held above the page, it says what it will do with them, whatever it shows."""
    sheet = page.locator(".dropping")
    expect(sheet).to_have_count(0)
    assert hand_over(page, "dragover", picture_files("5")), "the browser would open the file instead"
    expect(sheet).to_have_text("Drop the pictures to have them read")
    page.evaluate("document.body.dispatchEvent(new DragEvent('dragleave', { bubbles: true }))")
    expect(sheet).to_have_count(0)
    hand_over(page, "dragover", picture_files("5"))
    assert hand_over(page, "drop", picture_files("508"))
    expect(sheet).to_have_count(0)
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
    expect(page.locator("#progress")).to_have_text("3 of 3 done, 1 without an answer")
    assert second[2] == "not a picture that can be read"
    page.locator("#rows summary").press("Enter")
    assert read_table(page)[1][2].startswith("not a picture that can be read\nnot a readable image file: expected one of PNG")


def test_why_a_file_was_not_read_is_told_on_a_phone_and_in_chinese(open_page: OpenPage) -> None:
    """Below its name, in the reader's language, in one line; the server's own words can be unfolded."""
    page = open_page(locale="zh-CN", viewport=PHONE).page
    open_view(page, "files")
    page.locator("#chooser").set_input_files([*picture_files("1"), text_file(), empty_file(), huge_file()])
    one, notes, empty, huge = read_table(page)
    assert (one[1], one[2]) == ("1", "")
    assert [each[2] for each in (notes, empty, huge)] == ["不是能读取的图片", "文件是空的", "图片的像素太多"]
    assert page.locator(".scroll").evaluate("table => table.scrollWidth - table.clientWidth") == 0, "its end is not seen"
    heights = [row.bounding_box()["height"] for row in page.locator("thead tr, #rows tr").all()]  # type: ignore[index]
    assert heights[0] < 45, "a heading is broken"
    assert max(heights) < 130
    page.locator("#language").click()
    assert read_table(page)[2][2] == "the file is empty"


def test_a_large_file_on_a_slow_line_is_sent_once_and_read(page: Page) -> None:
    """It takes longer than an answer to a drawing may; only the page's clock goes faster here, not the line."""
    page.clock.install()
    open_view(page, "files")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if request.url.endswith("/Recognize") else None)
    with connect(page) as session:
        line = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": UPLINK_BYTES_PER_S}
        session.send("Network.emulateNetworkConditions", line)
        with page.expect_request("**/Recognize"):
            page.locator("#chooser").set_input_files(noise_file())
        page.clock.fast_forward(20_000)
        expect(page.locator("#state")).to_have_text("")
        assert read_table(page)[0][0] == "large.png"
    assert len(requests) == 1
    expect(page.locator("#state")).to_have_text("")


def test_a_file_that_takes_too_long_says_so_in_its_row(page: Page) -> None:
    """And the server is not away: the other files are read."""
    page.clock.install()
    page.route("**/Recognize", lambda route: None, times=1)  # it never gets anywhere
    open_view(page, "files")
    with page.expect_request("**/Recognize"):
        page.locator("#chooser").set_input_files(picture_files("12"))
    page.clock.fast_forward(61_000)
    late, two = sorted(read_table(page), key=lambda row: row[1])
    assert late[2] == "sending it took too long"
    assert two[1] in "12"
    expect(page.locator("#state")).to_have_text("")


def test_in_a_long_list_the_answer_is_beside_its_picture_and_the_progress_in_sight(page: Page) -> None:
    open_view(page, "files")
    page.locator("#chooser").set_input_files(picture_files("12") * 6)
    read_table(page)
    last = page.locator("#rows tr").last
    last.scroll_into_view_if_needed()
    assert page.evaluate("scrollY") > 0
    for name in ("#progress", "#csv", "#empty"):
        expect(page.locator(name)).to_be_in_viewport(ratio=1)
    picture, answer = (last.locator(name).bounding_box() for name in ("img", ".label"))
    assert picture
    assert answer
    assert answer["x"] - picture["x"] - picture["width"] < 40


def test_what_is_added_to_a_long_list_is_in_sight(page: Page) -> None:
    open_view(page, "files")
    page.locator("#chooser").set_input_files(picture_files("12") * 12)
    read_table(page)
    expect(page.locator("#rows tr").last).not_to_be_in_viewport()
    hand_over(page, "paste", picture_files("6"))
    expect(page.locator("#rows tr").last).to_be_in_viewport(ratio=0.9)
    assert read_table(page)[-1] == ("6.png", "6", "")


def test_what_looks_like_none_of_them_is_called_none_of_them(page: Page) -> None:
    """As on the pad, it is a question mark, without the tenth that each of ten has by chance."""
    open_view(page, "files")
    page.locator("#chooser").set_input_files(hash_file())
    assert read_table(page) == [("hash.png", "?", "looks like none of them")]
    assert page.locator("#rows .share").inner_text() == ""


def test_the_same_file_can_be_chosen_again_and_the_list_emptied(page: Page) -> None:
    open_view(page, "files")
    for _ in range(2):
        page.locator("#chooser").set_input_files(picture_files("9"))
    assert [answer for _, answer, _ in read_table(page)] == ["9", "9"]
    page.locator("#empty").click()
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#chooser")).to_be_focused()


def test_a_picture_that_is_too_large_is_made_smaller_and_one_that_moves_stands_still(page: Page) -> None:
    open_view(page, "files")
    page.locator("#chooser").set_input_files([large_picture("3"), moving_picture("7")])
    assert read_table(page) == [("3.png", "3", ""), ("7.gif", "7", "")]
    shot = Image.open(io.BytesIO(page.locator("#rows img").last.screenshot())).convert("L")
    assert np.median(np.asarray(shot)) > 200, "the frame that is shown is not the one that was read"


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


def test_another_model_reads_the_list_anew(page: Page) -> None:
    draw_with_mouse(page, read_hand("round")["0"])
    open_view(page, "files")
    page.locator("#chooser").set_input_files(picture_files("4"))
    read_table(page)
    page.locator("#model").select_option(label="Robust digits")
    assert read_table(page) == [("4.png", "4", "")]
