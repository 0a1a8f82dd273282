"""Arrays of stamps on disk, which grow stamp by stamp."""

from __future__ import annotations

__all__ = ("LAYOUT_FILE", "PixelStack")

import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputDataError
from .._stamps import Stamp
from ._closing import close_unflushed
from ._layout import StackLayout
from ._planes import split_planes

LAYOUT_FILE = "layout.json"
"""Name of the file that says what the arrays hold."""


class PixelStack:
    """A folder of ``.npy`` files, each with one array of all stamps.

    Parameters
    ----------
    folder
        Folder of the files; made if it does not exist.
    count
        Number of stamps that the files have for certain.  What is behind them
        is left over from a run that was killed.

    Raises
    ------
    InputDataError
        Raised if a file has fewer stamps.
    """

    def __init__(self, folder: Path, *, count: int) -> None:
        self.folder = folder
        self.count = count
        self.layout: StackLayout | None = None
        self._files: dict[str, IO[bytes]] = {}
        self._starts: dict[str, int] = {}
        folder.mkdir(exist_ok=True)
        if count:
            self.layout = StackLayout.from_text((folder / LAYOUT_FILE).read_text(encoding="utf-8"))
            try:
                for name in self.layout.dtypes:
                    self._open(self.layout, name)
            except BaseException:
                self.close()
                raise

    def append(self, stamp: Stamp) -> int:
        """Add a stamp.

        Parameters
        ----------
        stamp
            Stamp with pixels.

        Returns
        -------
        row
            Index of the stamp in the arrays.

        Raises
        ------
        UnsupportedProductError
            Raised if the stamp does not fit to those before.
        InconsistentUnitsError
            Raised if the stamp has another unit than those before.
        """
        planes = split_planes(stamp)
        layout = StackLayout.of(planes) if self.layout is None else self.layout.extended(planes)
        for name in layout.dtypes:
            if name not in self._files:
                self._create(layout, name)
        if layout is not self.layout:
            self._save(layout)
        for name, pixels in layout.arrays(planes).items():
            file = self._files[name]
            file.seek(self._end(layout, name))
            file.write(pixels.tobytes())
            file.flush()
        self.count += 1
        return self.count - 1

    def finish(self) -> None:
        """Make the files complete ``.npy`` files of the stamps so far."""
        if self.layout is not None:
            for name, file in self._files.items():
                file.truncate(self._end(self.layout, name))
                _write_header(file, self.layout, name, self.count)
                file.flush()

    def load(self, name: str) -> NDArray[Any]:
        """Return an array without reading it into memory.

        Parameters
        ----------
        name
            Name of the array.

        Returns
        -------
        array
            Memory-mapped array, shape ``(count, ny, nx)``; read-only.
        """
        array: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return array

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            close_unflushed(file)

    def _open(self, layout: StackLayout, name: str) -> None:
        """Open the file of an array that has the stamps so far."""
        file = self._files[name] = (self.folder / f"{name}.npy").open("r+b")
        self._starts[name] = _write_header(file, layout, name, self.count)
        end = self._end(layout, name)
        size = file.seek(0, os.SEEK_END)
        if size < end:
            raise InputDataError(f"{file.name} has {size} bytes; {self.count} stamps need {end}.")

    def _create(self, layout: StackLayout, name: str) -> None:
        """Make the file of an array, without pixels for the stamps so far."""
        file = self._files[name] = (self.folder / f"{name}.npy").open("w+b")
        self._starts[name] = _write_header(file, layout, name, self.count)
        blank = layout.blank_array(name).tobytes() if self.count else b""
        for _ in range(self.count):
            file.write(blank)

    def _save(self, layout: StackLayout) -> None:
        """Write what the arrays hold, in one step."""
        staged = self.folder / f".{LAYOUT_FILE}.part"
        staged.write_text(json.dumps(layout.describe(), indent=1) + "\n", encoding="utf-8")
        staged.replace(self.folder / LAYOUT_FILE)
        self.layout = layout

    def _end(self, layout: StackLayout, name: str) -> int:
        """Return the size of a file with the stamps so far, in bytes."""
        rows, columns = layout.shapes[name]
        return self._starts[name] + self.count * rows * columns * layout.dtypes[name].itemsize


def _write_header(file: IO[bytes], layout: StackLayout, name: str, count: int) -> int:
    """Write the header of an array over the old one; return its length.

    numpy leaves room for the first axis to grow, so the length is the same for
    any number of stamps.
    """
    file.seek(0)
    header = {
        "descr": np.lib.format.dtype_to_descr(layout.dtypes[name]),
        "fortran_order": False,
        "shape": (count, *layout.shapes[name]),
    }
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()
