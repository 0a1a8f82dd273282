"""Stamps of every fate, of datasets that are in no repository."""

from __future__ import annotations

__all__ = ("CREATED", "make_ref", "make_stamp_mix")

import dataclasses
import uuid

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.time import Time
from lsst.daf.butler import DataCoordinate, DatasetRef, DatasetType, DimensionUniverse
from lsst.images import Box

from lsst.dax.image.cutouts import Stamp, make_stamps
from lsst.dax.image.flags import FLAGS
from tests.support.scenes import BOX, make_masked_image, make_sky_projection

CREATED = Time("2026-01-02T03:04:05", scale="utc")


def make_ref(number: int) -> DatasetRef:
    """Return a reference to the visit image of a visit."""
    universe = DimensionUniverse()
    dataset_type = DatasetType(
        "visit_image", ("instrument", "visit", "detector"), "VisitImage", universe=universe
    )
    data_id = DataCoordinate.standardize(instrument="Cam", visit=100 + number, detector=3, universe=universe)
    return DatasetRef(dataset_type, data_id, run="run", id=uuid.UUID(int=number))


def make_stamp_mix(n: int = 12, *, size: int = 7, visits: int = 1, bbox: Box = BOX) -> list[Stamp]:
    """Return stamps of ``n`` targets in each of some visits.

    Of eight targets the third lies at the edge of the image, the fourth off
    the image, the fifth nowhere, and the sixth could not be read.
    """
    rng = np.random.default_rng(5)
    projection = make_sky_projection(bbox=bbox)
    x = rng.uniform(bbox.x.start + size, bbox.x.stop - size, n)
    y = rng.uniform(bbox.y.start + size, bbox.y.stop - size, n)
    x[2::8] = bbox.x.start + 1.0
    x[3::8] = bbox.x.stop + 100.0
    positions = projection.pixel_to_sky(x=x, y=y)
    ra, dec = positions.ra.deg, positions.dec.deg
    ra[4::8] = np.nan
    stamps = []
    for visit in range(visits):
        image = make_masked_image(bbox)
        image.image.array[:] += visit
        time = Time(61000.0 + visit, format="mjd", scale="tai")
        for stamp in make_stamps(image, SkyCoord(ra, dec, unit=u.deg), size=size, time=time):
            found = dataclasses.replace(stamp, ref=make_ref(visit))
            if stamp.index % 8 == 5:
                found = dataclasses.replace(
                    found, image=None, flags=FLAGS["READ_FAILED"].value, message='no "file",\nat /\u00e9'
                )
            stamps.append(found)
    return stamps
