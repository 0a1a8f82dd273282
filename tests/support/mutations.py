"""Damage FITS files in every way that a disk, a network or a bug may do it."""

from __future__ import annotations

__all__ = ("HduSpan", "Layout", "Mutant", "mutate", "read_layout")

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import astropy.io.fits
import numpy as np

CARD = 80
BLOCK = 2880

# Cards that decide how much is read, and from where.
DECISIVE = re.compile(
    rb"(Z?BITPIX|Z?NAXIS\d?|Z?TILE\d|[PG]COUNT|Z?TFORM\d|TTYPE\d|TDIM\d|TFIELDS|THEAP|ZCMPTYPE|ZQUANTIZ"
    rb"|ZDITHER0|ZBLANK|BLANK|ZSCALE|ZZERO|BSCALE|BZERO|ZVAL\d|ZNAME\d|EXTNAME|EXTVER|XTENSION|ZIMAGE|SIMPLE"
    rb"|FMTVER|DATAMODL|INDXADDR|INDXSIZE|JSONADDR|JSONSIZE|CTYPE\d|CRVAL\d|CRPIX\d|CD\d_\d|CUNIT\d|BUNIT) *="
)
HUGE = (0, -1, 1, 7, 2**15, 2**31 - 1, -(2**31), 2**32, 2**40, 2**63 - 1, -(2**63), 10**18)
NONSENSE = (
    *(str(value) for value in HUGE),
    "1E308",
    "-1.5",
    "NaN",
    "T",
    "",
    "'1PB(99999999)'",
    "'-1QX(1)'",
    "'0J'",
    "'999999999999D'",
    "'nonsense'",
    "'GZIP_1'",
    "'GZIP_2'",
    "'RICE_1'",
    "'PLIO_1'",
    "'HCOMPRESS_1'",
    "'NO_DITHER'",
    "'SUBTRACTIVE_DITHER_1'",
    "'IMAGE'",
    "'MASK'",
    "'BINTABLE'",
    "'unterminated",
    "\xff\x00\x01",
)


@dataclass(frozen=True)
class HduSpan:
    """Byte offsets of one HDU."""

    header: int
    """First byte of the header."""

    data: int
    """First byte after the header."""

    end: int
    """First byte after the HDU."""


@dataclass(frozen=True)
class Layout:
    """Where the HDUs of a sound file are."""

    hdus: tuple[HduSpan, ...]
    json: tuple[int, int] | None
    """Begin and end of the JSON tree of an `lsst.images` file."""


@dataclass(frozen=True)
class Mutant:
    """A damaged file."""

    data: bytes
    damage: str
    """What was done to it, in words."""


def read_layout(data: bytes) -> Layout:
    """Return where the HDUs of a sound FITS file are."""
    with astropy.io.fits.open(io.BytesIO(data), disable_image_compression=True) as hdus:
        infos = [hdu.fileinfo() for hdu in hdus]
        names = [hdu.name for hdu in hdus]
    spans = tuple(HduSpan(i["hdrLoc"], i["datLoc"], i["datLoc"] + i["datSpan"]) for i in infos)
    json = None
    if "JSON" in names:
        span = spans[names.index("JSON")]
        begin = data.index(b"{", span.data)
        json = (begin, data.rindex(b"}", begin, span.end) + 1)
    return Layout(spans, json)


def mutate(data: bytes, layout: Layout, rng: np.random.Generator) -> Mutant:
    """Damage a file once, sometimes twice.

    The same file and the same state of ``rng`` give the same mutant.
    """
    kinds = list(_MUTATIONS)
    mutant = Mutant(data, "")
    for _ in range(1 if rng.random() < 0.8 else 2):
        kind = kinds[rng.integers(len(kinds))]
        damaged, how = kind(mutant.data, layout, rng)
        name = kind.__name__.removeprefix("_")
        mutant = Mutant(damaged, f"{mutant.damage}; {name}: {how}".removeprefix("; "))
    return mutant


def _position(data: bytes, layout: Layout, rng: np.random.Generator) -> int:
    """Return a byte offset: anywhere, or within one header or payload.

    Half of the mutants are aimed, because headers and tables are small and
    decide the most.
    """
    span = layout.hdus[rng.integers(len(layout.hdus))]
    ranges = [
        (0, len(data)),
        (0, len(data)),
        (span.header, span.data),
        (span.data, span.end),
        (span.data, min(span.data + 512, span.end)),
    ]
    begin, end = ranges[rng.integers(len(ranges))]
    # A previous mutation may have shortened the file.
    begin, end = min(begin, len(data)), min(end, len(data))
    return int(rng.integers(begin, end)) if begin < end else max(0, len(data) - 1)


