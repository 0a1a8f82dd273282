"""The pixels that fluxes came from, with the model that was fitted to them."""

from __future__ import annotations

__all__ = ("ResidualStamp", "make_residual_stamps")

from collections.abc import Iterator
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.table import QTable, Row
from numpy.typing import NDArray

from lsst.images import Box, MaskedImage
from lsst.images.psfs import PointSpreadFunction

from ..errors import RequestError
from ..psfs import PsfEvaluator, PsfNormalization, PsfTables
from .components import make_image_evaluator
from .schema import require_columns

type Floats = NDArray[np.float64]

_NEEDED = ("id", "x", "y", "flux", "flux_err", "background", "calibration", "aperture_correction")


@dataclass(frozen=True, eq=False)
class ResidualStamp:
    """One measured position: data, model and what remains."""

    id: int
    """Number of the target."""

    bbox: Box
    """Parent pixels."""

    x: float
    """Column of the target, 0-based, centres at integers."""

    y: float
    """Row of the target."""

    data: Floats
    """Pixels of the image in its unit, without the background that was taken
    off; NaN off the image."""

    model: Floats
    """The PSF with the measured flux, in the same unit; NaN where there is no flux."""

    sigma: Floats
    """Standard deviation of the pixels."""

    unit: u.UnitBase | None
    """Unit of the pixels."""

    label: str
    """Flux and error in words."""

    @property
    def residual(self) -> Floats:
        """Data minus model."""
        return self.data - self.model


def make_residual_stamps(
    image: MaskedImage,
    table: QTable,
    *,
    size: int | None = None,
    psf: PointSpreadFunction | PsfTables | PsfEvaluator | None = None,
    normalization: PsfNormalization = PsfNormalization.AS_DRAWN,
) -> Iterator[ResidualStamp]:
    """Yield the pixels around measured positions with the fitted PSF.

    Parameters
    ----------
    image
        Image that was measured.
    table
        Rows of that image, as `measure` returned them.
    size
        Rows and columns of a stamp, odd; those of the PSF if `None`.
    psf
        Point spread function; that of the image if `None`.
    normalization
        As in the options of the measurement.

    Yields
    ------
    stamp
        Stamp of each row, in their order; rows without a position are left out.

    Raises
    ------
    RequestError
        Raised if the size is not odd and positive, or a column is missing.
    MissingPsfError
        Raised if there is no point spread function.
    """
    require_columns(table, _NEEDED)
    evaluator = make_image_evaluator(image, psf)
    size = evaluator.stamp_shape[0] if size is None else size
    if size < 1 or size % 2 == 0:
        raise RequestError(f"The side of a stamp is a positive odd number of pixels, not {size}.")
    for row in table:
        x, y = (float(row[name].to_value(u.pix)) for name in ("x", "y"))
        if np.isfinite(x) and np.isfinite(y):
            yield _make_stamp(image, row, evaluator, x, y, size, normalization)


def _make_stamp(
    image: MaskedImage,
    row: Row,
    evaluator: PsfEvaluator,
    x: float,
    y: float,
    size: int,
    normalization: PsfNormalization,
) -> ResidualStamp:
    """Return the stamp of one row."""
    drawn = evaluator.stellar_images(np.array([x]), np.array([y]), size=size, normalization=normalization)
    x0, y0 = round(x) - size // 2, round(y) - size // 2
    if not drawn.flags[0]:
        x0, y0 = int(drawn.x0[0]), int(drawn.y0[0])
    bbox = Box.factory[y0 : y0 + size, x0 : x0 + size]
    factor = row["calibration"] * row["aperture_correction"]
    flux, error = (row[name].to_value(u.nJy) for name in ("flux", "flux_err"))
    background = row["background"].to_value(u.nJy / u.pix) / row["calibration"]
    data = _cut(image.image.array, image.bbox, bbox)
    return ResidualStamp(
        id=int(row["id"]),
        bbox=bbox,
        x=x,
        y=y,
        data=data - background if np.isfinite(background) else data,
        model=flux / factor * drawn.array[0],
        sigma=np.sqrt(_cut(image.variance.array, image.bbox, bbox)),
        unit=image.unit,
        label=f"{flux:,.1f} ± {error:,.1f} nJy",
    )


def _cut(array: NDArray[np.floating], bbox: Box, part: Box) -> Floats:
    """Return pixels of a box, NaN off the image."""
    out = np.full(tuple(part.shape), np.nan)
    inside = bbox.intersection(part) if _overlaps(bbox, part) else None
    if inside is not None:
        out[inside.slice_within(part)] = array[inside.slice_within(bbox)]
    return out


def _overlaps(a: Box, b: Box) -> bool:
    """Tell whether two boxes have a pixel in common."""
    return all(
        first.start < second.stop and second.start < first.stop for first, second in ((a.x, b.x), (a.y, b.y))
    )
