"""Which images a coadd takes: the part of a recipe that looks at metadata only."""

from __future__ import annotations

__all__ = ("Best", "Criterion", "PsfQuality", "Selection")

import datetime
import enum
import math
from typing import Annotated, Any, Self

import pydantic
from astropy.time import Time
from pydantic import Field

from ._model import RecipePart


class Criterion(enum.Enum):
    """What the best visits are the best in."""

    SEEING = "seeing"
    """The smallest FWHM of the PSF."""

    DEPTH = "depth"
    """The faintest limit for point sources."""

    SKY_LEVEL = "sky_level"
    """The darkest sky."""

    EFFECTIVE_TIME = "effective_time"
    """The longest effective exposure time."""

    AIRMASS = "airmass"
    """The smallest airmass."""


class Best(RecipePart):
    """The best visits of those that could go into a cell.

    They are chosen for each cell among the visits that may go into it, so that
    neither the region that is asked for nor its neighbourhood matters.
    """

    criterion: Criterion
    """What they are the best in."""

    number: Annotated[int, Field(ge=1)] | None = None
    """How many; either this or ``fraction`` is given."""

    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Which share, rounded up to whole visits."""

    at_least: Annotated[int, Field(ge=1)] = 1
    """Least number of visits for a ``fraction``: of fewer, all are taken."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if (self.number is None) == (self.fraction is None):
            raise ValueError(
                f"either number or fraction is needed, not number {self.number} and fraction {self.fraction}"
            )
        if self.number is not None and self.at_least != 1:
            raise ValueError(f"at_least is {self.at_least}, but goes with a fraction, not a number")
        return self

    def count(self, available: int) -> int:
        """Return how many of some visits are taken.

        Parameters
        ----------
        available
            Number of visits.

        Returns
        -------
        count
            Number that is taken.
        """
        if self.number is not None:
            return min(self.number, available)
        # A third of three is one, whatever 1 / 3 is in binary.
        share = math.ceil((self.fraction or 1.0) * available - 1e-9)
        return min(max(share, self.at_least), available)


class PsfQuality(RecipePart):
    """Least quality of the PSF model of an image; the defaults are those of the observatory's coadds.

    A cut whose statistic an image does not have lets it pass; `None` switches
    a cut off.
    """

    max_ellipticity_residual: Annotated[float, Field(gt=0)] | None = 0.007
    """Largest median difference in ellipticity, stars minus model."""

    max_scaled_size_scatter: Annotated[float, Field(gt=0)] | None = 0.019
    """Largest scatter of the size residuals, in units of the PSF's size squared."""

    max_trace_radius_delta_px: Annotated[float, Field(gt=0)] | None = 0.7
    """Largest range of the model's trace radius over an image, in pixels."""

    max_aperture_flux_delta: Annotated[float, Field(gt=0)] | None = 0.24
    """Largest range of the model's flux in an aperture over an image."""

    max_scaled_aperture_correction_delta: Annotated[float, Field(gt=0)] | None = 0.22
    """Largest range of the aperture correction over an image, divided by the PSF's size."""

    min_stars: Annotated[int, Field(ge=1)] | None = 6
    """Least number of stars that the model was made from."""

    max_star_ellipticity: Annotated[float, Field(gt=0)] | None = 0.4
    """Largest median ellipticity of the stars."""


class Selection(RecipePart):
    """Which images a coadd takes.  A field that is `None` sets no limit.

    An image that lacks what a limit is about is rejected, and the reason says
    so.
    """

    bands: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Bands.  Only a coadd of one band and `Statistic.CHI_SQUARED` may leave
    them open, where no other band has images."""

    begin: Time | None = None
    """Begin of the time range, within which the middle of an exposure lies;
    kept as TAI, to the nanosecond.  An ISO string is TAI."""

    end: Time | None = None
    """End of the time range, which does not belong to it."""

    day_obs: tuple[int, int] | None = None
    """First and last day of observation (YYYYMMDD)."""

    max_fwhm_arcsec: Annotated[float, Field(gt=0)] | None = None
    """Largest FWHM of the PSF in arcsec: 2.3548 times the determinant radius."""

    max_sky_njy_per_arcsec2: Annotated[float, Field(gt=0)] | None = None
    """Brightest sky, in nJy per square arcsec (22 mag per square arcsec are 5754)."""

    min_depth_mag: float | None = None
    """Least AB magnitude of a point source of five standard deviations of the sky's noise."""

    max_airmass: Annotated[float, Field(ge=1)] | None = None
    """Largest airmass."""

    min_effective_time_s: Annotated[float, Field(gt=0)] | None = None
    """Least effective exposure time in seconds."""

    psf_quality: PsfQuality | None = None
    """Least quality of the PSF model."""

    visits: tuple[int, ...] | None = None
    """The visits to choose from; all if `None`."""

    exclude_visits: tuple[int, ...] = ()
    """Visits that do not go in."""

    where: Annotated[str, Field(max_length=10_000)] = ""
    """Further constraint in the Butler's expression language."""

    best: Best | None = None
    """Which of the visits that remain are taken; all if `None`."""

    min_visits: Annotated[int, Field(ge=1)] = 1
    """Least number of visits in a cell; with fewer it stays empty."""

    @pydantic.field_validator("bands", "visits", "exclude_visits", mode="after")
    @classmethod
    def _sort(cls, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        # Sets: their order says nothing, so it must not be in the fingerprint.
        return None if value is None else tuple(sorted(set(value)))

    @pydantic.field_validator("bands", mode="before")
    @classmethod
    def _take_one_band(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @pydantic.field_validator("begin", "end", mode="before")
    @classmethod
    def _parse_time(cls, value: Any) -> Time | None:
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = Time(value, scale="tai", format="isot")
            except ValueError as error:
                raise ValueError(f"{value!r} is no ISO time") from error
        if not (isinstance(value, Time) and value.isscalar and math.isfinite(value.jd)):
            raise ValueError(f"{value!r} is no single time")
        # To what the text says, so that a recipe from a file equals the one that was written.
        return Time(_write_time(value), scale="tai", format="isot")

    @pydantic.field_serializer("begin", "end")
    def _serialize_time(self, value: Time | None) -> str | None:
        return None if value is None else _write_time(value)

    @pydantic.field_validator("day_obs")
    @classmethod
    def _check_days(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        for day in value or ():
            try:
                datetime.date(day // 10_000, day // 100 % 100, day % 100)
            except ValueError as error:
                raise ValueError(f"{day} is no day of the form YYYYMMDD: {error}") from error
        if value is not None and value[0] > value[1]:
            raise ValueError(f"the first day {value[0]} is after the last day {value[1]}")
        return value

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if self.begin is not None and self.end is not None and not self.begin < self.end:
            raise ValueError(f"begin is {self.begin.isot}, not before end, which is {self.end.isot}")
        for name in ("bands", "visits"):
            if getattr(self, name) == ():
                raise ValueError(f"{name} is empty; leave it out for all {name}")
        if both := set(self.visits or ()) & set(self.exclude_visits):
            raise ValueError(f"visits and exclude_visits both have {sorted(both)}")
        if self.visits is not None and len(self.visits) < self.min_visits:
            raise ValueError(f"min_visits is {self.min_visits}, but there are {len(self.visits)} visits")
        if self.best is not None and (self.best.number or self.min_visits) < self.min_visits:
            raise ValueError(f"min_visits is {self.min_visits}, but the best {self.best.number} are taken")
        return self


def _write_time(value: Time) -> str:
    """Return a time as TAI text, to the nanosecond."""
    tai = value.tai.copy(format="isot")
    tai.precision = 9
    return str(tai.value)
