"""A sink that writes one FITS file per stamp."""

from __future__ import annotations

__all__ = ("FitsDirectory",)

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import override

from astropy.time import Time

from .._stamps import Stamp
from ._files import FileSink
from ._sink import StampKey
from ._stamp_files import FILE_COLUMN, StampFiles
from ._target_log import TARGETS_FILE
from ._targets import Value


class FitsDirectory(FileSink):
    """Writes a folder with one FITS file per stamp and a table of targets.

    A file is what `Cutout.write` makes: `lsst.images` reads back the stamp
    with all its components, and astropy and DS9 open it.  Its primary header
    has the provenance and the target.  The PSF of a stamp that has one is a
    last HDU ``PSF``.  The table ``targets.ecsv`` grows with
    each stamp, so the folder is its own staging place, and a run goes on in it
    even after it was killed.

    Parameters
    ----------
    folder
        Local folder; made if it does not exist, else continued.  To have a
        stamp made again, remove its file.
    names
        Name of each target, by its index in the request; the index itself if
        `None`.  The UUID of the dataset is added where there is one, since a
        target may be cut from several.
    created
        Time to record as that of the cut; now if `None`.

    Raises
    ------
    RequestError
        Raised if the names are not distinct or cannot be names of files.
    OutputError
        Raised if the folder cannot be made, if another run writes to it, or if
        its table is not one of this sink.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        names: Sequence[str] | None = None,
        created: Time | None = None,
    ) -> None:
        path = Path(folder)
        self._files = StampFiles(path, names=names, created=created)
        # A file without a row is the last one of a killed run.  In a new
        # folder it is the user's own and must stay.
        self._is_continued = (path / TARGETS_FILE).exists()
        super().__init__(path, path, (FILE_COLUMN,))
        if self._is_continued:
            with self._errors_reported():
                self._tidy()

    @override
    def _write(self, stamp: Stamp) -> Mapping[str, Value]:
        return {"file": self._files.write(stamp, overwrite=self._is_continued)}

    @override
    def _complete(self) -> None:
        # Targets that could not be read at first have two rows.
        self._log.save(self.path / TARGETS_FILE)

    def _tidy(self) -> None:
        """Remove half-written files, and forget stamps whose file is gone."""
        there = {file.name for file in self.path.iterdir()}
        for name in there:
            # Another sink may have its hidden folder in here.
            if name.startswith(".") and name.endswith(".fits.part") and (self.path / name).is_file():
                (self.path / name).unlink()
        self._log.forget(
            StampKey(str(row["dataset"]), int(row["index"]))
            for row in self._log.rows()
            if row["file"] and row["file"] not in there
        )
