"""FITS header cards: bytes to values and values to bytes."""

from __future__ import annotations

__all__ = (
    "BLOCK_SIZE",
    "CARD_SIZE",
    "CardValue",
    "find_header_end",
    "make_card",
    "make_header",
    "parse_card",
    "read_cards",
    "split_cards",
)

import math
import re
from collections.abc import Collection, Iterable, Sequence

from ..errors import InputDataError, OutputError

BLOCK_SIZE = 2880
"""Bytes that every part of a FITS file is a multiple of."""

CARD_SIZE = 80
"""Bytes of one card."""

type CardValue = str | int | float | bool | None
"""Value of a card; None where a card has no value."""

_END = b"END".ljust(CARD_SIZE)
_HIERARCH = b"HIERARCH "
_STANDARD_KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}$")
# Some keyword characters outside the standard are harmless after HIERARCH.
_LONG_KEYWORD = re.compile(r"[!-<>-~]+( [!-<>-~]+)*$")
_PRINTABLE = re.compile(rb"[ -~]*\Z")
_STRING = re.compile(rb" *'((?:[^']|'')*)' *(?:/.*)?$")
_OTHER = re.compile(rb" *([^/ ]*) *(?:/.*)?$")
_INTEGER = re.compile(rb"[+-]?\d+$")
_FLOAT = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?$")
_MAX_DIGITS = 40  # int() of a damaged card must stay cheap


