"""Butler formatter for FITS images from elsewhere.

Ingest a plain FITS file as storage class ``ImageV2`` with this formatter, and
every function of the library works on it::

    butler.ingest(FileDataset(path, ref, formatter=FitsImageFormatter), transfer="direct")

The dotted name of the class is recorded in the repository, so it must not
move.
"""

from __future__ import annotations

__all__ = ("FitsImageFormatter",)

from typing import Any, ClassVar, override

from lsst.daf.butler import FormatterV2
from lsst.resources import ResourcePath

from ..container import read_plain_bbox, read_plain_image, read_plain_sky_projection


class FitsImageFormatter(FormatterV2):
    """Read the first celestial image of a plain FITS file.

    Serves the components ``sky_projection``, ``bbox`` and ``unit``, and the
    parameter ``bbox``.  It does not write.
    """

    default_extension: ClassVar[str | None] = ".fits"
    supported_extensions: ClassVar[frozenset[str]] = frozenset(
        {".fits", ".fit", ".fits.fz", ".fz", ".fits.gz", ".fits.bz2"}
    )
    unsupported_parameters: ClassVar[frozenset[str] | None] = frozenset()
    can_read_from_uri: ClassVar[bool] = True

    @override
    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        """Read the image, part of it or a component."""
        if component == "sky_projection":
            return read_plain_sky_projection(uri)
        if component == "bbox":
            return read_plain_bbox(uri)
        image = read_plain_image(uri, bbox=(self.file_descriptor.parameters or {}).get("bbox"))
        return image.unit if component == "unit" else image
