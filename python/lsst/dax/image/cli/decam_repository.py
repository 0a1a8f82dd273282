"""A Butler repository of plain FITS images of DECam."""

from __future__ import annotations

__all__ = ("INSTRUMENT", "PIXELS", "RAW_PIXELS", "RUN", "make_decam_repository")

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import astropy.io.fits
import astropy.units as u
import numpy as np
from astropy.stats import sigma_clipped_stats
from astropy.table import Table
from astropy.time import Time

from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset, Timespan
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection
from lsst.sphgeom import ConvexPolygon, UnitVector3d

from ..container import read_plain_bbox, read_plain_image, read_plain_sky_projection
from ..repository import FitsImageFormatter
from .output import OutputFolder

INSTRUMENT = "DECam"
"""Name of the instrument."""

RAW_PIXELS = "decam_image"
"""Dataset type of the files as they are: counts, with the sky."""

PIXELS = "decam_calibrated"
"""Dataset type of the masked images in nJy, without the sky."""

RUN = "DECam/runs/demo"
"""Collection of both."""

_REGION_MARGIN_PX = 1.5
# AB magnitude of 1 nJy.
_NJY_MAGNITUDE = 31.4
# Codes of the DECam Community Pipeline; they are numbers, not bits.
_CODES: Mapping[int, MaskPlane] = {
    1: MaskPlane("BAD", "Bad pixel."),
    2: MaskPlane("NO_DATA", "No value."),
    3: MaskPlane("SATURATED", "Saturated."),
    4: MaskPlane("BLEED", "Bleed trail of a saturated star."),
    5: MaskPlane("COSMIC_RAY", "Cosmic ray."),
    6: MaskPlane("LOW_WEIGHT", "Low weight."),
    7: MaskPlane("TRANSIENT", "Differs from the median of several exposures."),
    8: MaskPlane("STREAK", "Long streak."),
}


@dataclasses.dataclass(frozen=True)
class Exposure:
    """One file, and what the registry must know of it."""

    path: Path
    visit: int
    detector: int
    detector_name: str
    physical_filter: str
    band: str
    timespan: Timespan
    exposure_time: float
    target: str
    bbox: Box
    sky_projection: SkyProjection[Any]
    zero_point: float
    """AB magnitude of one count in the whole exposure."""

    @property
    def day_obs(self) -> int:
        """Night of the exposure as YYYYMMDD; it begins at noon, TAI."""
        begin: Any = self.timespan.begin
        return int((begin - 12 * u.h).strftime("%Y%m%d"))

    @property
    def region(self) -> ConvexPolygon:
        """The pixels' outer edges on the sky."""
        pad = _REGION_MARGIN_PX
        x, y = self.bbox.x, self.bbox.y
        sky = self.sky_projection.pixel_to_sky(
            x=np.array([x.min - pad, x.max + pad, x.max + pad, x.min - pad]),
            y=np.array([y.min - pad, y.min - pad, y.max + pad, y.max + pad]),
        )
        vectors = sky.icrs.cartesian.xyz.value.T.tolist()
        return ConvexPolygon.convexHull([UnitVector3d(*vector) for vector in vectors])

    @property
    def data_id(self) -> dict[str, Any]:
        """Values of the required dimensions."""
        return {"instrument": INSTRUMENT, "visit": self.visit, "detector": self.detector}


def make_decam_repository(folder: OutputFolder, data: Path) -> Butler:
    """Make a repository of the exposures of a Legacy Survey brick.

    Parameters
    ----------
    folder
        Where the repository goes.
    data
        Brick with images, weights, data quality and ``survey-ccds-1.fits.gz``.
        The files are not copied: the repository refers to them.

    Returns
    -------
    butler
        Butler of the repository, which the caller closes.

    Raises
    ------
    InputDataError
        Raised if an image is missing or unusable.
    """
    root = folder.repository("decam")
    Butler.makeRepo(str(root))
    exposures = [_read_exposure(data, row) for row in Table.read(data / "survey-ccds-1.fits.gz")]
    butler = Butler.from_config(str(root), writeable=True, run=RUN)
    _insert_dimensions(butler, exposures)
    ingest_in_place(butler, exposures)
    put_calibrated(butler, exposures)
    return butler


def ingest_in_place(butler: Butler, exposures: list[Exposure]) -> None:
    """Register the files where they are, to be read by the library's formatter."""
    dataset_type = DatasetType(
        RAW_PIXELS, ("instrument", "visit", "detector"), "ImageV2", universe=butler.dimensions
    )
    butler.registry.registerDatasetType(dataset_type)
    for exposure in exposures:
        data_id = butler.registry.expandDataId(exposure.data_id)
        ref = DatasetRef(dataset_type, data_id, run=RUN)
        butler.ingest(FileDataset(exposure.path, ref, formatter=FitsImageFormatter), transfer="direct")


