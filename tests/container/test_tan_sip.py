"""The usual projection, understood from its cards, is the one of wcslib."""

from __future__ import annotations

import astropy.io.fits
import numpy as np
import pytest
from astropy.wcs import WCS
from tests.support.projections import PROJECTIONS
from tests.support.scenes import BOX

from lsst.dax.image.container._tan_sip import find_wcs_cards, parse_tan_sip
from lsst.dax.image.container.cards import make_card, split_cards


def cards_of(name: str) -> list[bytes]:
    """Return the cards that lsst.images writes for a projection."""
    wcs = PROJECTIONS[name]().as_fits_wcs(BOX, allow_approximation=True)
    header = astropy.io.fits.Header()
    header.update(wcs.to_header(relax=True))
    return split_cards(header.tostring(endcard=False, padding=False).encode())


def replaced(cards: list[bytes], keyword: str, value: float | str | None) -> list[bytes]:
    """Return cards with another value, or without the card if it is `None`."""
    name = f"{keyword:8}".encode()
    new = [] if value is None else [make_card(keyword, value)]
    return [part for card in cards for part in (new if card.startswith(name) else [card])]


@pytest.mark.parametrize("name", ["tan", "sip"])
def test_sky_positions_are_those_of_wcslib(name: str) -> None:
    cards = cards_of(name)
    tan_sip = parse_tan_sip(cards)
    assert tan_sip is not None
    wcs = WCS(astropy.io.fits.Header.fromstring(b"".join(cards)))
    x, y = np.random.default_rng(1).uniform(-100, 2000, (2, 50))
    ra, dec = np.degrees(tan_sip.to_sky(x, y))
    expected = wcs.all_pix2world(x, y, 0)
    assert ra == pytest.approx(expected[0], abs=1e-11)
    assert dec == pytest.approx(expected[1], abs=1e-11)
    assert tan_sip.pixel_scale == pytest.approx(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix))))


WRONG = [
    ("WCSAXES", 3),
    ("CTYPE1", "RA---TAN"),
    ("CTYPE2", "DEC--SIN-SIP"),
    ("CUNIT1", "arcsec"),
    ("RADESYS", "FK5"),
    ("LONPOLE", 170.0),
    ("LATPOLE", 12.0),
    ("PV1_3", 90.0),
    ("PV1_4", 12.0),
    ("MJDREF", 50000.0),
    ("CRVAL1", None),
    ("CRVAL1", "here"),
    ("CRPIX2", 1e300),
    ("A_ORDER", None),
    ("A_ORDER", 1),
    ("A_ORDER", 10),
    ("A_ORDER", 2.5),
    ("A_2_0", "x"),
    ("B_0_2", 1e20),
]


@pytest.mark.parametrize(("keyword", "value"), WRONG)
def test_everything_else_is_left_to_others(keyword: str, value: float | str | None) -> None:
    cards = cards_of("sip")
    assert parse_tan_sip(cards) is not None
    changed = replaced(cards, keyword, value)
    assert changed != cards
    assert parse_tan_sip(changed) is None


@pytest.mark.parametrize("extra", [b"AP_1_0  =                1E-09", b"PV2_1   =                  1.0"])
def test_cards_of_unknown_meaning_are_left_to_others(extra: bytes) -> None:
    assert parse_tan_sip([*cards_of("sip"), extra.ljust(80)]) is None


def test_cards_that_stand_twice_or_make_no_sense_are_left_to_others() -> None:
    cards = cards_of("tan")
    assert parse_tan_sip([*cards, cards[1]]) is None
    assert parse_tan_sip([*cards[1:], b"WCSAXES =                   2x".ljust(80)]) is None
    assert parse_tan_sip([]) is None


def test_the_cards_of_the_wcs_are_found_where_they_stand_together() -> None:
    cards = cards_of("sip")
    before = [make_card("EXTNAME", "IMAGE"), make_card("BUNIT", "nJy")]
    after = [make_card("CTYPE1A", "LINEAR"), make_card("CRPIX1A", 1.0), make_card("DATE", "2026-01-01")]
    assert find_wcs_cards([*before, *cards, *after]) == tuple(cards)
    assert find_wcs_cards([*before, *after]) == ()
    assert find_wcs_cards([*before, *cards[:5], *after, *cards[5:]]) == ()
