"""The columns of one image: where targets are, and fluxes in nJy."""

from __future__ import annotations

__all__ = ("Columns", "calibrate_columns", "fill_columns", "place_targets", "start_columns")

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..flags import FLAGS
from ._scene import Setup
from .calibration import correct_aperture, find_calibration, limiting_magnitude
from .components import ImageComponents
from .options import ForcedOptions
from .schema import image_columns, measured_columns, name_aperture
from .targets import Targets

type Columns = dict[str, NDArray[Any]]


def fill_columns(options: ForcedOptions, targets: Targets, *, has_joint: bool) -> Columns:
    """Return the columns of targets of which nothing is measured.

    Parameters
    ----------
    options
        How fluxes are measured.
    targets
        The targets.
    has_joint
        Whether there is a joint fit.

    Returns
    -------
    values
        Columns with the values of what is not known.
    """
    columns = (*measured_columns(radii=options.radii, has_joint=has_joint), *image_columns())
    values: Columns = {column.name: np.full(len(targets), column.fill, column.dtype) for column in columns}
    values["id"], values["ra"], values["dec"] = targets.id, targets.ra, targets.dec
    return values


def start_columns(setup: Setup, targets: Targets, *, has_joint: bool) -> Columns:
    """Return the columns of targets on an image before anything is measured.

    Parameters
    ----------
    setup
        Image and options.
    targets
        The targets.
    has_joint
        Whether there is a joint fit.

    Returns
    -------
    values
        Columns, with those that describe the image filled in.
    """
    values = fill_columns(setup.options, targets, has_joint=has_joint)
    _describe_image(values, setup.components)
    return values


def place_targets(setup: Setup, values: Columns, targets: Targets) -> NDArray[np.bool_]:
    """Find where targets are on an image.

    Parameters
    ----------
    setup
        Image and options.
    values
        Columns, in which positions and their flags are filled in.
    targets
        The targets.

    Returns
    -------
    is_near
        Whether the picture of a star there has pixels of the image, shape
        ``(n,)``.
    """
    x, y = setup.locate(targets)
    values["x"], values["y"] = x, y
    is_near = setup.is_near(x, y)
    flags = values["flags"]
    # Far off an image its projection has no pixels for a position of the sky.
    flags[~targets.is_known] |= FLAGS["BAD_POSITION"].value
    flags[targets.is_known & ~is_near] |= FLAGS["NO_COVERAGE"].value
    is_inside = np.zeros(x.shape, dtype=np.bool_)
    if is_near.any():
        components = setup.components
        bounds = components.bbox if components.bounds is None else components.bounds
        is_inside[is_near] = bounds.contains(x=x[is_near], y=y[is_near])
    flags[targets.is_known & ~is_inside] |= FLAGS["CENTER_OFF_IMAGE"].value
    return is_near


def calibrate_columns(setup: Setup, values: Columns) -> None:
    """Turn fluxes of the image's unit into nJy, with aperture corrections.

    Parameters
    ----------
    setup
        Image and options.
    values
        Columns.

    Raises
    ------
    InconsistentUnitsError
        Raised if there is no way from the image's unit to nJy.
    """
    image, x, y = setup.components, values["x"], values["y"]
    calibration = find_calibration(image, x=x, y=y)
    correction = correct_aperture(image, setup.options.aperture_correction, x=x, y=y)
    values["calibration"], values["aperture_correction"] = calibration.factor, correction.factor
    values["flags"] |= calibration.flags | correction.flags
    for name in ("background", "background_err"):
        values[name] *= calibration.factor
    joint = [name for name in values if name.startswith("joint_") and name.endswith(("flux", "flux_err"))]
    for name in ("flux", "flux_err", "flux_err_sky", *joint):
        values[name] *= calibration.factor * correction.factor
    for radius in setup.options.radii:
        name = name_aperture(radius)
        key = f"base_CircularApertureFlux_{name.removeprefix('ap_')}_instFlux"
        own = correct_aperture(image, key, x=x, y=y)
        for column in (f"{name}_flux", f"{name}_flux_err"):
            values[column] *= calibration.factor * own.factor
        values[f"{name}_flags"] |= calibration.flags | own.flags
    with np.errstate(divide="ignore", invalid="ignore"):
        values["snr"] = values["flux"] / values["flux_err"]
    values["depth"] = limiting_magnitude(u.Quantity(values["flux_err_sky"], u.nJy, copy=False))


def _describe_image(values: Columns, image: ImageComponents) -> None:
    """Fill in which image it was."""
    described = {
        "visit": image.visit,
        "detector": image.detector,
        "band": image.band or None,
        "mjd": None if image.time is None else image.time.tai.mjd,
        "exposure_time": None if image.exposure_time is None else image.exposure_time.to_value(u.s),
    }
    for name, value in described.items():
        if value is not None:
            values[name][:] = value
