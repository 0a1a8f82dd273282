"""Options that are one of a few choices."""

from __future__ import annotations

import enum

import pytest

from lsst.dax.image.choices import as_choice
from lsst.dax.image.errors import RequestError


class _Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class _Other(enum.Enum):
    RED = "red"


def test_member_and_value() -> None:
    assert as_choice(_Colour.BLUE, _Colour, "colour") is _Colour.BLUE
    assert as_choice("blue", _Colour, "colour") is _Colour.BLUE


@pytest.mark.parametrize("value", ["green", "RED", None, 1, _Other.RED, ["red"]])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(RequestError, match=r"option colour is one of _Colour\.RED \('red'\), .*not "):
        as_choice(value, _Colour, "colour")
