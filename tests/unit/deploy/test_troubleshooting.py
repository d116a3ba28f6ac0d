"""Whatever the launcher can fail with has a heading in docs/troubleshooting.md that is its text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
# argparse's own words, which `bad setting: {reason}` already stands for.
PASSED_ON = {"{} (see --help)"}


def read_text(node: ast.expr) -> str:
    """A text in the source, {} standing for what is filled in; of a sum, its first part."""
    if isinstance(node, ast.BinOp):
        return read_text(node.left)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else ""


def find_messages(source: str) -> Iterator[str]:
    """What its errors are made with, and the lines that it ends with."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            name = node.func.id
            if name.endswith("Error") or name == "_fail":
                yield read_text(node.args[0])


def find_ends(source: str) -> Iterator[str]:
    """How a child can end, in words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.IfExp):
            yield from (read_text(each) for each in (node.body, node.orelse) if isinstance(each, ast.JoinedStr))


def read_headings() -> list[str]:
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    return [re.sub(r"\{\w+\}", "{}", heading) for heading in re.findall(r"^### `(.+)`$", page, re.MULTILINE)]


def test_every_message_of_the_launcher_has_its_heading() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "deploy").glob("*.py"))}
    messages = {text for source in sources.values() for text in find_messages(source) if text.strip("{} ")}
    ends = {text for text in find_ends(sources["child.py"]) if text.startswith(("was", "ended"))}
    headings = read_headings()
    assert len(messages) >= 6
    assert len(ends) == 2
    assert [text for text in messages | ends if text not in PASSED_ON and not any(h in text for h in headings)] == []
