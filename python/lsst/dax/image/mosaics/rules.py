"""How images become one: which pixel counts where they overlap, and how much."""

from __future__ import annotations

__all__ = ("BackgroundMatch", "Combine", "MosaicRules", "Overlap", "VarianceRule")

import enum
import numbers
from collections.abc import Iterable
from dataclasses import dataclass

from ..choices import as_choice
from ..errors import RequestError
from ..resampling import FluxConvention, Kernel, MaskRule, MissingRule


class Overlap(enum.Enum):
    """What counts where images on one pixel grid overlap, such as the patches of a tract.

    They are taken for parts of one image: nothing is won by averaging them.
    Images are on one grid if their pixels differ by whole pixels.
    """

    INNER = "inner"
    """The image whose inner region holds the pixel.  Between two images of one size
    that is the one whose centre is nearer; the border lies within the overlap for any sizes."""

    MEAN = "mean"
    """All of them, with weights that fall towards their edges if seams are feathered."""

    FIRST = "first"
    """The first one that has a value."""

    LAST = "last"
    """The last one that has a value."""

    COMBINE = "combine"
    """They are not parts of one image but images of their own, and `Combine` says what counts."""


class Combine(enum.Enum):
    """What counts where images on different pixel grids overlap."""

    INVERSE_VARIANCE = "inverse_variance"
    """The mean, weighted with the inverse variance of each pixel."""

    MEAN = "mean"
    """The mean."""

    MEDIAN = "median"
    """The median; that of an even number is the mean of the middle two."""

    FIRST = "first"
    """The first one that has a value."""

    LAST = "last"
    """The last one that has a value."""

    MIN = "min"
    """The smallest value."""

    MAX = "max"
    """The largest value."""

    @property
    def is_mean(self) -> bool:
        """Whether weights matter."""
        return self in {Combine.INVERSE_VARIANCE, Combine.MEAN}


class VarianceRule(enum.Enum):
    """What images on different pixel grids have in common."""

    CORRELATED = "correlated"
    """They were made of the same exposures, as overlapping tracts are: averages are no less
    noisy than what they are made of, with the variance ``sum(w v) / sum(w)``."""

    INDEPENDENT = "independent"
    """They are exposures of their own: the variance of an average is ``sum(w**2 v) / sum(w)**2``."""


class BackgroundMatch(enum.Enum):
    """What is subtracted from each image so that all agree where they overlap."""

    NONE = "none"
    """Nothing."""

    LEVEL = "level"
    """A constant."""

    PLANE = "plane"
    """A plane."""


@dataclass(frozen=True)
class MosaicRules:
    """How images become one.

    A choice may be given by its value: ``"median"`` for `Combine.MEDIAN`.
    `RequestError` is raised for what is no choice.
    """

    overlap: Overlap = Overlap.INNER
    """For images on one pixel grid."""

    combine: Combine = Combine.INVERSE_VARIANCE
    """For images on different pixel grids."""

    variance: VarianceRule = VarianceRule.CORRELATED
    """For averages of images on different pixel grids."""

    feather_px: int = 0
    """Width in pixels of an image over which its weight falls linearly towards its edge."""

    background: BackgroundMatch = BackgroundMatch.NONE
    """Background that is matched."""

    exclude_planes: tuple[str, ...] = ()
    """Mask planes whose pixels do not contribute, in the images that have these planes; a
    plane that no image has is refused."""

    background_exclude: tuple[str, ...] = ("DETECTED", "DETECTED_NEGATIVE", "SATURATED", "INTERPOLATED")
    """Mask planes whose pixels tell nothing of the background, in the images that have these
    planes.  With an empty tuple sources count, as they must where they are everywhere."""

    kernel: Kernel = Kernel.LANCZOS3
    """For images that are not on the pixels of the mosaic."""

    mask_rule: MaskRule = MaskRule.ANY
    """For their masks."""

    missing_rule: MissingRule = MissingRule.FOOTPRINT
    """For their missing pixels."""

    flux_convention: FluxConvention = FluxConvention.FLUX
    """What is kept where their pixels differ in area from those of the mosaic."""

    def __post_init__(self) -> None:
        for name, kind in _CHOICES.items():
            object.__setattr__(self, name, as_choice(getattr(self, name), kind, name))
        for name in ("exclude_planes", "background_exclude"):
            object.__setattr__(self, name, _as_names(getattr(self, name), name))
        if not _is_whole(self.feather_px):
            raise RequestError(f"Seams are feathered over a whole number of pixels, not {self.feather_px!r}.")
        if self.feather_px < 0:
            raise RequestError(f"Seams are feathered over 0 or more pixels, not {self.feather_px}.")
        if self.feather_px and self.overlap is not Overlap.MEAN and not self.combine.is_mean:
            raise RequestError(
                f"Feathered seams ({self.feather_px} pixels) need averages; the overlap rule is "
                f"{self.overlap} and images are combined by {self.combine}."
            )


_CHOICES: dict[str, type[enum.Enum]] = {
    "overlap": Overlap,
    "combine": Combine,
    "variance": VarianceRule,
    "background": BackgroundMatch,
    "kernel": Kernel,
    "mask_rule": MaskRule,
    "missing_rule": MissingRule,
    "flux_convention": FluxConvention,
}


def _is_whole(value: object) -> bool:
    """Tell whether a value is a whole number; a NaN is not below zero, and a bool is an integer."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _as_names(names: object, option: str) -> tuple[str, ...]:
    """Return names of mask planes as a tuple; one string would be taken for its letters."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise RequestError(f"The option {option} is several names, such as ({names!r},), not {names!r}.")
    found = tuple(names)
    if not all(isinstance(name, str) for name in found):
        raise RequestError(f"The option {option} has names of mask planes, not {found}.")
    return found


def as_rules(rules: object) -> MosaicRules:
    """Return rules, or the defaults for none.

    Parameters
    ----------
    rules
        Rules or `None`.

    Returns
    -------
    rules
        Rules.

    Raises
    ------
    RequestError
        Raised if it is anything else.
    """
    if rules is None:
        return MosaicRules()
    if not isinstance(rules, MosaicRules):
        raise RequestError(f"How images become one is said by MosaicRules, not by {rules!r}.")
    return rules


def has_psf(rules: MosaicRules) -> bool:
    """Tell whether a mosaic has a PSF.

    Parameters
    ----------
    rules
        How images become one.

    Returns
    -------
    has
        False for medians, smallest and largest values.
    """
    return rules.combine.is_mean or rules.combine in {Combine.FIRST, Combine.LAST}
