"""Cut-outs of Legacy Survey exposures, as masked images in nJy with their PSFEx models."""

from __future__ import annotations

__all__ = ("SurveyExposure", "read_exposures")

from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Row, Table
from astropy.time import Time
from lsst.images import Image, Mask, MaskedImage, MaskPlane, MaskSchema
from scipy.interpolate import RectBivariateSpline

from lsst.dax.image.container import read_plain_image
from lsst.dax.image.psfs import PolynomialPsfTables, make_psfex_tables


@dataclass(frozen=True)
class SurveyExposure:
    """One cut-out of one exposure."""

    image: MaskedImage
    """Pixels in nJy without the sky; NO_DATA where they say nothing."""

    psf: PolynomialPsfTables
    """PSFEx model."""

    band: str
    """Name of the filter."""

    time: Time
    """Middle of the exposure."""

    offset: tuple[float, float]
    """Degrees by which the projection's right ascension and declination are too small."""


def read_exposures(folder: Path) -> list[SurveyExposure]:
    """Return the exposures that a folder's table lists."""
    return [_read_exposure(folder, row) for row in Table.read(folder / "survey-ccds-1.fits.gz")]


def _read_exposure(folder: Path, row: Row) -> SurveyExposure:
    path = folder / "images" / row["image_filename"].strip()
    counts = read_plain_image(path)
    weight = read_plain_image(path.with_name(path.name.replace("_ooi_", "_oow_"))).array
    code = read_plain_image(path.with_name(path.name.replace("_ooi_", "_ood_"))).array
    # Codes, not bits: 8 is a streak, which these versions flag falsely.
    good = (weight > 0.1 * np.median(weight[weight > 0])) & ((code == 0) | (code == 8))
    zero_point = float(row["ccdzpt"]) + 2.5 * np.log10(float(row["exptime"]))
    scale = 10.0 ** (0.4 * (31.4 - zero_point))
    name = f"{path.name.rsplit('.', 2)[0]}-{row['ccdname'].strip()}"
    sky = _read_sky(_find(folder, f"{name}-splinesky.fits"), counts.array.shape)
    variance = np.full(counts.array.shape, np.inf)
    variance[good] = scale**2 / weight[good]
    mask = Mask(schema=MaskSchema([MaskPlane("NO_DATA", "No usable value.")]), bbox=counts.bbox)
    mask.set("NO_DATA", ~good)
    image = Image(
        (counts.array.astype(np.float64) - sky) * scale,
        bbox=counts.bbox,
        unit=u.nJy,
        sky_projection=counts.sky_projection,
    )
    offset = np.array([row["ccdraoff"] / np.cos(np.radians(row["dec"])), row["ccddecoff"]]) / 3600.0
    begin = Time(float(row["mjd_obs"]), format="mjd", scale="utc")
    return SurveyExposure(
        image=MaskedImage(image, mask=mask, variance=Image(variance, bbox=counts.bbox, unit=u.nJy**2)),
        psf=_read_psf(_find(folder, f"{name}-psfex.fits"), counts),
        band=row["filter"].strip(),
        time=begin.tai + 0.5 * float(row["exptime"]) * u.s,
        offset=(float(offset[0]), float(offset[1])),
    )


def _find(folder: Path, name: str) -> Path:
    """Return the one calibration file of a name."""
    (found,) = (folder / "calib").rglob(name)
    return found


def _read_sky(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return the sky of a cut-out in counts, from a spline over the whole detector."""
    with fits.open(path, memmap=False) as hdus:
        row = hdus[1].data[0]
        width, height, order = int(row["gridw"]), int(row["gridh"]), int(row["order"])
        spline = RectBivariateSpline(
            np.array(row["xgrid"], dtype=float)[:width],
            np.array(row["ygrid"], dtype=float)[:height],
            np.array(row["gridvals"], dtype=float)[:height, :width].T,
            kx=order,
            ky=order,
        )
        x, y = np.arange(shape[1]) + float(row["x0"]), np.arange(shape[0]) + float(row["y0"])
    return spline(x, y).T


def _read_psf(path: Path, counts: Image) -> PolynomialPsfTables:
    """Return a PSFEx model; its positions count from 1.

    The numbers of the model are columns beside the samples in some files, and
    header cards in those that PSFEx itself wrote.
    """
    with fits.open(path, memmap=False) as hdus:
        names = [name.lower() for name in hdus[1].columns.names]
        row = hdus[1].data[0]
        samples = np.array(row[names.index("psf_mask")], dtype=float)

        def read(name: str) -> float:
            return float(row[names.index(name)] if name in names else hdus[1].header[name.upper()])

        degree = int(read("poldeg1"))
        return make_psfex_tables(
            samples[: (degree + 1) * (degree + 2) // 2],
            degree=degree,
            origin=(read("polzero1") - 1.0, read("polzero2") - 1.0),
            scale=(read("polscal1"), read("polscal2")),
            step_px=read("psf_samp") or 1.0,
            bounds=counts.bbox.padded(20),
        )
