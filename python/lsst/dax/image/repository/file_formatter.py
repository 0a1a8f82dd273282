"""Files as Butler datasets, for readers of their own."""

from __future__ import annotations

__all__ = ("FileFormatter",)

from typing import Any, ClassVar, override

from lsst.daf.butler import FormatterV2
from lsst.resources import ResourcePath


class FileFormatter(FormatterV2):
    """Gives the place of a file, and reads nothing of it.

    Notes
    -----
    It serves datasets that are found through the Butler and read by their URI, such as calibrations
    whose own storage classes belong to a stack that need not be installed.  The repository's
    configuration names it with a storage class for what it returns::

        storageClasses:
          CalibrationFile:
            pytype: lsst.resources.ResourcePath
        datastore:
          formatters:
            CalibrationFile: lsst.dax.image.repository.file_formatter.FileFormatter

    Datasets of that class are ingested, not put.
    """

    supported_extensions: ClassVar[frozenset[str]] = frozenset({".fits", ".fits.gz", ".yaml", ".ecsv"})
    default_extension: ClassVar[str | None] = ".fits"
    can_read_from_uri: ClassVar[bool] = True

    @override
    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        return uri