def put_calibrated(butler: Butler, exposures: list[Exposure]) -> None:
    """Store image, mask and variance in nJy, without the sky."""
    dataset_type = DatasetType(
        PIXELS, ("instrument", "visit", "detector"), "MaskedImageV2", universe=butler.dimensions
    )
    butler.registry.registerDatasetType(dataset_type)
    for exposure in exposures:
        butler.put(calibrate(exposure), dataset_type, exposure.data_id)


def calibrate(exposure: Exposure) -> MaskedImage:
    """Make a masked image of a file, its weights and its data quality."""
    counts = read_plain_image(exposure.path)
    weight = read_plain_image(_sibling(exposure.path, "oow")).array
    code = read_plain_image(_sibling(exposure.path, "ood")).array
    _, sky, _ = sigma_clipped_stats(counts.array, mask=code != 0, sigma=3.0)
    scale = 10.0 ** (-0.4 * (exposure.zero_point - _NJY_MAGNITUDE))
    variance = np.full(weight.shape, np.inf, dtype=np.float32)
    np.divide(scale**2, weight, out=variance, where=weight > 0)
    mask = Mask(schema=MaskSchema(_CODES.values()), bbox=counts.bbox, sky_projection=counts.sky_projection)
    for number, plane in _CODES.items():
        mask.set(plane.name, code == number)
    image = Image(
        ((counts.array - sky) * scale).astype(np.float32),
        bbox=counts.bbox,
        unit=u.nJy,
        sky_projection=counts.sky_projection,
    )
    return MaskedImage(image, mask=mask, variance=Image(variance, bbox=counts.bbox, unit=u.nJy**2))


def _sibling(path: Path, kind: str) -> Path:
    """Return the file of weights (``oow``) or data quality (``ood``)."""
    return path.with_name(path.name.replace("_ooi_", f"_{kind}_"))


def _read_exposure(data: Path, row: Any) -> Exposure:
    """Read what the headers of one file say."""
    path = data / "images" / str(row["image_filename"]).strip()
    primary = astropy.io.fits.getheader(path, 0)
    extension = astropy.io.fits.getheader(path, int(row["image_hdu"]))
    # Dates of the headers are UTC, those of a repository TAI.
    begin = Time(primary["DATE-OBS"], scale="utc", format="isot").tai
    seconds = float(primary["EXPTIME"])
    return Exposure(
        path=path,
        visit=int(primary["EXPNUM"]),
        detector=int(extension["CCDNUM"]),
        detector_name=str(extension["DETPOS"]).strip(),
        physical_filter=str(primary["FILTER"]).strip(),
        band=str(row["filter"]).strip(),
        timespan=Timespan(begin, begin + seconds * u.s),
        exposure_time=seconds,
        target=str(primary["OBJECT"]).strip(),
        bbox=read_plain_bbox(path),
        sky_projection=read_plain_sky_projection(path),
        zero_point=float(row["ccdzpt"]) + 2.5 * np.log10(float(row["exptime"])),
    )


def _insert_dimensions(butler: Butler, exposures: list[Exposure]) -> None:
    """Insert the records of the instrument and its visits."""
    registry = butler.registry
    registry.insertDimensionData("instrument", {"name": INSTRUMENT})
    filters = {exposure.physical_filter: exposure.band for exposure in exposures}
    registry.insertDimensionData(
        "physical_filter",
        *[{"instrument": INSTRUMENT, "name": name, "band": band} for name, band in filters.items()],
    )
    detectors = {exposure.detector: exposure.detector_name for exposure in exposures}
    registry.insertDimensionData(
        "detector",
        *[{"instrument": INSTRUMENT, "id": number, "full_name": name} for number, name in detectors.items()],
    )
    days = sorted({exposure.day_obs for exposure in exposures})
    registry.insertDimensionData("day_obs", *[{"instrument": INSTRUMENT, "id": day} for day in days])
    registry.insertDimensionData("visit", *[_visit_record(exposure) for exposure in exposures])
    registry.insertDimensionData(
        "visit_detector_region",
        *[{**exposure.data_id, "region": exposure.region} for exposure in exposures],
    )


def _visit_record(exposure: Exposure) -> dict[str, Any]:
    """Return the record of a visit, of which there is one detector."""
    return {
        "instrument": INSTRUMENT,
        "id": exposure.visit,
        "name": f"{exposure.visit:08d}",
        "physical_filter": exposure.physical_filter,
        "day_obs": exposure.day_obs,
        "exposure_time": exposure.exposure_time,
        "target_name": exposure.target,
        "timespan": exposure.timespan,
        "region": exposure.region,
    }
