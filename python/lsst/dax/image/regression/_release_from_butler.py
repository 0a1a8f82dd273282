"""Draw products of a release, make each again, and say what is not the same."""

from __future__ import annotations

__all__ = (
    "RELEASE_PRODUCTS",
    "ReleaseItem",
    "ReleasePlan",
    "assert_released",
    "plan_release",
    "verify_release",
)

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np

from lsst.daf.butler import DatasetRef

from ..errors import DatasetNotFoundError, DaxImageError, RequestError, internal_errors_reported
from ..repository import ButlerLike, SharedButler, find_datasets, map_in_order, name_dataset
from ._release_checks_from_butler import (
    Finding,
    ReleaseSettings,
    check_cutout,
    check_deep_coadd,
    check_dia_object_forced_source,
    check_difference_image,
    check_mosaic,
    check_object_forced_source,
    check_visit_image,
)
from .release import ReleaseCheck, ReportedCheck

type _Check = Callable[[ButlerLike, DatasetRef, ReleaseSettings], Finding]


@dataclass(frozen=True)
class _Product:
    """How one product is checked."""

    dataset_types: tuple[str, ...]
    """Types of the datasets that it is compared with; those that there are."""
    needs: tuple[str, ...]
    """Types of datasets that it is made of."""
    check: _Check


_PRODUCTS: Mapping[str, _Product] = MappingProxyType(
    {
        "visit_image": _Product(("visit_image",), ("raw",), check_visit_image),
        "difference_image": _Product(
            ("difference_image",), ("visit_image", "template_coadd"), check_difference_image
        ),
        "deep_coadd": _Product(("deep_coadd",), ("visit_image",), check_deep_coadd),
        "mosaic": _Product(("deep_coadd",), (), check_mosaic),
        "cutout": _Product(("visit_image", "difference_image", "deep_coadd"), (), check_cutout),
        "object_forced_source": _Product(
            ("object_forced_source",), ("visit_image",), check_object_forced_source
        ),
        "dia_object_forced_source": _Product(
            ("dia_object_forced_source",), ("visit_image",), check_dia_object_forced_source
        ),
    }
)

RELEASE_PRODUCTS = tuple(_PRODUCTS)
"""Names of the products that can be checked."""


@dataclass(frozen=True)
class ReleaseItem:
    """One thing to check."""

    product: str
    """Which product; one of `RELEASE_PRODUCTS`."""
    ref: DatasetRef
    """Dataset that it is compared with."""


@dataclass(frozen=True)
class ReleasePlan:
    """What a release test will check."""

    items: tuple[ReleaseItem, ...]
    """What to check, product by product."""
    left_out: Mapping[str, str]
    """Products that cannot be checked, and why."""
    settings: ReleaseSettings
    """How."""


def plan_release(butler: ButlerLike, settings: ReleaseSettings | None = None) -> ReleasePlan:
    """Draw what is to be checked of a release.

    Parameters
    ----------
    butler
        Butler to ask; its default collections are searched.
    settings
        Products, size and seed of the draw; the defaults if `None`.

    Returns
    -------
    plan
        The same for the same repository and settings.

    Raises
    ------
    RequestError
        Raised if a product is not known, or the sample has no size.
    DatasetNotFoundError
        Raised if the settings name a product whose dataset types the
        repository does not have.
    """
    settings = settings if settings is not None else ReleaseSettings()
    _check_names([*(settings.products or ()), *settings.where])
    if settings.sample is not None and settings.sample < 1:
        raise RequestError(f"At least 1 dataset must be drawn, not {settings.sample}.")
    items: list[ReleaseItem] = []
    left_out: dict[str, str] = {}
    for name in RELEASE_PRODUCTS if settings.products is None else settings.products:
        try:
            drawn = _draw(butler, name, settings)
        except DatasetNotFoundError as error:
            if settings.products is not None:
                raise
            left_out[name] = str(error)
            continue
        items += drawn
        if not drawn:
            left_out[name] = "There are no such datasets."
    return ReleasePlan(tuple(items), MappingProxyType(left_out), settings)


