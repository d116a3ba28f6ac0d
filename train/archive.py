"""Files of numpy arrays (.npz), whole or refused."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from train.errors import DataError

Array: TypeAlias = NDArray[Any]


def read_archive(path: Path, *names: str) -> list[Array]:
    """The arrays of these names. Nothing in the file is ever run: pickled objects are refused.

    Raises:
        DataError: there is no such file, or it is damaged, or lacks one of the arrays.
    """
    try:
        with path.open("rb") as source, np.load(source, allow_pickle=False) as stored:
            return [stored[name] for name in names]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged, or something else: {' '.join(str(error).split())}") from error
