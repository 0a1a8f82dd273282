"""How the warps of a coadd become one image: the parts of a recipe that need no Butler."""

from __future__ import annotations

__all__ = (
    "ArtifactRules",
    "CellRules",
    "ClipRules",
    "MaskRules",
    "PsfMatching",
    "PsfTarget",
    "Statistic",
    "Weighting",
)

import enum
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from ._model import RecipePart


class Statistic(enum.Enum):
    """How the values of a pixel become one."""

    MEAN = "mean"
    """The weighted mean.  Linear, so that the coadd has a well-defined PSF."""

    CLIPPED_MEAN = "clipped_mean"
    """The weighted mean of what lies within some standard deviations; see `ClipRules`."""

    ARTIFACT_FREE_MEAN = "artifact_free_mean"
    """The weighted mean without artifacts found by comparison with a robust template; see `ArtifactRules`."""

    MEDIAN = "median"
    """The median; that of an even number is the mean of the middle two."""

    MIN = "min"
    """The smallest value."""

    MAX = "max"
    """The largest value."""

    PROPER = "proper"
    """The statistically optimal ("proper") coadd for point sources."""

    CHI_SQUARED = "chi_squared"
    """The sum over bands of the squared signal-to-noise of each band's mean, for detection."""


class Weighting(enum.Enum):
    """How much an input counts.  Weights come from metadata, never from pixels of the region."""

    INVERSE_VARIANCE = "inverse_variance"
    """The inverse of the mean sky variance, in nJy**2 per pixel."""

    POINT_SOURCE = "point_source"
    """The inverse variance of the flux of a faint point source: that of the sky times the PSF's area."""

    EFFECTIVE_TIME = "effective_time"
    """The effective exposure time."""

    EQUAL = "equal"
    """All the same."""


class ClipRules(RecipePart):
    """Which values a clipped mean leaves out."""

    n_sigma: Annotated[float, Field(gt=0)] = 3.0
    """Distance in standard deviations from which on a value is left out."""

    iterations: Annotated[int, Field(ge=1, le=10)] = 2
    """How often; the first time around the median, with 0.7413 times the interquartile range."""


class ArtifactRules(RecipePart):
    """What is taken for an artifact: a spot that differs from the template in few visits."""

    template_n_sigma: Annotated[float, Field(gt=0)] = 2.5
    """Clipping of the template."""

    template_iterations: Annotated[int, Field(ge=1, le=10)] = 3
    """Clipping of the template."""

    n_sigma: Annotated[float, Field(gt=0)] = 7.5
    """Significance per pixel of a difference."""

    min_pixels: Annotated[int, Field(ge=1)] = 4
    """Connected pixels that make a spot."""

    grow_px: Annotated[int, Field(ge=0)] = 2
    """Width by which a spot is grown."""

    max_epochs_fraction: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Largest share of visits in which a spot may differ and still be an artifact, for few visits."""

    max_epochs_base: Annotated[float, Field(ge=0)] = 2.0
    """The same for many visits: this number and a share ..."""

    max_epochs_slope: Annotated[float, Field(ge=0)] = 0.03
    """... of them."""

    bright_signal_to_noise: Annotated[float, Field(gt=0)] = 300.0
    """Spots within sources of the template of this significance are no artifacts: their PSFs differ."""


class MaskRules(RecipePart):
    """What masked pixels of the inputs do to the coadd."""

    bad_planes: tuple[str, ...] = ("BAD", "NO_DATA", "SATURATED")
    """Planes whose pixels do not contribute."""

    propagate: tuple[tuple[str, Annotated[float, Field(gt=0, lt=1)]], ...] = (("SATURATED", 0.1),)
    """Planes that are set where more than this share of the weight was left out because of them."""

    @pydantic.field_validator("bad_planes", "propagate")
    @classmethod
    def _sort(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        # Sets: their order says nothing, so that recipes must not differ by it.
        return tuple(sorted(set(value)))


class CellRules(RecipePart):
    """The cells in which a coadd has one set of inputs and one PSF."""

    inner_px: Annotated[int, Field(ge=8)] = 150
    """Side of a cell.  Where a patch of the sky map has cells, theirs is taken."""

    padding_px: Annotated[int, Field(ge=0)] = 50
    """Width around a cell that is made as well, for what looks beyond a pixel: PSF matching, artifacts."""

    is_edge_free: bool = True
    """Whether an input must cover a whole cell, so that its PSF changes only from cell to cell."""

    min_overlap_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a cell that an edge-free input covers."""

    max_masked_fraction: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a cell that may be left out of an input by `MaskRules.bad_planes`."""


class PsfTarget(RecipePart):
    """A round Moffat or Gaussian PSF that inputs are brought to."""

    kind: Literal["gaussian", "moffat"] = "gaussian"
    """Profile."""

    fwhm_arcsec: Annotated[float, Field(gt=0, le=10)]
    """Full width at half maximum."""

    beta: Annotated[float, Field(gt=1)] = 3.0
    """Moffat's exponent; of no meaning for a Gaussian."""


class PsfMatching(RecipePart):
    """Whether inputs are brought to one PSF before they are combined."""

    target: PsfTarget | None = None
    """PSF to bring them to; `None` leaves them as they are."""

    kernel_px: Annotated[int, Field(ge=3, le=101)] = 31
    """Side of the matching kernel, odd."""

    regularisation: Annotated[float, Field(ge=0, le=1)] = 1e-4
    """Power, relative to the largest, below which frequencies of an input's PSF are not divided by."""

    @pydantic.field_validator("kernel_px")
    @classmethod
    def _check_odd(cls, value: Any) -> Any:
        if value % 2 == 0:
            raise ValueError(f"the side of a kernel is odd, not {value}")
        return value
