"""Masks of the reference instrument signature removal that follow from saturated footprints."""

from __future__ import annotations

__all__ = (
    "FULL_SIZE_RULES",
    "FootprintRules",
    "SaturatedFootprint",
    "find_saturated_footprints",
    "flag_e2v_edge_bleeds",
    "flag_itl_dips",
    "flag_itl_edges",
    "widen_trails",
)

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import scipy.ndimage

from ._reference_interpolation import find_runs
from ._reference_planes import BoolArray, Planes, median_of, region_of
from ._sensor import Sensor, SensorAmplifier

DIP_HEIGHT_PX = 50
"""Least height of a footprint with a dip, and of the columns that count for its width."""

DIP_MAX_WIDTH_PX = 50
DIP_MAX_COLUMNS = 500

EDGE_PROBE_ROWS = 50
EDGE_PROBE_HALF_WIDTH_PX = 5
EDGE_EXCESS = 5000.0
"""Electrons above the amplifier's median that tell a bleed at the far edge."""

EDGE_WIDTH_ROWS = 100
EDGE_WIDTH_HALF_PX = 250
EDGE_WIDTH_FRACTION = 0.45
EDGE_DECAY_PER_PX = 0.02

SAG_FRACTION = 0.2
"""Part of a footprint's height above which a column belongs to the core."""


@dataclasses.dataclass(frozen=True)
class FootprintRules:
    """Sizes that the masks go by; the defaults are those of full detectors."""

    min_area: int = 10_000
    """Least area of a footprint that bleeds into an edge, in pixels."""

    max_area: int = 100_000
    """Area that it does not reach."""

    e2v_edge_rows: int = 350
    """Rows at the edge that an E2V bleed flags."""

    itl_edge_rows: int = 200
    """Rows at the edge that an ITL bleed flags."""


FULL_SIZE_RULES = FootprintRules()


@dataclasses.dataclass(frozen=True, eq=False)
class SaturatedFootprint:
    """One connected group of saturated pixels."""

    x: np.ndarray
    """Pixel columns."""

    y: np.ndarray
    """Pixel rows."""

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.x.size)

    @property
    def height(self) -> int:
        """Number of rows from the first to the last."""
        return int(np.ptp(self.y)) + 1

    @property
    def centroid(self) -> tuple[float, float]:
        """Mean pixel (x, y)."""
        return float(np.mean(self.x)), float(np.mean(self.y))

    def column_counts(self, width: int) -> np.ndarray:
        """Return the number of its pixels in every column of an image."""
        return np.bincount(self.x, minlength=width)

    def cores(self, width: int) -> list[tuple[int, int]]:
        """Return its runs of nearly full columns as (first, one past the last)."""
        return find_runs(self.column_counts(width) > SAG_FRACTION * self.height)


def find_saturated_footprints(planes: Planes) -> list[SaturatedFootprint]:
    """Return the 8-connected groups of SAT pixels."""
    labels, _ = scipy.ndimage.label(planes.plane("SAT"), structure=np.ones((3, 3)))
    footprints = []
    for number, region in enumerate(scipy.ndimage.find_objects(labels), start=1):
        y, x = np.nonzero(labels[region] == number)
        footprints.append(SaturatedFootprint(x + region[1].start, y + region[0].start))
    return footprints


def _large(planes: Planes, rules: FootprintRules) -> Iterator[SaturatedFootprint]:
    """Yield the footprints that may bleed into an edge."""
    for footprint in find_saturated_footprints(planes):
        if rules.min_area <= footprint.area < rules.max_area:
            yield footprint


def flag_e2v_edge_bleeds(planes: Planes, sensor: Sensor, *, rules: FootprintRules) -> Planes:
    """Flag SAT at the edge of lower E2V amplifiers whose bleed reaches it."""
    if sensor.physical_type != "E2V":
        return planes
    flagged = planes
    for footprint in _large(planes, rules):
        x, y = (int(value) for value in footprint.centroid)
        if footprint.y.min() != 0:
            continue
        for amplifier in sensor.amplifiers:
            if amplifier.name.startswith("C0") and amplifier.bbox.contains(x=x, y=y):
                rows, columns = region_of(amplifier.bbox)
                top = min(rows.stop, rules.e2v_edge_rows)
                flagged = flagged.flagged_region("SAT", (slice(0, top), columns))
    return flagged