def find_header_end(data: bytes, start: int = 0) -> int | None:
    """Find where a header ends.

    Parameters
    ----------
    data
        Bytes of a FITS file.
    start
        Where the header begins.

    Returns
    -------
    end
        Position after the last block of the header; None where ``data`` ends
        before the header does.
    """
    for position in range(start, len(data) - CARD_SIZE + 1, CARD_SIZE):
        if data[position : position + CARD_SIZE] == _END:
            end = start + -(-(position + CARD_SIZE - start) // BLOCK_SIZE) * BLOCK_SIZE
            return end if end <= len(data) else None
    return None


def split_cards(header: bytes) -> list[bytes]:
    """Return the cards of a header.

    Parameters
    ----------
    header
        Bytes that begin with a header.

    Returns
    -------
    cards
        80 bytes each, without the END card and what follows it.

    Raises
    ------
    InputDataError
        Raised if there are characters that FITS has not in a header.
    """
    if not _PRINTABLE.match(header):
        raise InputDataError(f"A FITS header of {len(header)} bytes has characters that none may have.")
    cards = [header[start : start + CARD_SIZE] for start in range(0, len(header), CARD_SIZE)]
    return cards[: cards.index(_END)] if _END in cards else cards


def parse_card(card: bytes) -> tuple[str, CardValue]:
    """Return keyword and value of one card.

    Parameters
    ----------
    card
        80 bytes.

    Returns
    -------
    keyword
        Upper case; without ``HIERARCH``.
    value
        A string has no trailing blanks; None for a card without a value,
        such as a comment.

    Raises
    ------
    InputDataError
        Raised if the value is none that FITS knows, or a complex number.
    """
    keyword, field = _split(card)
    return keyword.decode("latin-1").upper(), _parse_value(field, card)


def read_cards(cards: Sequence[bytes], keywords: Collection[str]) -> dict[str, CardValue]:
    """Return the values of some keywords.

    Parameters
    ----------
    cards
        Cards of one header.
    keywords
        Upper-case keywords to look for.

    Returns
    -------
    values
        Value of the first card of each keyword that has one, strings with
        their continuation.

    Raises
    ------
    InputDataError
        Raised if a value that was asked for is none that FITS knows.
    """
    wanted = {keyword.encode("ascii"): keyword for keyword in keywords}
    values: dict[str, CardValue] = {}
    for number, card in enumerate(cards):
        keyword, field = _split(card)
        name = wanted.get(keyword)
        if name is None or name in values:
            continue
        value = _parse_value(field, card)
        values[name] = _continued(value, cards[number + 1 :]) if _is_open(value) else value
    return values


def make_card(keyword: str, value: CardValue, comment: str = "") -> bytes:
    """Return the bytes of one card.

    Parameters
    ----------
    keyword
        A keyword that is not a standard one (longer than eight characters,
        or with blanks) becomes a ``HIERARCH`` card.
    value
        Floating point values keep every digit, a long string continues on
        further cards, None makes a card without a value.
    comment
        Cut where it does not fit.

    Returns
    -------
    card
        A multiple of 80 bytes.

    Raises
    ------
    OutputError
        Raised if FITS cannot say this.
    """
    if not _is_text(f"{keyword}{comment}"):
        raise OutputError(f"Card {keyword!r} / {comment!r} has characters that FITS has not.")
    if _STANDARD_KEYWORD.match(keyword):
        start = f"{keyword:8}= "
    elif _LONG_KEYWORD.match(keyword) and len(keyword) <= 60:
        start = f"HIERARCH {keyword} = "
    else:
        raise OutputError(f"{keyword!r} is no keyword of a FITS header.")
    if isinstance(value, str):
        return _make_string_card(start, value, comment)
    text = f"{start}{_format_number(keyword, value):>20}"
    if len(text) > CARD_SIZE:
        raise OutputError(f"The value {value!r} does not fit a card of keyword {keyword!r}.")
    return _with_comment(text, comment)


def make_header(cards: Iterable[bytes]) -> bytes:
    """Return a complete header.

    Parameters
    ----------
    cards
        Cards without END.

    Returns
    -------
    header
        Cards, END and blanks up to a multiple of 2880 bytes.
    """
    header = b"".join((*cards, _END))
    return header + b" " * (-len(header) % BLOCK_SIZE)


def _split(card: bytes) -> tuple[bytes, bytes | None]:
    """Return keyword and value field; no field where there is no value."""
    if card[8:10] == b"= ":
        return card[:8].rstrip(), card[10:]
    if card.startswith(_HIERARCH):
        keyword, equals, field = card[len(_HIERARCH) :].partition(b"=")
        return keyword.strip(), field if equals else None
    return card[:8].rstrip(), None


def _parse_value(field: bytes | None, card: bytes) -> CardValue:
    """Return the value in a value field."""
    if field is None:
        return None
    if string := _STRING.match(field):
        return string[1].replace(b"''", b"'").rstrip().decode("latin-1")
    other = _OTHER.match(field)
    text = other[1] if other else b"?"
    if not text:
        return None
    if text in {b"T", b"F"}:
        return text == b"T"
    if len(text) <= _MAX_DIGITS:
        if _INTEGER.match(text):
            return int(text)
        if _FLOAT.match(text):
            return float(text.upper().replace(b"D", b"E"))
    raise InputDataError(f"FITS card {card.rstrip()!r} has no usable value.")


def _is_open(value: CardValue) -> bool:
    """Return whether a string goes on on the next card."""
    return isinstance(value, str) and value.endswith("&")


def _continued(value: CardValue, following: Sequence[bytes]) -> CardValue:
    """Return a string with what the cards after it add."""
    text = str(value)
    for card in following:
        string = _STRING.match(card[8:]) if card.startswith(b"CONTINUE") else None
        if string is None or not text.endswith("&"):
            break
        text = text[:-1] + string[1].replace(b"''", b"'").rstrip().decode("latin-1")
    return text


def _format_number(keyword: str, value: CardValue) -> str:
    """Return what stands in the value field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, int | str):
        return str(value)
    if not math.isfinite(value):
        raise OutputError(f"FITS has no way to write {keyword} = {value}.")
    text = repr(float(value)).upper()
    return text if "." in text or "E" not in text else text.replace("E", ".0E")


def _is_text(text: str) -> bool:
    """Return whether FITS has all characters: those of ASCII that print."""
    return text.isascii() and text.isprintable()


def _make_string_card(start: str, value: str, comment: str) -> bytes:
    """Return the card of a string, and its continuation."""
    if not _is_text(value):
        raise OutputError(f"The value {value!r} of {start.rstrip('= ')} has characters that FITS has not.")
    quoted = value.replace("'", "''")
    if len(start) + len(quoted) + 2 <= CARD_SIZE:
        return _with_comment(f"{start}{f"'{quoted:8}'":20}", comment)
    cards: list[bytes] = []
    while True:
        room = CARD_SIZE - len(start) - 2
        if len(quoted) <= room:
            return b"".join(cards) + _with_comment(f"{start}'{quoted}'", comment)
        room -= 1  # for the ampersand
        # A doubled quote must not be torn, nor a blank lost at the end.
        while quoted[:room].count("'") % 2 and quoted[room - 1] == "'":
            room -= 1
        cards.append(f"{start}'{quoted[:room]}&'".ljust(CARD_SIZE).encode("ascii"))
        quoted, start = quoted[room:], "CONTINUE  "


def _with_comment(text: str, comment: str) -> bytes:
    """Return a card with as much of the comment as fits."""
    if comment and len(text) + 3 < CARD_SIZE:
        text = f"{text} / {comment}"
    return text[:CARD_SIZE].rstrip(" ").ljust(CARD_SIZE).encode("ascii")
