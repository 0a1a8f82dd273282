"""Cut-outs of Legacy Survey exposures, as masked images in nJy with their PSFEx models."""

from __future__ import annotations

__all__ = ("SurveyExposure", "place_stars", "read_exposures", "read_gaia", "read_psf")

from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Row, Table, vstack
from astropy.time import Time
from lsst.images import Image, Mask, MaskedImage, MaskPlane, MaskSchema
from scipy.interpolate import RectBivariateSpline

from lsst.dax.image.container import read_plain_image
from lsst.dax.image.psfs import PolynomialPsfTables, make_psfex_tables

PLANES = (MaskPlane("NO_DATA", "No usable value."), MaskPlane("SATURATED", "Saturated, or a bleed trail."))
_STAR_COLUMNS = ("ra", "dec", "pmra", "pmdec", "ref_epoch")


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


def read_gaia(folder: Path) -> Table:
    """Return the stars of Gaia's second release around a folder's exposures."""
    tables = [Table.read(path) for path in sorted((folder / "gaia").glob("chunk-*.fits"))]
    return vstack(tables, metadata_conflicts="silent")


def place_stars(stars: Table, exposure: SurveyExposure) -> Table:
    """Return where the projection of an exposure has stars."""
    placed = stars[[name for name in _STAR_COLUMNS if name in stars.colnames]].copy()
    placed["ra"] -= exposure.offset[0]
    placed["dec"] -= exposure.offset[1]
    return placed


def _read_exposure(folder: Path, row: Row) -> SurveyExposure:
    path = folder / "images" / row["image_filename"].strip()
    is_decam = row["camera"].strip() == "decam"
    counts = read_plain_image(path)
    weight = read_plain_image(path.with_name(path.name.replace("_ooi_", "_oow_"))).array
    code = read_plain_image(path.with_name(path.name.replace("_ooi_", "_ood_"))).array
    # Codes, not bits: 8 is a streak, which these versions flag falsely; those
    # of the other cameras have 7 for a difference to other exposures.
    harmless = (0, 8) if is_decam else (0, 7, 8)
    good = (weight > 0.1 * np.median(weight[weight > 0])) & np.isin(code, harmless)
    # DECam counts over the whole exposure, the others per second.
    zero_point = float(row["ccdzpt"]) + (2.5 * np.log10(float(row["exptime"])) if is_decam else 0.0)
    scale = 10.0 ** (0.4 * (31.4 - zero_point))
    variance = np.full(counts.array.shape, np.inf)
    variance[good] = scale**2 / weight[good]
    mask = Mask(schema=MaskSchema(PLANES), bbox=counts.bbox)
    mask.set("NO_DATA", ~good)
    mask.set("SATURATED", (code == 3) | (code == 4))
    image = Image(
        (counts.array.astype(np.float64) - _read_sky(folder, row, counts)) * scale,
        bbox=counts.bbox,
        unit=u.nJy,
        sky_projection=counts.sky_projection,
    )
    dec = np.radians(float(counts.sky_projection.pixel_to_sky(x=0.0, y=0.0).dec.deg))
    offset = np.array([row["ccdraoff"] / np.cos(dec), row["ccddecoff"]]) / 3600.0
    begin = Time(float(row["mjd_obs"]), format="mjd", scale="utc")
    return SurveyExposure(
        image=MaskedImage(image, mask=mask, variance=Image(variance, bbox=counts.bbox, unit=u.nJy**2)),
        psf=read_psf(_find(folder, row, "psfex"), counts),
        band=row["filter"].strip(),
        time=begin.tai + 0.5 * float(row["exptime"]) * u.s,
        offset=(float(offset[0]), float(offset[1])),
    )


def _find(folder: Path, row: Row, kind: str) -> Path | None:
    """Return the calibration file of an exposure, of whichever layout; `None` if there is none."""
    ccd, number = row["ccdname"].strip(), f"{int(row['expnum']):08d}"
    stem = Path(row["image_filename"].strip()).stem.removesuffix(f".{ccd}")
    for pattern in (
        f"{stem}-{ccd}-{kind}.fits",
        f"{stem}-{kind}.fits",
        f"{kind}/{number[:5]}/{number}/*-{ccd}.fits",
    ):
        if found := sorted((folder / "calib").rglob(pattern)):
            return found[0]
    return None


def _read_sky(folder: Path, row: Row, counts: Image) -> np.ndarray | float:
    """Return the sky of a cut-out in counts: a spline over the whole detector, a constant, or the median."""
    path = _find(folder, row, "splinesky")
    if path is None:
        return float(np.median(counts.array))
    with fits.open(path, memmap=False) as hdus:
        if "SKY_P0" in hdus[0].header:
            return float(hdus[0].header["SKY_P0"])
        sky = hdus[1].data[0]
        width, height, order = int(sky["gridw"]), int(sky["gridh"]), int(sky["order"])
        spline = RectBivariateSpline(
            np.array(sky["xgrid"], dtype=float)[:width],
            np.array(sky["ygrid"], dtype=float)[:height],
            np.array(sky["gridvals"], dtype=float)[:height, :width].T,
            kx=order,
            ky=order,
        )
        rows, columns = counts.array.shape
        x, y = np.arange(columns) + float(sky["x0"]), np.arange(rows) + float(sky["y0"])
    return spline(x, y).T


def read_psf(path: Path, counts: Image) -> PolynomialPsfTables:
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
