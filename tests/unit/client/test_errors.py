from __future__ import annotations

import copy
import pickle
import re

import digitserve
import pytest
from digitserve import errors
from digitserve.errors import (
    DigitserveError,
    Internal,
    InvalidImage,
    InvalidRequest,
    MessageTooLarge,
    ModelNotFound,
    Overloaded,
    error_from_status,
    own_copy,
)


def drawn_tree() -> dict[str, str]:
    """Each class name of the module's docstring with the name of the class that it hangs from."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│├└─ ]*)([A-Z]\w+)(?:\s{2,}|$)", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        above = [item for item in above if item[0] < depth]
        parents[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return parents


def test_the_drawn_tree_is_the_real_one() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DigitserveError)]
    assert drawn_tree() == {kind.__name__: kind.__bases__[0].__name__ for kind in classes}
    assert {kind.__name__ for kind in classes} <= set(digitserve.__all__)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INVALID_ARGUMENT", errors.InvalidRequest),
        ("NOT_FOUND", errors.ModelNotFound),
        ("RESOURCE_EXHAUSTED", errors.Overloaded),
        ("UNAVAILABLE", errors.Unavailable),
        ("DEADLINE_EXCEEDED", errors.DeadlineExceeded),
        ("UNAUTHENTICATED", errors.Unauthenticated),
        ("PERMISSION_DENIED", errors.Unauthenticated),
        ("UNIMPLEMENTED", errors.Unimplemented),
        ("INTERNAL", errors.Internal),
        ("UNKNOWN", errors.Internal),
        ("DATA_LOSS", errors.Internal),
        ("CANCELLED", errors.Internal),
    ],
)
def test_each_status_has_its_error(code: str, kind: type[DigitserveError]) -> None:
    error = error_from_status(code, "why")
    assert (type(error), error.code, error.message) == (kind, code, "why")


@pytest.mark.parametrize(
    ("field", "kind"),
    [("image", InvalidImage), ("image.raw.pixels", InvalidImage), ("images", InvalidImage), ("layout", InvalidRequest)],
)
def test_a_bad_image_has_an_error_of_its_own(field: str, kind: type[DigitserveError]) -> None:
    error = error_from_status("INVALID_ARGUMENT", "why", field=field)
    assert type(error) is kind
    assert str(error) == f"{field}: why"


def test_a_message_over_the_limit_is_not_overload() -> None:
    refusal = "CLIENT: Received message larger than max (20 vs. 10)"
    assert type(error_from_status("RESOURCE_EXHAUSTED", refusal)) is MessageTooLarge
    assert type(error_from_status("RESOURCE_EXHAUSTED", "the tray is full", retry_after_s=0.1)) is Overloaded


@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_being_copied_and_pickled(duplicate: object) -> None:
    assert callable(duplicate)
    twin = duplicate(Overloaded("full", field="images", retry_after_s=0.5, code="RESOURCE_EXHAUSTED"))
    assert (type(twin), twin.message, twin.field, twin.retry_after_s) == (Overloaded, "full", "images", 0.5)


def test_an_own_copy_keeps_the_cause() -> None:
    error = ModelNotFound("none")
    error.__cause__ = KeyError("x")
    assert own_copy(error) is not error
    assert own_copy(error).__cause__ is error.__cause__


def test_internal_keeps_the_status_that_it_stands_for() -> None:
    assert Internal("x").code == "INTERNAL"
    assert error_from_status("DATA_LOSS", "x").code == "DATA_LOSS"
