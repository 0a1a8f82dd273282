"""Where virtual datasets are made: once, for as many as want them."""

from __future__ import annotations

__all__ = ("Workshop",)

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from lsst.daf.butler import DatasetRef
from lsst.images import Box, MaskedImage

from ..errors import NoCoverageError, RequestError, internal_errors_reported
from ..recreation import CalibrationCache
from ..repository import ButlerLike, name_dataset
from ._cache import ImageCache
from .product import Maker, MakingContext, Product

_PLANES = ("image", "mask", "variance")
_MAX_MAKERS = 256
"""Datasets whose inputs are known; a maker has everything but pixels, PSF and mask of a visit included."""


class Workshop:
    """Makes virtual datasets, and keeps those that were made last; safe in threads.

    Parameters
    ----------
    max_bytes
        Most bytes of made pixels to keep.
    """

    def __init__(self, max_bytes: int) -> None:
        self.images = ImageCache(max_bytes)
        self.calibrations = CalibrationCache(max_bytes)
        self._makers: OrderedDict[UUID, Maker] = OrderedDict()
        self._lock = threading.Lock()
        self._n_pixels: Counter[str] = Counter()

    @property
    def n_pixels(self) -> dict[str, int]:
        """Pixels that were made so far, by dataset type."""
        with self._lock:
            return dict(self._n_pixels)

    def make(
        self,
        product: Product,
        ref: DatasetRef,
        component: str | None,
        parameters: Mapping[str, Any],
        *,
        butler: ButlerLike,
        stored: ButlerLike,
    ) -> Any:
        """Make a dataset, a part or a component of it.

        Parameters
        ----------
        product
            What makes it.
        ref
            The dataset.
        component
            Name of the component; the dataset itself if `None`.
        parameters
            ``bbox`` for what has pixels, ``components`` for the component of
            that name.
        butler, stored
            As in `MakingContext`.

        Returns
        -------
        value
            What `Butler.get` returns for a stored dataset.
        """
        _check_parameters(ref, component, parameters)

        def keep(name: str, make: Callable[[], MaskedImage]) -> MaskedImage:
            return self.images.get_or_make(ref.id, name, make)

        context = MakingContext(butler, stored, self.calibrations, keep)
        with internal_errors_reported(f"Making {name_dataset(ref)}"):
            maker = self._find_maker(product, ref, context)
            if component == "components":
                names = parameters.get("components") or _list_components(ref)
                return {
                    name: self._get(product, ref, maker, context, name, parameters.get("bbox"))
                    for name in names
                }
            return self._get(product, ref, maker, context, component, parameters.get("bbox"))

    def _get(
        self,
        product: Product,
        ref: DatasetRef,
        maker: Maker,
        context: MakingContext,
        component: str | None,
        bbox: Box | None,
    ) -> Any:
        """Return a component, or the dataset."""
        known = maker.get_components()
        if component in known:
            return known[component]
        if bbox is not None and not maker.bbox.contains(bbox):
            raise NoCoverageError(f"{bbox} is not within {maker.bbox} of {name_dataset(ref)}.")
        bbox = maker.bbox if bbox is None else bbox
        image = self._make_box(product, ref, maker, context, bbox)
        if component is None:
            return _copy(image[bbox])
        if component in _PLANES:
            return _copy(getattr(image, component)[bbox])
        if component == "masked_image":
            part = [getattr(image, name)[bbox] for name in _PLANES]
            return _copy(
                MaskedImage(part[0], mask=part[1], variance=part[2], sky_projection=image.sky_projection)
            )
        value = getattr(image, component)
        return value[bbox] if component == "psf" and hasattr(value, "__getitem__") else value

    def _make_box(
        self, product: Product, ref: DatasetRef, maker: Maker, context: MakingContext, bbox: Box
    ) -> MaskedImage:
        """Return an image that has a box, and may be larger."""
        found = self.images.find(ref.id, bbox)
        if found is not None:
            return found

        def make(box: Box) -> MaskedImage:
            image = maker.make(context, box)
            with self._lock:
                self._n_pixels[product.name] += box.area
            return image

        box = maker.expand(bbox)
        try:
            return self.images.get_or_make(ref.id, box, lambda: make(box))
        except NoCoverageError:
            if box == maker.bbox:
                raise
        # Nothing covers the box; only the whole dataset says what there is instead.
        whole = maker.bbox
        return self.images.get_or_make(ref.id, whole, lambda: make(whole))

    def _find_maker(self, product: Product, ref: DatasetRef, context: MakingContext) -> Maker:
        """Return what makes a dataset.  Two threads may find out at a time: that does no harm."""
        with self._lock:
            if ref.id in self._makers:
                self._makers.move_to_end(ref.id)
                return self._makers[ref.id]
        maker = product.plan(context, ref)
        with self._lock:
            self._makers[ref.id] = maker
            if len(self._makers) > _MAX_MAKERS:
                self._makers.popitem(last=False)
        return maker


def _check_parameters(ref: DatasetRef, component: str | None, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that a stored dataset has not, either."""
    known = {"bbox", "components"} if component == "components" else {"bbox"}
    if unknown := set(parameters) - known:
        raise RequestError(
            f"{name_dataset(ref)} takes the parameters {sorted(known)}, not {sorted(unknown)}."
        )


def _list_components(ref: DatasetRef) -> list[str]:
    """Return all components, each pixel once."""
    return sorted(set(ref.datasetType.storageClass.allComponents()) - {"components", "masked_image"})


def _copy(image: Any) -> Any:
    """Return an image of one's own: what is kept must not change."""
    return image.copy()
