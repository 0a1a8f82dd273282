"""FITS cards of the usual sky projection, understood without astropy and AST.

What is not exactly of this kind is left to them.
"""

from __future__ import annotations

__all__ = ("TanSip", "find_wcs_cards", "parse_tan_sip")

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputDataError
from .cards import CardValue, parse_card

_KEYWORD = re.compile(
    r"WCSAXES|CRPIX[12]|P[CV]\d_\d+|CD\d_\d|CDELT[12]|CUNIT[12]|CTYPE[12]|CRVAL[12]|CROTA\d|LONPOLE|LATPOLE|MJDREF"
    r"|RADESYS|EQUINOX|[AB]P?_(ORDER|DMAX|\d_\d)"
)
_SIP_TERM = re.compile(r"([AB])_(\d)_(\d)")
_SIP_ORDERS = ("A_ORDER", "B_ORDER")
_MAX_ORDER = 9
_LARGEST = 1e9
# A gnomonic projection whose own pole is in the north.
_FIXED: Mapping[str, CardValue] = MappingProxyType(
    {"WCSAXES": 2, "CUNIT1": "deg", "CUNIT2": "deg", "LONPOLE": 180.0, "MJDREF": 0.0, "RADESYS": "ICRS"}
)
_TYPES = (("RA---TAN", "DEC--TAN"), ("RA---TAN-SIP", "DEC--TAN-SIP"))
_NUMBERS = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CDELT1", "CDELT2", "LATPOLE")
_NEEDED = frozenset((*_FIXED, *_NUMBERS, "CTYPE1", "CTYPE2"))
_DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"PC1_1": 1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0, "PV1_3": 180.0}
)


@dataclass(frozen=True, eq=False)
class TanSip:
    """Map from pixels to ICRS: a gnomonic projection with polynomial distortions."""

    crpix: tuple[float, float]
    """Reference pixel, from 1."""

    crval: tuple[float, float]
    """Its position in degrees."""

    matrix: NDArray[np.float64]
    """From pixels to degrees, shape ``(2, 2)``."""

    terms: Mapping[str, Mapping[tuple[int, int], float]]
    """Distortion polynomials ``A`` and ``B``: coefficients by powers of both axes."""

    @property
    def pixel_scale(self) -> float:
        """Side of a pixel in degrees."""
        return float(np.sqrt(np.abs(np.linalg.det(self.matrix))))

    def to_sky(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return sky positions.

        Parameters
        ----------
        x, y
            Pixels, from 0.

        Returns
        -------
        ra, dec
            In radians.

        Notes
        -----
        Calabretta and Greisen (2002), A&A 395, 1077, for the projection;
        Shupe et al. (2005), ASP Conf. Ser. 347, 491, for the distortion.
        """
        u, v = x + 1 - self.crpix[0], y + 1 - self.crpix[1]
        f = u + sum(value * u**p * v**q for (p, q), value in self.terms["A"].items())
        g = v + sum(value * u**p * v**q for (p, q), value in self.terms["B"].items())
        xi, eta = np.radians(self.matrix @ np.stack((f, g)))
        ra0, dec0 = np.radians(self.crval)
        along = np.cos(dec0) - eta * np.sin(dec0)
        ra = ra0 + np.arctan2(xi, along)
        dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, along))
        return ra, dec


def find_wcs_cards(cards: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the cards of the celestial WCS in a header.

    Parameters
    ----------
    cards
        Cards of the header.

    Returns
    -------
    found
        The cards of the primary WCS in their order; empty if there is none, or
        they do not stand together.
    """
    places = [
        number for number, card in enumerate(cards) if _KEYWORD.fullmatch(card[:8].rstrip().decode("latin-1"))
    ]
    if not places or places[-1] - places[0] != len(places) - 1:
        return ()
    return tuple(cards[places[0] : places[-1] + 1])


def parse_tan_sip(cards: Sequence[bytes]) -> TanSip | None:
    """Understand the cards of a celestial WCS.

    Parameters
    ----------
    cards
        Cards of the primary WCS and no others.

    Returns
    -------
    tan_sip
        None where they are not exactly those of a gnomonic projection in ICRS
        with or without forward distortion polynomials, as AST writes them.
    """
    try:
        pairs = [parse_card(card) for card in cards]
    except InputDataError:
        return None
    values = dict(pairs)
    terms = {axis: _pop_terms(values, axis) for axis in "AB"}
    is_sip = "A_ORDER" in values and "B_ORDER" in values
    numbers = {name: values.get(name) for name in _NUMBERS} | {
        name: values.get(name, default) for name, default in _DEFAULTS.items()
    }
    # The latitude of the pole follows from all else, and stands there twice.
    pole = values.get("PV1_4", values.get("LATPOLE"))
    if (
        len(pairs) == len(dict(pairs))
        and _NEEDED <= values.keys() <= _NEEDED | _DEFAULTS.keys() | {"PV1_4", *_SIP_ORDERS[: 2 * is_sip]}
        and all(values[name] == value for name, value in _FIXED.items())
        and (values["CTYPE1"], values["CTYPE2"]) == _TYPES[is_sip]
        and numbers["PV1_3"] == _DEFAULTS["PV1_3"]
        and pole == values["LATPOLE"] == values["CRVAL2"]
        and _are_numbers(numbers.values())
        and all(_are_numbers(axis_terms.values()) for axis_terms in terms.values())
    ):
        return _make(numbers, terms)
    return None


def _pop_terms(values: dict[str, CardValue], axis: str) -> dict[tuple[int, int], Any]:
    """Take the coefficients of an axis that its order allows."""
    order = values.get(f"{axis}_ORDER")
    if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= _MAX_ORDER:
        return {}
    names = [term for name in values if (term := _SIP_TERM.fullmatch(name)) and term[1] == axis]
    powers = {term[0]: (int(term[2]), int(term[3])) for term in names}
    return {power: values.pop(name) for name, power in powers.items() if sum(power) <= order}


def _are_numbers(values: Iterable[object]) -> bool:
    """Return whether all are floating-point numbers of a sane size."""
    return all(isinstance(value, float) and abs(value) < _LARGEST for value in values)


def _make(numbers: Mapping[str, Any], terms: Mapping[str, Mapping[tuple[int, int], float]]) -> TanSip:
    """Return the projection of numbers that were looked at."""
    rotation = np.array([[numbers[f"PC{row}_{column}"] for column in (1, 2)] for row in (1, 2)])
    step = np.array([[numbers["CDELT1"]], [numbers["CDELT2"]]])
    return TanSip(
        (numbers["CRPIX1"], numbers["CRPIX2"]),
        (numbers["CRVAL1"], numbers["CRVAL2"]),
        step * rotation,
        terms,
    )
