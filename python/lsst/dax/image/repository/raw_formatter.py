"""Raws as Butler datasets."""

from __future__ import annotations

__all__ = ("RawFitsFormatter",)

from typing import Any, ClassVar, override

from astropy.io.fits.card import Undefined

from lsst.daf.butler import FormatterV2
from lsst.resources import ResourcePath

from ..container import RawFile, read_raw_file


class RawFitsFormatter(FormatterV2):
    """Reads a raw of one detector as a `~lsst.dax.image.container.RawFile`.

    Notes
    -----
    The observatory's raws have a storage class and a formatter of its own stack, which need not be
    installed here.  A repository whose raws are to be read through the Butler names this formatter in
    its configuration, with a storage class for what it returns::

        storageClasses:
          RawFile:
            pytype: lsst.dax.image.container.RawFile
            derivedComponents:
              header: StructuredDataDict
        datastore:
          formatters:
            RawFile: lsst.dax.image.repository.raw_formatter.RawFitsFormatter

    A dataset type of the dimensions instrument, exposure, detector and of this storage class then takes
    raws by `lsst.daf.butler.Butler.ingest`.  The component ``header`` is the primary header as a
    mapping; a card without value, such as the filter of a dark, gives `None`.  There are no
    parameters: what a raw is needed for needs all of it.

    The name of the formatter is stored with each file, so every client needs this package.
    """

    default_extension: ClassVar[str | None] = ".fits"
    supported_extensions: ClassVar[frozenset[str]] = frozenset({".fits", ".fits.fz", ".fz", ".fits.gz"})
    can_read_from_uri: ClassVar[bool] = True

    @override
    def read_from_uri(self, uri: ResourcePath, component: str | None = None, expected_size: int = -1) -> Any:
        raw = read_raw_file(uri)
        return _header_values(raw) if component == "header" else raw


def _header_values(raw: RawFile) -> dict[str, Any]:
    """Return the primary header as a mapping; of repeated cards the first."""
    values: dict[str, Any] = {}
    for keyword, value in raw.header.items():
        if keyword not in {"COMMENT", "HISTORY"}:
            values.setdefault(keyword, None if isinstance(value, Undefined) else value)
    return values