def verify_release(
    butler: ButlerLike, plan: ReleasePlan, *, executor: Executor | None = None
) -> Iterator[ReleaseCheck]:
    """Make the products of a plan again, and compare each with what is persisted.

    Parameters
    ----------
    butler
        Butler to read through; its default collections are searched.
    plan
        What to check; see `plan_release`.
    executor
        Where to run; in the calling thread if `None`.

    Yields
    ------
    check
        One for each item, in order.  A product that cannot be made is a
        failure, and does not end the run.
    """
    yield from map_in_order(executor, partial(_check, SharedButler(butler), plan.settings), plan.items)


def assert_released(butler: ButlerLike, item: ReleaseItem, settings: ReleaseSettings | None = None) -> None:
    """Raise unless a product is what is persisted; for release tests.

    Parameters
    ----------
    butler
        Butler to read through.
    item
        What to check.
    settings
        How; the defaults if `None`.

    Raises
    ------
    AssertionError
        Raised with a list of all that is beyond the limits, or why the product
        cannot be made.
    RequestError
        Raised if the product is not known.

    Examples
    --------
    With pytest, one test per product and dataset of a release::

        @pytest.mark.parametrize("item", plan_release(butler).items, ids=str)
        def test_release(item):
            assert_released(butler, item)
    """
    settings = settings if settings is not None else ReleaseSettings()
    _check_names([item.product])
    check = _check(SharedButler(butler), settings, item)
    if not check.passed:
        reported = check.reported
        lines = "\n  - ".join(reported.failures)
        raise AssertionError(
            f"The {item.product} of {name_dataset(item.ref)} is not {reported.tolerance}:\n  - {lines}"
        )


def _check_names(names: Iterable[str]) -> None:
    if unknown := sorted(set(names) - set(RELEASE_PRODUCTS)):
        raise RequestError(f"No product is called {unknown}; there are {list(RELEASE_PRODUCTS)}.")


def _draw(butler: ButlerLike, name: str, settings: ReleaseSettings) -> list[ReleaseItem]:
    """Draw the datasets of one product."""
    product = _PRODUCTS[name]
    for needed in product.needs:
        # No image is of this band: only an unknown type is an error.
        find_datasets(butler, needed, bands=["none"])
    refs: list[DatasetRef] = []
    missing: list[DatasetNotFoundError] = []
    for dataset_type in product.dataset_types:
        try:
            refs += find_datasets(butler, dataset_type, where=settings.where.get(name, ""))
        except DatasetNotFoundError as error:
            missing.append(error)
    if len(missing) == len(product.dataset_types):
        raise missing[0]
    # A draw of its own for each product, whichever others are asked for.
    rng = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])
    drawn = np.sort(rng.permutation(len(refs))[: settings.sample])
    return [ReleaseItem(name, refs[number]) for number in drawn]


def _check(shared: SharedButler, settings: ReleaseSettings, item: ReleaseItem) -> ReleaseCheck:
    """Check one product in any thread or process."""
    ref = item.ref
    finding: Finding | None = None
    try:
        with internal_errors_reported(f"Checking the {item.product} of {name_dataset(ref)}"):
            finding = _PRODUCTS[item.product].check(shared.get(), ref, settings)
            failures = finding.failures
    except DaxImageError as error:
        failures = (f"{type(error).__name__}: {error}",)
    reported = ReportedCheck(
        product=item.product,
        dataset_type=ref.datasetType.name,
        data_id=dict(ref.dataId.required),
        dataset=ref.id,
        tolerance="made" if finding is None else finding.tolerance,
        failures=failures,
        comparison=None if finding is None else finding.comparison,
    )
    return ReleaseCheck(ref, reported, None if finding is None else finding.closeup)
