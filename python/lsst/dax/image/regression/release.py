"""What a release test found: one check per product, and the report of all."""

from __future__ import annotations

__all__ = ("Closeup", "ReleaseCheck", "ReleaseReport", "ReportedCheck", "make_closeup")

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pydantic

from lsst.images import MaskedImage

from ..version import __version__
from .comparison import Comparison
from .statistical import StatisticalComparison
from .tables import TableComparison

if TYPE_CHECKING:
    from lsst.daf.butler import DatasetRef

type FloatArray = npt.NDArray[np.float32]

_HALF = 32


@dataclass(frozen=True, eq=False)
class Closeup:
    """The pixels around the largest difference of two images."""

    candidate: FloatArray
    """Pixels [y, x] of the image that was judged."""
    reference: FloatArray
    """The same pixels of the image that it was judged by."""
    sigma: FloatArray
    """Standard deviations of the reference's pixels."""
    origin: tuple[int, int]
    """Pixel (x, y) of the first element."""
    center: tuple[int, int]
    """Pixel (x, y) of the largest difference."""
    unit: str
    """Unit of the pixels."""


def make_closeup(candidate: MaskedImage, reference: MaskedImage, center: tuple[int, int]) -> Closeup:
    """Cut out what is to be looked at.

    Parameters
    ----------
    candidate, reference
        Images of the same pixels.
    center
        Pixel (x, y) of the largest difference.

    Returns
    -------
    closeup
        At most 65 x 65 pixels, copied.
    """
    box = reference.bbox
    x, y = center[0] - box.x.start, center[1] - box.y.start
    rows, columns = (slice(max(at - _HALF, 0), at + _HALF + 1) for at in (y, x))
    pixels = [
        plane.array[rows, columns].astype(np.float32)
        for plane in (candidate.image, reference.image, reference.variance)
    ]
    sigma = np.sqrt(np.where(pixels[2] > 0, pixels[2], np.nan))
    return Closeup(
        candidate=pixels[0],
        reference=pixels[1],
        sigma=sigma,
        origin=(box.x.start + columns.start, box.y.start + rows.start),
        center=center,
        unit=str(reference.unit or ""),
    )


class ReportedCheck(pydantic.BaseModel, frozen=True, extra="forbid", ser_json_inf_nan="strings"):
    """One check as a report has it."""

    product: str
    """Which product was made again."""
    dataset_type: str
    """Type of the dataset that it was compared with."""
    data_id: dict[str, str | int]
    """Its data ID."""
    dataset: UUID
    """The dataset."""
    tolerance: str
    """What was asked for."""
    failures: tuple[str, ...]
    """What is beyond the tolerance, or why the product could not be made."""
    comparison: Comparison | StatisticalComparison | TableComparison | None
    """What differs; `None` if the product could not be made."""

    @property
    def passed(self) -> bool:
        """Whether all is within the tolerance."""
        return not self.failures

    @property
    def max_sigma(self) -> float | None:
        """Largest difference of a pixel or flux in standard deviations, where that is known."""
        if isinstance(self.comparison, Comparison):
            return self.comparison.planes[0].max_sigma
        return None if self.comparison is None else self.comparison.max_sigma


@dataclass(frozen=True, eq=False)
class ReleaseCheck:
    """Whether a product of a release is what the library makes."""

    ref: DatasetRef
    """Dataset that the product was compared with."""
    reported: ReportedCheck
    """What was found."""
    closeup: Closeup | None = None
    """Pixels around the largest difference; `None` for tables."""

    @property
    def passed(self) -> bool:
        """Whether all is within the tolerance."""
        return self.reported.passed


class ReleaseReport(pydantic.BaseModel, frozen=True, extra="forbid", ser_json_inf_nan="strings"):
    """What a release test found.

    Notes
    -----
    ``report.model_dump_json()`` and `ReleaseReport.model_validate_json` go to
    JSON and back.
    """

    software: str = f"lsst-dax-image {__version__}"
    """Library that made the products again."""
    repository: str
    """Repository."""
    collections: tuple[str, ...]
    """Collections that were searched."""
    left_out: Mapping[str, str]
    """Products that were not checked, and why."""
    checks: tuple[ReportedCheck, ...]
    """All checks."""

    @property
    def passed(self) -> bool:
        """Whether something was checked, and all of it is within the tolerances."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Number of checks and of those that failed, by product."""
        found: dict[str, tuple[int, int]] = {}
        for check in self.checks:
            total, failed = found.get(check.product, (0, 0))
            found[check.product] = (total + 1, failed + (not check.passed))
        return found
