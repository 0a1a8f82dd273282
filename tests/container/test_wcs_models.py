"""What the writer keeps of pydantic between projections."""

from __future__ import annotations

import gc
import weakref

from lsst.images import Box
from lsst.images.json import JsonOutputArchive
from tests.support.scenes import make_sky_projection

from lsst.dax.image.container._wcs_cards import find_forms


def test_the_class_of_a_serialized_transform_outlives_the_first_projection() -> None:
    # Pydantic refers to it weakly, and to make it takes longer than to use it.
    projection = make_sky_projection(bbox=Box.factory[0:40, 0:50])
    find_forms(projection)
    model = weakref.ref(type(projection.pixel_to_sky_transform.serialize(JsonOutputArchive())))
    gc.collect()
    assert model() is not None
