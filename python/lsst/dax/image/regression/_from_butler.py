"""Re-create many visit images of a repository, and compare each with its original."""

from __future__ import annotations

__all__ = ("Verification", "assert_recreated", "verify_recreation")

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from lsst.daf.butler import DatasetRef
from lsst.images import VisitImage

from ..errors import DaxImageError, InputDataError
from ..recreation import CalibrationCache, recreate_visit_image
from ..recreation.isr import IsrSequence
from ..repository import ButlerLike, SharedButler, fetch_uri, map_in_order, name_dataset, opened_dataset
from .comparison import Comparison, compare_images
from .quantisation import read_steps
from .tolerance import Tolerance

_CALIBRATIONS = CalibrationCache(1_000_000_000)
"""Calibrations that this process read last; all its tasks share them."""


@dataclass(frozen=True)
class Verification:
    """Whether a visit image could be re-created as it was."""

    ref: DatasetRef
    """The original."""
    comparison: Comparison | None
    """How the re-created image differs from it; `None` if it could not be made."""
    failures: tuple[str, ...]
    """What is beyond the tolerance, or why the image could not be made."""

    @property
    def passed(self) -> bool:
        """Whether all is within the tolerance."""
        return not self.failures


def verify_recreation(
    butler: ButlerLike,
    refs: Iterable[DatasetRef],
    *,
    sequence: IsrSequence,
    tolerance: Tolerance,
    executor: Executor | None = None,
) -> Iterator[Verification]:
    """Re-create visit images, and compare each with the one that is persisted.

    Parameters
    ----------
    butler
        Butler to read through.
    refs
        Visit images.
    sequence
        Steps of the instrument signature removal.
    tolerance
        Limits of what may differ.
    executor
        Where to run; in the calling thread if `None`.

    Yields
    ------
    verification
        One for each image, in order.  An image that cannot be made is a
        failure, and does not end the run.
    """
    verify = partial(_verify, SharedButler(butler), sequence, tolerance)
    yield from map_in_order(executor, verify, refs)


def assert_recreated(
    butler: ButlerLike, ref: DatasetRef, *, sequence: IsrSequence, tolerance: Tolerance
) -> None:
    """Raise unless a visit image can be re-created as it is; for release tests.

    Parameters
    ----------
    butler
        Butler to read through.
    ref
        The visit image.
    sequence
        Steps of the instrument signature removal.
    tolerance
        Limits of what may differ.

    Raises
    ------
    AssertionError
        Raised with a list of all that is beyond the limits, or why the image
        cannot be made.

    Examples
    --------
    With pytest, one test per image of a release::

        @pytest.mark.parametrize("ref", find_datasets(butler, "visit_image", where=WHERE), ids=str)
        def test_visit_image_can_be_made_again(ref):
            assert_recreated(butler, ref, sequence=LSSTCAM_DP2, tolerance=LOSSY)
    """
    (result,) = verify_recreation(butler, [ref], sequence=sequence, tolerance=tolerance)
    if result.comparison is None:
        raise AssertionError(f"{name_dataset(ref)} cannot be made again: {result.failures[0]}")
    result.comparison.assert_equivalent(tolerance)


def _verify(
    shared: SharedButler, sequence: IsrSequence, tolerance: Tolerance, ref: DatasetRef
) -> Verification:
    butler, name = shared.get(), name_dataset(ref)
    try:
        with opened_dataset(butler, ref) as reader:
            original = reader.read_full(reader.geometry.bbox)
        if not isinstance(original, VisitImage):
            raise InputDataError(f"{name} is a {type(original).__name__}, not a VisitImage.")
        candidate = recreate_visit_image(
            butler,
            dict(ref.dataId.required),
            sequence=sequence,
            inputs={"visit_image": ref},
            cache=_CALIBRATIONS,
        )
        steps = read_steps(fetch_uri(butler, ref))
        comparison = compare_images(candidate, original, steps=steps, name=name)
    except DaxImageError as error:
        return Verification(ref, None, (f"{type(error).__name__}: {error}",))
    return Verification(ref, comparison, tuple(comparison.find_failures(tolerance)))
