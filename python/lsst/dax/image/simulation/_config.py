"""The parameters of a mini survey."""

from __future__ import annotations

__all__ = ("BANDS", "INSTRUMENT", "SKY_MAP", "BandProperties", "SurveyConfig")

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import astropy.units as u
from astropy.coordinates import SkyCoord

from ..errors import RequestError
from ..repository.skymap import RingsSkyMap

INSTRUMENT = "MiniCam"
"""Name of the simulated instrument."""

SKY_MAP = RingsSkyMap(
    name="mini_rings_v1",
    num_rings=1620,
    tract_overlap=0.001,
    cell_size=50,
    cells_per_patch=4,
    border_cells=1,
)
"""A sky map of small tracts: 11 x 11 patches of 200 x 200 inner pixels each."""


@dataclasses.dataclass(frozen=True)
class BandProperties:
    """What a band does to a detector."""

    physical_filter: str
    """Name of the filter."""

    nanojansky_per_electron: float
    """Mean calibration of a clear exposure."""

    sky: float
    """Dark-sky background, in nJy per square arcsec."""


BANDS: Mapping[str, BandProperties] = MappingProxyType(
    {
        "g": BandProperties("g_6", 0.52, 4400.0),
        "r": BandProperties("r_57", 0.50, 12000.0),
        "i": BandProperties("i_39", 0.59, 23000.0),
    }
)
"""The bands of the survey, with sky and sensitivity like a 30 s LSST visit."""


@dataclasses.dataclass(frozen=True)
class SurveyConfig:
    """Size, place and seed of a mini survey.

    Notes
    -----
    Equal configurations make equal surveys, pixel by pixel.
    """

    seed: int = 20251101
    """Seed of everything that is random."""

    center: tuple[float, float] = (149.994416, 2.165386)
    """ICRS right ascension and declination of the field centre, in degrees.
    The sky map's tract there is the survey's tract.  The default lies on the
    edge between two patches."""

    visits_per_band: int = 3
    """Number of visits in each of the bands g, r and i."""

    detector_grid: tuple[int, int] = (1, 2)
    """Rows and columns of detectors in the focal plane."""

    detector_shape: tuple[int, int] = (240, 256)
    """Rows and columns of pixels in a detector."""

    star_density: float = 18.0
    """Number of ordinary stars per square arcmin."""

    galaxy_density: float = 14.0
    """Number of galaxies per square arcmin."""

    time_span_days: int = 730
    """Days between the first and the last night."""

    sky_map: RingsSkyMap = SKY_MAP
    """The sky map; its pixel scale is also the nominal one of the camera."""

    def __post_init__(self) -> None:
        positive = {
            "visits_per_band": self.visits_per_band,
            "detector_grid": min(self.detector_grid),
            "time_span_days": self.time_span_days,
        }
        for name, value in positive.items():
            if value < 1:
                raise RequestError(f"{name} of a survey must be at least 1, not {value}.")
        # Below this the special sources and the PSF stamps leave no blank sky.
        if min(self.detector_shape) < 64:
            raise RequestError(f"A detector needs at least 64 x 64 pixels, not {self.detector_shape}.")
        if min(self.star_density, self.galaxy_density) < 0:
            raise RequestError(
                f"Densities must not be negative: stars {self.star_density}, galaxies {self.galaxy_density}."
            )

    @property
    def center_position(self) -> SkyCoord:
        """Field centre."""
        return SkyCoord(ra=self.center[0], dec=self.center[1], unit=u.deg)

    @property
    def pixel_scale(self) -> float:
        """Nominal pixel scale in arcsec."""
        return self.sky_map.pixel_scale

    @property
    def tract(self) -> int:
        """The tract that the field centre lies in."""
        return self.sky_map.find_tract(self.center_position)

    @property
    def detector_count(self) -> int:
        """Number of detectors."""
        return self.detector_grid[0] * self.detector_grid[1]

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as plain values (see `from_json`)."""
        return {**dataclasses.asdict(self), "sky_map": self.sky_map.to_config()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SurveyConfig:
        """Make a configuration from what `to_json` returned."""
        values = dict(data)
        for name in ("center", "detector_grid", "detector_shape"):
            values[name] = tuple(values[name])
        values["sky_map"] = RingsSkyMap.from_config(values["sky_map"])
        return cls(**values)