def _flip_bits(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Flip one bit or a few, each anywhere."""
    damaged = bytearray(data)
    positions = [_position(data, layout, rng) for _ in range(rng.choice([1, 1, 2, 8, 64]))]
    for position in positions if data else ():
        damaged[position] ^= 1 << int(rng.integers(8))
    return bytes(damaged), f"{len(positions)} bits from {positions[0]}"


def _overwrite_run(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Replace a run of bytes with zeros, ones or noise."""
    begin = _position(data, layout, rng)
    length = min(int(2 ** rng.uniform(0, 13)), len(data) - begin)
    fill = (b"\0" * length, b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    return data[:begin] + fill + data[begin + length :], f"{length} bytes at {begin}"


def _truncate(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Cut the file off; at times at a block's end, as a lost write does."""
    length = _position(data, layout, rng)
    if rng.random() < 0.3:
        length -= length % BLOCK
    return data[:length], f"to {length} of {len(data)} bytes"


def _shift(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Lose or repeat a piece, so that all that follows has moved."""
    begin = _position(data, layout, rng)
    length = int(rng.choice([1, CARD, BLOCK]))
    if rng.random() < 0.5:
        return data[:begin] + data[begin + length :], f"{length} bytes lost at {begin}"
    return data[: begin + length] + data[begin:], f"{length} bytes repeated at {begin}"


def _swap_blocks(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Exchange two FITS blocks."""
    first, second = sorted(_position(data, layout, rng) // BLOCK * BLOCK for _ in range(2))
    if second < first + BLOCK:
        return data, "none"
    a, b = data[first : first + BLOCK], data[second : second + BLOCK]
    swapped = data[:first] + b + data[first + BLOCK : second] + a + data[second + BLOCK :]
    return swapped, f"blocks at {first} and {second}"


def _edit_card(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Give a header card another value; mostly one that decides what is read."""
    span = layout.hdus[rng.integers(len(layout.hdus))]
    cards = list(range(span.header, min(span.data, len(data) - CARD), CARD))
    decisive = [i for i in cards if DECISIVE.match(data[i : i + CARD])]
    if not cards:
        return data, "none"
    choice = decisive if decisive and rng.random() < 0.85 else cards
    begin = choice[rng.integers(len(choice))]
    keyword, old = data[begin : begin + 8], data[begin + 10 : begin + CARD]
    value = NONSENSE[rng.integers(len(NONSENSE))]
    number = re.match(rb" *(-?\d+)\b(?!\.)", old)
    if number and rng.random() < 0.5:
        # A plausible value is the more dangerous one.
        value = str(int(number[1]) + int(rng.choice([-BLOCK, -8, -1, 1, 2, 8, BLOCK])))
    card = (keyword + b"= " + value.encode("latin-1").rjust(20)).ljust(CARD)[:CARD]
    return data[:begin] + card + data[begin + CARD :], f"{keyword!r} at {begin} = {value!r}"


def _drop_card(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Blank a card, end the header there, or put another card in its place."""
    span = layout.hdus[rng.integers(len(layout.hdus))]
    count = (min(span.data, len(data)) - span.header) // CARD
    if count < 1:
        return data, "none"
    begin, other = (span.header + CARD * int(i) for i in rng.integers(count, size=2))
    card = (b" " * CARD, b"END".ljust(CARD), data[other : other + CARD])[rng.integers(3)]
    return data[:begin] + card + data[begin + CARD :], f"{card[:8]!r} over {data[begin : begin + 8]!r}"


def _edit_integer(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Put a big-endian number into a table: a tile's offset, an HDU's address."""
    span = layout.hdus[rng.integers(len(layout.hdus))]
    width = int(rng.choice([4, 8]))
    room = min(span.end, len(data), span.data + 4096) - span.data - width
    if room < 1:
        return data, "none"
    begin = span.data + int(rng.integers(room)) // 4 * 4
    old = int.from_bytes(data[begin : begin + width], "big")
    near = old + int(rng.choice([-BLOCK, -1, 1, 8, BLOCK]))
    value = near if rng.random() < 0.5 else int(HUGE[rng.integers(len(HUGE))])
    number = (value % 2 ** (8 * width)).to_bytes(width, "big")
    return data[:begin] + number + data[begin + width :], f"{value} for {old} at {begin}"


def _edit_json(data: bytes, layout: Layout, rng: np.random.Generator) -> tuple[bytes, str]:
    """Change one word or number of the JSON tree, the length kept."""
    if layout.json is None or layout.json[1] > len(data):
        return _edit_card(data, layout, rng)
    begin, end = layout.json
    tokens = [
        match
        for match in re.finditer(rb'"[^"\\]*"|-?\d+(\.\d+)?([eE][-+]?\d+)?|true|false|null', data[begin:end])
        if len(match[0]) > 1 or match[0].isdigit()
    ]
    if not tokens:
        return data, "none"
    token = tokens[rng.integers(len(tokens))]
    old = token[0]
    if old.startswith(b'"'):
        fillers = (
            b'"' + b"x" * (len(old) - 2) + b'"',
            b'"' + old[1:-1].swapcase() + b'"',
            b"null",
            b"7",
            b'""',
        )
    else:
        other = str(rng.integers(10 ** min(len(old), 18))).encode()
        fillers = (other, b"-" + other[1:], b"0", b"1e9", b"null", b"9" * len(old))
    fitting = [filler for filler in fillers if len(filler) <= len(old) and filler != old]
    if not fitting:
        return data, "none"
    new = fitting[rng.integers(len(fitting))].ljust(len(old))
    at = begin + token.start()
    return data[:at] + new + data[at + len(old) :], f"{new[:40]!r} for {old[:40]!r} at {at}"


_MUTATIONS: tuple[Callable[[bytes, Layout, np.random.Generator], tuple[bytes, str]], ...] = (
    _flip_bits,
    _flip_bits,
    _overwrite_run,
    _overwrite_run,
    _truncate,
    _shift,
    _swap_blocks,
    _edit_card,
    _edit_card,
    _edit_card,
    _drop_card,
    _edit_integer,
    _edit_integer,
    _edit_json,
    _edit_json,
)
