"""A sink that writes one ZIP file."""

from __future__ import annotations

__all__ = ("StampZip",)

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import override

from astropy.time import Time

from .._stamps import Stamp
from ._files import StagedSink
from ._stamp_files import FILE_COLUMN, StampFiles
from ._target_log import TARGETS_FILE
from ._targets import Value


class StampZip(StagedSink):
    """Writes a ZIP file of what `FitsDirectory` writes.

    The members are stored, not compressed: the FITS files are compressed
    already, and a reader can find each at once.  They are collected in the
    hidden folder first, so the disk must have room for them twice.

    Parameters
    ----------
    path
        Local file to make.
    names
        Name of each target, by its index in the request; the index itself if
        `None`.  The UUID of the dataset is added where there is one.
    created
        Time to record as that of the cut; now if `None`.
    overwrite
        Whether a file of that name may be replaced.

    Raises
    ------
    RequestError
        Raised if the names are not distinct or cannot be names of files.
    OutputError
        Raised if the file exists and may not be replaced, if its folder cannot
        be made, or if another run writes to it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        names: Sequence[str] | None = None,
        created: Time | None = None,
        overwrite: bool = False,
    ) -> None:
        super().__init__(Path(path), (FILE_COLUMN,), overwrite=overwrite)
        self._files = StampFiles(self._staging, names=names, created=created)

    @override
    def _write(self, stamp: Stamp) -> Mapping[str, Value]:
        return {"file": self._files.write(stamp, overwrite=True)}

    @override
    def _complete(self) -> None:
        targets = self._staging / f"complete-{TARGETS_FILE}"
        self._log.save(targets)
        made = self._staging / "stamps.zip"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
            archive.write(targets, TARGETS_FILE)
            for row in self._log.rows():
                if name := str(row["file"]):
                    archive.write(self._staging / name, name)
        self._publish(made)
