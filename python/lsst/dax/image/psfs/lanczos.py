"""The family of Lanczos interpolants that pixel models are drawn with."""

from __future__ import annotations

__all__ = ("Lanczos", "TapRule")

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import sici

from ..errors import InputDataError

_MAX_ORDER = 64
_N_CORRECTIONS = 5


class TapRule(enum.Enum):
    """How the weights of an interpolant keep a constant constant."""

    PLAIN = "plain"
    """They do not: the windowed sinc as it is."""

    UNIT_SUM = "unit_sum"
    """The weights of each pixel are divided by their sum, per axis."""

    SERIES = "series"
    """They are divided by five terms of the Fourier series of that sum, as
    GalSim does where it conserves the constant."""


@dataclass(frozen=True)
class Lanczos:
    """A Lanczos interpolant, ``sinc(x) sinc(x / order)`` within ``order`` samples."""

    order: int
    """Half-width of the support in samples."""

    rule: TapRule
    """How its weights are normalized."""

    def __post_init__(self) -> None:
        """Check the order.

        Raises
        ------
        InputDataError
            Raised if the order is out of range.
        """
        if not 1 <= self.order <= _MAX_ORDER:
            raise InputDataError(
                f"A Lanczos interpolant has an order from 1 to {_MAX_ORDER}, not {self.order}."
            )

    @property
    def corrections(self) -> NDArray[np.float64]:
        """Terms K(1) to K(5) of the Fourier series, shape ``(5,)``; 0 without the series.

        A constant 1 is interpolated to ``1 - 4 sum_j K(j) sin(pi j x)**2``,
        where K is the Fourier transform of the interpolant at whole
        frequencies (Bernstein & Gruen 2014, PASP 126, 287, equation 22).
        """
        if self.rule is not TapRule.SERIES:
            return np.zeros(_N_CORRECTIONS)
        frequency = np.arange(1.0, _N_CORRECTIONS + 1.0)
        upper = self.order * (2.0 * frequency + 1.0)
        lower = self.order * (2.0 * frequency - 1.0)
        transform = _edge(upper) - _edge(lower)
        return np.asarray(transform / (2.0 * np.pi), np.float64)


def _edge(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of the transform that one edge of the window gives."""
    ends = np.asarray([v + 1.0, v - 1.0])
    integral = ends * sici(np.pi * ends)[0]
    return np.asarray(integral[0] - integral[1], np.float64)
