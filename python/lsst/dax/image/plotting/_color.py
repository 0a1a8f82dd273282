"""A colour image from three bands."""

from __future__ import annotations

__all__ = ("make_color_image",)

import math

import astropy.stats
import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images import ColorImage, Image, Interval, Mask, MaskedImage
from lsst.images.serialization import MetadataValue

from ..errors import InconsistentUnitsError, RequestError
from ._planes import find_image_plane
from ._sky import pixels_to_vectors

_CHANNELS = ("red", "green", "blue")
_STRETCH_SIGMA = 25.0
# Two images are on one pixel grid if it tells their positions apart by less.
_SAME_GRID_PX = 0.01


def make_color_image(
    red: Image | Mask | MaskedImage,
    green: Image | Mask | MaskedImage,
    blue: Image | Mask | MaskedImage,
    *,
    stretch: u.Quantity | float | None = None,
    softening: float = 8.0,
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> ColorImage:
    """Make a colour image of three images of one pixel grid.

    Parameters
    ----------
    red, green, blue
        Background-subtracted images of the same unit, box and projection;
        for Rubin data usually bands i, r and g.  Not modified.
    stretch
        Mean intensity of the three bands up to which the picture is about
        linear; a plain number is in the unit of the images.  `None` takes 25
        times the noise of the mean image, measured as its median absolute
        deviation.  Then the noise takes about a tenth of the brightness.
    softening
        The ``Q`` of the algorithm, without unit: the larger, the more the
        bright parts are compressed.
    scales
        Factors of the red, green and blue image.  With ones, a source of equal
        flux in the three images is grey.

    Returns
    -------
    color
        Eight-bit image on the pixel grid of the inputs.  A pixel that is not
        finite in any one of the images has no colour and is black.  Its
        metadata have the numbers that were used.

    Raises
    ------
    RequestError
        Raised if the boxes or projections differ, or for an option that is not
        a positive finite number.
    InconsistentUnitsError
        Raised if the units differ, also from that of ``stretch``.

    Notes
    -----
    Lupton et al. 2004, PASP 116, 133, as implemented by astropy: with the mean
    intensity I of the bands, each is multiplied by f(I) / I, where f(I) =
    0.1 asinh(Q I / stretch) / asinh(0.1 Q); a pixel whose brightest band is
    then above 1 is divided by it.  So a source keeps one colour from its wings
    to its core.
    """
    # Imports matplotlib where it is installed, and does without it.
    from astropy.visualization import (  # noqa: PLC0415
        LuptonAsinhStretch,
        ManualInterval,
        make_lupton_rgb,
    )

    planes = [_image_plane(image) for image in (red, green, blue)]
    for plane, name in zip(planes[1:], _CHANNELS[1:], strict=True):
        _check_same_grid(planes[0], plane, name)
    bands = [plane.array * _positive(scale, "scale") for plane, scale in zip(planes, scales, strict=True)]
    cube = np.stack(bands).astype(np.float64)
    valid = np.isfinite(cube).all(axis=0)
    cube[:, ~valid] = 0.0
    width = _stretch_value(stretch, planes[0].unit)
    if width is None:
        width = _choose_stretch(cube.mean(axis=0)[valid])
    # Where all bands are zero, astropy evaluates 0 / 0 before it discards it.
    with np.errstate(invalid="ignore", divide="ignore"):
        pixels = make_lupton_rgb(
            *cube,
            interval=ManualInterval(vmin=0.0, vmax=1.0),
            stretch_object=LuptonAsinhStretch(stretch=width, Q=_positive(softening, "softening")),
        )
    used: dict[str, MetadataValue] = {
        "color_stretch": width,
        "color_softening": float(softening),
        **{f"color_scale_{name}": float(scale) for name, scale in zip(_CHANNELS, scales, strict=True)},
    }
    return ColorImage(pixels, bbox=planes[0].bbox, sky_projection=planes[0].sky_projection, metadata=used)


def _image_plane(image: Image | Mask | MaskedImage) -> Image:
    """Return the image plane, or raise RequestError."""
    plane = find_image_plane(image)
    if plane is None:
        raise RequestError(f"A colour image needs images or masked images, not a {type(image).__name__}.")
    return plane


def _check_same_grid(red: Image, other: Image, name: str) -> None:
    """Raise unless two images have the same box, unit and projection."""
    if other.bbox != red.bbox:
        raise RequestError(f"The boxes differ: red has {red.bbox}, {name} has {other.bbox}.")
    if other.unit != red.unit:
        raise InconsistentUnitsError(f"The units differ: red has {red.unit}, {name} has {other.unit}.")
    if (red.sky_projection is None) != (other.sky_projection is None):
        with_projection, without = (name, "red") if red.sky_projection is None else ("red", name)
        raise RequestError(f"The {with_projection} image has a sky projection, the {without} image has none.")
    if (
        red.sky_projection is None
        or other.sky_projection is None
        or red.sky_projection == other.sky_projection
    ):
        return
    # Equal projections may be written differently: compare what they do.
    x, y = (axis.ravel() for axis in np.meshgrid(*(_three_points(side) for side in (red.bbox.x, red.bbox.y))))
    ours = pixels_to_vectors(red.sky_projection, x=x, y=y)
    theirs = pixels_to_vectors(other.sky_projection, x=x, y=y)
    one_px = np.linalg.norm(pixels_to_vectors(red.sky_projection, x=x + 1.0, y=y) - ours, axis=-1)
    off_px = float(np.max(np.linalg.norm(theirs - ours, axis=-1) / one_px))
    if not off_px < _SAME_GRID_PX:
        raise RequestError(
            f"The sky projections differ: positions of the {name} image are up to {off_px:.3g} pixels off "
            f"those of the red image, more than {_SAME_GRID_PX}."
        )


def _three_points(side: Interval) -> NDArray[np.float64]:
    """Return the ends and the middle of one side of a box."""
    return np.array([side.min, side.center, side.max], dtype=np.float64)


def _stretch_value(stretch: u.Quantity | float | None, unit: u.UnitBase | None) -> float | None:
    """Return the stretch in the unit of the images."""
    if stretch is None:
        return None
    if isinstance(stretch, u.Quantity):
        try:
            stretch = stretch.to_value(u.dimensionless_unscaled if unit is None else unit)
        except u.UnitConversionError as error:
            raise InconsistentUnitsError(f"The stretch is {stretch}, the images have unit {unit}.") from error
    return _positive(stretch, "stretch")


def _choose_stretch(mean: NDArray[np.float64]) -> float:
    """Return a stretch for the pixels that have a value."""
    if mean.size == 0:
        return 1.0
    noise = float(astropy.stats.mad_std(mean))
    # Without noise, as in a model image, the brightest pixel sets the scale.
    return _STRETCH_SIGMA * noise or float(np.abs(mean).max()) or 1.0


def _positive(value: float, name: str) -> float:
    """Return a number, or raise RequestError."""
    if not (math.isfinite(value) and value > 0.0):
        raise RequestError(f"The {name} of a colour image must be a positive finite number; got {value}.")
    return float(value)
