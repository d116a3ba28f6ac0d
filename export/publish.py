"""Write one version into the model repository, models/<name>/<version>/, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.repository import CARD, MODEL, NAME, VERSION  # what the server would not serve is not published
from train.errors import TrainingError

MAX_FILE_BYTES = 2_000_000


class PublishError(TrainingError):
    """The version exists already, has a bad name, is too large, or can't be written."""


def publish(
    models: Path, name: str, version: str, *, files: Mapping[str, bytes], card: dict[str, Any], force: bool = False
) -> Path:
    """Publish a model with its card, completed by name, version, checksum and size. Returns the version's folder.

    Args:
        files: by name; model.onnx is among them, and its variants may be.

    Raises:
        PublishError: a name or version that the server would not serve; a version that is there already, where `force` is not
            set; a file of more than 2 MB; or one that can't be written. Nothing has changed then.
    """
    target = check_target(models, name, version, force=force)
    check_sizes(files)
    model = files[MODEL]
    checked = {"sha256": hashlib.sha256(model).hexdigest(), "size_bytes": len(model)}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{version}-", dir=target.parent))
        try:
            for file, part in files.items():
                (folder / file).write_bytes(part)
            content = format_card({"name": name, "version": version, **card, **checked})
            (folder / CARD).write_text(content, encoding="utf-8")
            folder.chmod(0o755)
            _replace(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise PublishError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def format_card(card: Mapping[str, Any]) -> str:
    return json.dumps(card, indent=2, ensure_ascii=False) + "\n"


def check_target(models: Path, name: str, version: str, *, force: bool = False) -> Path:
    """The folder that a version would lie in; raises PublishError where it may not be written."""
    if not NAME.fullmatch(name):
        raise PublishError(
            f"model name {name!r}: use a lower-case letter, then up to 63 of lower-case letters, digits, - and _"
        )
    if not VERSION.fullmatch(version):
        raise PublishError(f"model version {version!r}: use a whole number from 1 to 999999999, without leading zeros")
    target = models / name / version
    if target.exists() and not force:
        raise PublishError(f"{target} is published already; choose another --version, or --force to replace it")
    return target


def check_sizes(files: Mapping[str, bytes]) -> None:
    for file, content in files.items():
        if len(content) > MAX_FILE_BYTES:
            raise PublishError(f"{file} has {len(content):,} bytes; {MAX_FILE_BYTES:,} are allowed")


def _replace(folder: Path, target: Path) -> None:
    """Move the new folder into place. A folder can't be renamed onto a full one: the old version steps aside first."""
    aside = folder.with_name(f"{folder.name}-old")
    if target.exists():
        target.rename(aside)
    try:
        folder.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
