"""Which datasets a mosaic is made of."""

from __future__ import annotations

__all__ = ("find_refs", "list_refs")

from collections.abc import Iterable

import astropy.units as u
import numpy as np

from lsst.daf.butler import DatasetRef

from ..errors import InvalidRegionError, NoCoverageError, RequestError
from ..geometry import CircleStencil, StencilLike, TargetGrid
from ..repository import ButlerLike, find_datasets

_POINTS = 9


def find_refs(
    butler: ButlerLike,
    refs: DatasetRef | Iterable[DatasetRef] | str,
    grid: TargetGrid | StencilLike,
    bands: Iterable[str] | None,
) -> list[DatasetRef]:
    """Return datasets, which are searched for if the name of their type is given.

    Parameters
    ----------
    butler
        Butler to ask.
    refs
        Datasets, one dataset, or the name of a dataset type.
    grid
        Pixels of the mosaic, or its shape on the sky.
    bands
        Bands of the datasets of a type; all of them if `None`.

    Returns
    -------
    refs
        The datasets, of one band.

    Raises
    ------
    NoCoverageError
        Raised if no dataset of the type is there.
    RequestError
        Raised if they have several bands, or if bands are given with datasets.
    """
    if isinstance(refs, str):
        region = _find_circle(grid) if isinstance(grid, TargetGrid) else grid
        found = find_datasets(butler, refs, region=region, bands=bands)
        if not found:
            of_bands = "" if bands is None else f" of the bands {bands}"
            raise NoCoverageError(f"No {refs!r} dataset{of_bands} overlaps {region}.")
    elif bands is not None:
        raise RequestError(f"The bands {bands} narrow the search for a dataset type; datasets are given.")
    else:
        found = list_refs(refs)
    _check_bands(found)
    return found


def list_refs(refs: object) -> list[DatasetRef]:
    """Return one or more datasets as a list.

    Parameters
    ----------
    refs
        Dataset, or datasets.

    Returns
    -------
    refs
        The datasets.

    Raises
    ------
    RequestError
        Raised if it is anything else.
    """
    if isinstance(refs, DatasetRef):
        return [refs]
    found = []
    for ref in refs if isinstance(refs, Iterable) and not isinstance(refs, str) else [refs]:
        if not isinstance(ref, DatasetRef):
            raise RequestError(f"A mosaic is made of DatasetRefs, not of {ref!r}.")
        found.append(ref)
    return found


def _check_bands(refs: list[DatasetRef]) -> None:
    """Refuse to put bands together; a data ID without records may not say its band."""
    bands = sorted({str(ref.dataId["band"]) for ref in refs if "band" in ref.dataId.mapping})
    if len(bands) > 1:
        raise RequestError(
            f"The {len(refs)} datasets are of the bands {', '.join(bands)}; a mosaic is made of one band, as "
            f"bands={bands[0]!r} or the data IDs select it."
        )


def _find_circle(grid: TargetGrid) -> CircleStencil:
    """Return a circle around a grid, as a region to search."""
    x = np.linspace(grid.bbox.x.start - 0.5, grid.bbox.x.stop - 0.5, _POINTS)
    y = np.linspace(grid.bbox.y.start - 0.5, grid.bbox.y.stop - 0.5, _POINTS)
    sky = grid.sky_projection.pixel_to_sky(x=np.tile(x, _POINTS), y=np.repeat(y, _POINTS))
    apart = sky.separation(grid.center).to(u.arcsec)
    if not np.isfinite(apart).all() or apart.max() >= 90 * u.deg:
        raise InvalidRegionError(
            f"A grid of {grid.bbox.x.size} x {grid.bbox.y.size} pixels that leaves half of the sky is no "
            f"region to search; give the datasets."
        )
    return CircleStencil(grid.center, apart.max() + grid.pixel_scale)
