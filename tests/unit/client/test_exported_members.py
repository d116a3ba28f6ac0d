from __future__ import annotations

import types

import digitserve


def test_all_is_complete() -> None:
    public = {
        name
        for name, member in vars(digitserve).items()
        if not name.startswith("_") and not isinstance(member, types.ModuleType) and name != "annotations"
    }
    assert len(set(digitserve.__all__)) == len(digitserve.__all__)
    assert set(digitserve.__all__) == public | {"__version__"}
