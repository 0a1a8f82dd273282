"""One overscan region, and which of its pixels do not count."""

from __future__ import annotations

__all__ = ("OverscanRegion", "flag_deviant", "flag_saturated", "is_flooded")

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from ...errors import InputDataError
from .exposure import IsrPlane

type FloatImage = npt.NDArray[np.float32]
type MaskBits = npt.NDArray[np.uint16]

# NumPy takes a member of IntFlag for a 64-bit integer.
_EXCLUDED = np.uint16(IsrPlane.BAD | IsrPlane.SATURATED)
_SATURATED_FRACTION = 0.75
_SATURATED_GROWTH = 7
_WINDOW = 5
_FLOODED_FRACTION = 0.5
_FLOODED_DATA = 1e4


@dataclass(frozen=True, eq=False)
class OverscanRegion:
    """Pixels of an overscan, turned such that every row gets one level."""

    values: FloatImage
    """Pixels, shape ``(n_rows, n_columns)``."""
    mask: MaskBits
    """Their mask."""
    used: slice
    """Columns that count."""
    is_changed: bool = False
    """Whether the mask differs from the exposure's."""

    @classmethod
    def cut(cls, values: FloatImage, mask: MaskBits, *, skip: tuple[int, int], name: str) -> Self:
        """Return the region without columns that are skipped at the low and the high side.

        Raises
        ------
        InputDataError
            Raised if no column is left.
        """
        low, high = skip
        size = values.shape[1]
        if low + high >= size:
            raise InputDataError(f"The {name} is {size} pixels wide; skipping {low} + {high} leaves none.")
        return cls(np.ascontiguousarray(values), np.ascontiguousarray(mask), slice(low, size - high))

    @property
    def fit_values(self) -> FloatImage:
        """Pixels that count."""
        return np.ascontiguousarray(self.values[:, self.used])

    @property
    def fit_mask(self) -> MaskBits:
        """Mask of the pixels that count."""
        return self.mask[:, self.used]

    def measure_median(self) -> float:
        """Return the median of the pixels that count and are not masked; NaN if there are none."""
        excluded = (self.fit_mask & _EXCLUDED) != 0
        return measure_median(self.fit_values[~excluded] if excluded.any() else self.fit_values)

    def with_plane(self, flags: npt.NDArray[np.bool_], plane: IsrPlane) -> OverscanRegion:
        """Return the region with a plane set in some pixels."""
        if not flags.any():
            return self
        mask = self.mask | np.where(flags, np.uint16(plane), np.uint16(0))
        return dataclasses.replace(self, mask=mask, is_changed=True)


def measure_median(values: FloatImage) -> float:
    """Return the median of the values that are finite; NaN if there are none."""
    ordered = np.sort(values, axis=None)
    ordered = ordered[np.searchsorted(ordered, -np.inf, side="right") : np.searchsorted(ordered, np.inf)]
    if not ordered.size:
        return float("nan")
    return 0.5 * float(ordered[(ordered.size - 1) // 2]) + 0.5 * float(ordered[ordered.size // 2])


def flag_saturated(region: OverscanRegion, *, level: float) -> OverscanRegion:
    """Flag pixels that are nearly saturated, and their surroundings.

    A level that is not finite flags nothing.
    """
    if not np.isfinite(level):
        return region
    flags = region.values >= np.float64(_SATURATED_FRACTION * level)
    if not flags.any():
        return region
    # scipy takes long to import, and saturated overscans are rare.
    from scipy import ndimage  # noqa: PLC0415

    grown = ndimage.binary_dilation(flags, iterations=_SATURATED_GROWTH)
    return region.with_plane(grown, IsrPlane.SATURATED)


def is_flooded(region: OverscanRegion, data: FloatImage) -> bool:
    """Tell whether an overscan is so full of charge that it says nothing of the level."""
    median = region.measure_median()
    # Below this the answer does not need the median of the data, which takes longer than all the rest.
    if not median > _FLOODED_FRACTION * _FLOODED_DATA:
        return False
    level = measure_median(data)
    return level > _FLOODED_DATA and median / level > _FLOODED_FRACTION


def flag_deviant(
    region: OverscanRegion,
    *,
    limit: float,
    is_absolute: bool,
    max_excess: float | None = None,
    grow: int = 0,
) -> OverscanRegion:
    """Flag pixels far from the median, and all pixels of rows that are so throughout.

    Parameters
    ----------
    region
        Overscan.
    limit
        Deviation above which a pixel is BAD.
    is_absolute
        Whether pixels far below the median are BAD too.
    max_excess
        Rows whose median is above the running median of 5 rows by this or
        more are BAD; `None` does not look.
    grow
        Rows on either side of a BAD one that are BAD too.
    """
    median = region.measure_median()
    if np.isnan(median):
        return region
    used = region.fit_values
    delta = used.astype(np.float64) - median
    is_deviant = (np.abs(delta) if is_absolute else delta) > limit
    rows = is_deviant.all(axis=1)
    if max_excess is not None:
        rows |= _find_excess(used, max_excess)
    flags = np.zeros(region.values.shape, np.bool_)
    flags[:, region.used] = is_deviant
    for row in np.flatnonzero(rows).tolist():
        flags[max(row - grow, 0) : row + grow + 1] = True
    return region.with_plane(flags, IsrPlane.BAD)


def _find_excess(values: FloatImage, max_excess: float) -> npt.NDArray[np.bool_]:
    """Tell which rows are above their neighbours."""
    found = np.zeros(values.shape[0], np.bool_)
    if values.shape[0] <= 2 * _WINDOW:
        return found
    ordered = np.sort(values, axis=1)
    n = values.shape[1]
    medians = 0.5 * ordered[:, (n - 1) // 2].astype(np.float64) + 0.5 * ordered[:, n // 2]
    windows = np.lib.stride_tricks.sliding_window_view(medians, _WINDOW)
    smooth = np.sort(windows, axis=1)[:, _WINDOW // 2]
    # The ends, where a window is not full, do not count.
    inner = slice(_WINDOW, values.shape[0] - _WINDOW)
    excess = medians[inner] - smooth[_WINDOW - _WINDOW // 2 : smooth.size - (_WINDOW - _WINDOW // 2)]
    found[inner] = excess >= max_excess
    return found
