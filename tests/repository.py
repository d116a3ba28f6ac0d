"""Writes versions of models, of any content, as they lie in a model repository."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

CONTENT = b"stands for an ONNX file"


def write_model(root: Path, name: str = "digits", version: str = "1", content: bytes = CONTENT, **changes: Any) -> Path:
    """Publishes a model. Changes are to its card; one of None removes the key."""
    folder = root / name / version
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    card = {
        "name": name,
        "version": version,
        "class_names": ["a", "b"],
        "input": {"height": 28, "width": 28},
        "max_batch_size": 64,
        "threshold": 0.5,
        "metrics": {"accuracy": 0.99, "n": 1000},
        "sha256": hashlib.sha256(content).hexdigest(),
    } | changes
    (folder / "model.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))
    return folder