def flag_itl_dips(planes: Planes, *, min_width: int, background_fraction: float) -> Planes:
    """Flag the columns that a bright source darkens, SUSPECT and ITL_DIP.

    Parameters
    ----------
    planes
        Assembled image.
    min_width
        Least number of long columns of a footprint with a dip.
    background_fraction
        Depth of the dip relative to the background, per column; zero says that
        the detector has none.
    """
    if background_fraction == 0.0:
        return planes
    level = median_of(planes.image)
    width_of_image = planes.image.shape[1]
    columns = np.zeros(width_of_image, dtype=bool)
    for footprint in find_saturated_footprints(planes):
        if footprint.height < DIP_HEIGHT_PX:
            continue
        width = int(np.count_nonzero(footprint.column_counts(width_of_image) > DIP_HEIGHT_PX))
        if width < min_width:
            continue
        width = min(width, DIP_MAX_WIDTH_PX)
        if background_fraction * level * width < 0.5 * np.sqrt(level):
            continue
        x = footprint.centroid[0]
        first, last = int(x - 1.5 * width / 2), int(x + 1.5 * width / 2)
        columns[max(first, 0) : last + 1] = True
    if np.count_nonzero(columns) > DIP_MAX_COLUMNS:
        return planes
    where = np.broadcast_to(columns, planes.image.shape)
    return planes.flagged("SUSPECT", where).flagged("ITL_DIP", where)


def flag_itl_edges(
    planes: Planes,
    sensor: Sensor,
    *,
    saturation: Mapping[str, float],
    bad: set[str],
    rules: FootprintRules,
) -> Planes:
    """Flag SAT where an ITL bleed reaches the far edge, and along its columns.

    Parameters
    ----------
    planes
        Assembled image.
    sensor
        Detector.
    saturation
        Saturation level of each amplifier, in electron.
    bad
        Amplifiers whose level does not count.
    rules
        Sizes.
    """
    if sensor.physical_type != "ITL":
        return planes
    where = np.zeros(planes.image.shape, dtype=bool)
    levels = [level for name, level in saturation.items() if name not in bad]
    # Without a good amplifier no pixel counts as bright.
    bright_level = EDGE_WIDTH_FRACTION * float(np.median(levels)) if levels else np.inf
    for footprint in _large(planes, rules):
        cores = footprint.cores(planes.image.shape[1])
        if len(cores) <= 2:
            for start, stop in cores:
                for amplifier in sensor.amplifiers:
                    if amplifier.bbox.x.start <= (start + stop - 1) // 2 < amplifier.bbox.x.stop:
                        _flag_edge(where, planes, amplifier, (start, stop), bright_level, rules)
        for start, stop in cores:
            where[:, start:stop] = True
    return planes.flagged("SAT", where)


def _flag_edge(
    where: BoolArray,
    planes: Planes,
    amplifier: SensorAmplifier,
    core: tuple[int, int],
    bright_level: float,
    rules: FootprintRules,
) -> None:
    """Set, in place, the pixels of a bleed at the far edge of a core's column, if there is one."""
    flip = slice(None, None, -1 if amplifier.name.startswith("C0") else 1)
    image, edge = planes.image[flip], where[flip]
    center, width = (core[0] + core[1] - 1) // 2, core[1] - core[0]
    probe = slice(max(center - EDGE_PROBE_HALF_WIDTH_PX, 0), center + EDGE_PROBE_HALF_WIDTH_PX + 1)
    level = median_of(planes.image[region_of(amplifier.bbox)])
    if not median_of(image[:EDGE_PROBE_ROWS, probe]) > level + EDGE_EXCESS:
        return
    around = slice(max(center - EDGE_WIDTH_HALF_PX, 0), center + EDGE_WIDTH_HALF_PX + 1)
    bright = image[:EDGE_WIDTH_ROWS, around] > np.float64(bright_level)
    widest = int(np.count_nonzero(bright, axis=1).max())
    for row in range(min(rules.itl_edge_rows, image.shape[0])):
        half = int((widest * np.exp(-EDGE_DECAY_PER_PX * row) + width) / 2)
        edge[row, max(center - half, 0) : center + half + 1] = True


def widen_trails(planes: Planes) -> Planes:
    """Grow SAT along rows, the more the longer its runs."""
    saturated = planes.plane("SAT")
    grown = saturated.copy()
    for row in np.flatnonzero(saturated.any(axis=1)):
        for start, stop in find_runs(saturated[row]):
            length = stop - start
            extra = 0 if length <= 5 else 1 if length <= 7 else 3 if length <= 9 else 4
            grown[row, max(start - extra, 0) : stop + extra] = True
    return planes.flagged("SAT", grown)
