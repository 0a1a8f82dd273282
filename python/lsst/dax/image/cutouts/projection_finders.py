"""Where the pixels of a dataset are: the finders that service wrappers name.

Composable rules that return a dataset's sky projection and bounding box, or
`None` where a rule does not apply.
"""

from __future__ import annotations

__all__ = (
    "Chain",
    "MatchDatasetTypeName",
    "ProjectionFinder",
    "ReadComponents",
    "ReadComponentsAstropyFits",
    "TryComponentParents",
    "UseSkyMap",
)

import re
from abc import ABC, abstractmethod
from typing import Any, override

from lsst.daf.butler import DatasetRef
from lsst.images import Box, SkyProjection

from ..errors import DatasetNotFoundError, UnsupportedProductError
from ..repository import ButlerLike, fetch_geometry, fetch_sky_map

type Projection = tuple[SkyProjection[Any], Box]


class ProjectionFinder(ABC):
    """A rule that finds the sky projection and box of a dataset."""

    @abstractmethod
    def find_projection(self, ref: DatasetRef, butler: ButlerLike) -> Projection | None:
        """Find the projection, if this rule applies.

        Parameters
        ----------
        ref
            Dataset or component.
        butler
            Butler to read through; its default collections are not used.

        Returns
        -------
        projection
            Sky projection and bounding box, or `None`.
        """

    def __call__(self, ref: DatasetRef, butler: ButlerLike) -> Projection:
        """Find the projection, or raise.

        Parameters
        ----------
        ref
            Dataset or component.
        butler
            Butler to read through.

        Returns
        -------
        sky_projection, bbox
            Sky projection and bounding box.

        Raises
        ------
        DatasetNotFoundError
            Raised if the rule does not apply; it is a `LookupError`.
        """
        projection = self.find_projection(ref, butler)
        if projection is None:
            raise DatasetNotFoundError(f"No way to obtain the projection and bounding box of {ref}.")
        return projection

    @staticmethod
    def make_default() -> ProjectionFinder:
        """Return the finder that fits most repositories.

        Returns
        -------
        finder
            Reads the projection from the dataset itself.
        """
        return ReadComponents()


class ReadComponents(ProjectionFinder):
    """Reads ``sky_projection`` and ``bbox`` of the dataset or its parent."""

    @override
    def find_projection(self, ref: DatasetRef, butler: ButlerLike) -> Projection | None:
        try:
            geometry = fetch_geometry(butler, ref)
        except UnsupportedProductError:
            return None
        return geometry.sky_projection, geometry.bbox


class ReadComponentsAstropyFits(ReadComponents):
    """The same as `ReadComponents`, under the name of an older rule.

    That rule read the headers of files that its Butler could not read.
    """


class UseSkyMap(ProjectionFinder):
    """Computes the projection of a patch from the sky map, without its file.

    The box is the outer box of the patch.  A dataset that covers less of its
    patch needs `ReadComponents`.
    """

    @override
    def find_projection(self, ref: DatasetRef, butler: ButlerLike) -> Projection | None:
        if not {"skymap", "tract", "patch"} <= set(ref.dataId.dimensions.names):
            return None
        sky_map = fetch_sky_map(butler, str(ref.dataId["skymap"]))
        tract, patch = int(ref.dataId["tract"]), int(ref.dataId["patch"])
        return sky_map.tract_sky_projection(tract), sky_map.patch_bbox(patch)


class TryComponentParents(ProjectionFinder):
    """Tries another rule on a component, then on the dataset that it is of.

    Parameters
    ----------
    nested
        The other rule.
    """

    def __init__(self, nested: ProjectionFinder) -> None:
        self._nested = nested

    @override
    def find_projection(self, ref: DatasetRef, butler: ButlerLike) -> Projection | None:
        found = self._nested.find_projection(ref, butler)
        if found is None and ref.isComponent():
            found = self._nested.find_projection(ref.makeCompositeRef(), butler)
        return found


class Chain(ProjectionFinder):
    """Tries rules in order until one applies.

    Parameters
    ----------
    *nested
        The rules.
    """

    def __init__(self, *nested: ProjectionFinder) -> None:
        self._nested = nested

    @override
    def find_projection(self, ref: DatasetRef, butler: ButlerLike) -> Projection | None:
        for finder in self._nested:
            found = finder.find_projection(ref, butler)
            if found is not None:
                return found
        return None


class MatchDatasetTypeName(ProjectionFinder):
    """Chooses between two rules by the name of the dataset type.

    Parameters
    ----------
    regex
        Regular expression that the whole name must match.
    on_match
        Rule for names that match; none applies if `None`.
    otherwise
        Rule for the other names; none applies if `None`.
    """

    def __init__(
        self, regex: str, on_match: ProjectionFinder | None = None, otherwise: ProjectionFinder | None = None
    ) -> None:
        self._regex = re.compile(regex)
        self._on_match = on_match
        self._otherwise = otherwise

    @override
    def find_projection(self, ref: DatasetRef, butler: ButlerLike) -> Projection | None:
        matches = self._regex.fullmatch(ref.datasetType.name) is not None
        nested = self._on_match if matches else self._otherwise
        return None if nested is None else nested.find_projection(ref, butler)
