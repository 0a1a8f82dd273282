"""Cards mean the same to us and to astropy, and lose nothing."""

from __future__ import annotations

import math

import astropy.io.fits
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.dax.image.container.cards import (
    find_header_end,
    make_card,
    make_header,
    parse_card,
    read_cards,
    split_cards,
)
from lsst.dax.image.errors import InputDataError, OutputError

# astropy stops at "'/" within a long string, and drops ampersands at its end.
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="/&"), max_size=200)
KEYWORDS = st.sampled_from(["KEY", "A-KEY_12", "LSST ISR UNITS", "LONGER_THAN_8"])
VALUES = st.one_of(
    TEXT.map(str.rstrip),
    st.integers(-(2**63), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)


@given(KEYWORDS, VALUES, TEXT)
def test_values_survive_in_both_readers(keyword: str, value: str | float | None, comment: str) -> None:
    card = make_card(keyword, value, comment)
    assert len(card) % 80 == 0
    header = make_header([card])
    assert len(header) % 2880 == 0
    assert find_header_end(b"x" * 2880 + header, 2880) == 2880 + len(header)
    cards = split_cards(header)
    assert b"".join(cards) == card
    mine = read_cards(cards, [keyword])[keyword]
    assert mine == value
    assert type(mine) is type(value)
    theirs = astropy.io.fits.Header.fromstring(header)[keyword]
    if value is None:
        assert theirs is None or isinstance(theirs, astropy.io.fits.card.Undefined)
    else:
        assert theirs == value


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300).map(str.rstrip))
def test_ampersands_and_slashes_survive(value: str) -> None:
    cards = split_cards(make_header([make_card("KEY", value, "comment"), make_card("NEXT", 1)]))
    assert read_cards(cards, ["KEY", "NEXT"]) == {"KEY": value, "NEXT": 1}


@pytest.mark.parametrize(
    ("text", "keyword", "value"),
    [
        ("NAXIS1  =                 4072 / columns", "NAXIS1", 4072),
        ("X       = -1.5D3", "X", -1500.0),
        ("X       = .5E-1 /", "X", 0.05),
        ("X       =                    T", "X", True),
        ("X       = 'it''s / here  ' / comment", "X", "it's / here"),
        ("X       = ''", "X", ""),
        ("X       =", "X", None),
        ("COMMENT = 5", "COMMENT", 5),
        ("HISTORY of = all", "HISTORY", None),
        ("HIERARCH LSST isr UNITS = 'adu'", "LSST ISR UNITS", "adu"),
        ("END", "END", None),
    ],
)
def test_cards_of_others(text: str, keyword: str, value: object) -> None:
    assert parse_card(text.ljust(80).encode()) == (keyword, value)


@pytest.mark.parametrize("text", ["'open", "1 2", "(1, 2)", "1.5.2", "nan", "9" * 60, "\xff", "'a' b"])
def test_values_that_are_none_are_refused_where_they_are_needed(text: str) -> None:
    card = f"X       = {text}".ljust(80).encode("latin-1")
    with pytest.raises(InputDataError, match=r"FITS card b.X       = .* has no usable value"):
        read_cards([card], ["X"])
    assert read_cards([card], ["Y"]) == {}


def test_the_first_of_several_counts() -> None:
    assert read_cards([make_card("X", 1), make_card("X", 2)], ["X"]) == {"X": 1}


@pytest.mark.parametrize(("keyword", "value"), [("X", math.nan), ("X", -math.inf)])
def test_numbers_that_fits_has_not_are_refused(keyword: str, value: float) -> None:
    with pytest.raises(OutputError, match=f"no way to write X = {value}"):
        make_card(keyword, value)


@pytest.mark.parametrize(
    ("keyword", "value", "comment", "message"),
    [
        ("", 1, "", "'' is no keyword"),
        ("A=B", 1, "", "'A=B' is no keyword"),
        ("K" * 61, 1, "", "is no keyword"),
        ("X", "naïve", "", "has characters that FITS has not"),
        ("X", 1, "line\nbreak", "has characters that FITS has not"),
        ("LONG KEYWORD " + "X" * 40, 10**40, "", "does not fit"),
    ],
)
def test_what_fits_cannot_say_is_refused(keyword: str, value: str | int, comment: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        make_card(keyword, value, comment)


def test_a_header_that_does_not_end_has_no_end() -> None:
    header = make_header([make_card("X", 1)] * 40)
    assert len(header) == 2 * 2880
    assert find_header_end(header[:2880]) is None
    assert find_header_end(header[:-1]) is None
    assert find_header_end(b"") is None
