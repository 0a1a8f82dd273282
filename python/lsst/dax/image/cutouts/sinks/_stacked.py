"""What sinks have in common whose stamps all have one size and one unit."""

from __future__ import annotations

__all__ = ("ROW_COLUMN", "StackedSink", "import_package")

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, override

from ...errors import RequestError
from .._stamps import Stamp
from ._files import StagedSink
from ._pixel_stack import PixelStack
from ._targets import TargetColumn, Value

ROW_COLUMN = TargetColumn("row", int, "Index of the stamp in the arrays; -1 where there are no pixels.")


class StackedSink(StagedSink):
    """A sink that collects stamps in arrays on disk.

    Parameters
    ----------
    path
        Output, a file or a folder.
    overwrite
        Whether an output of that name may be replaced.

    Raises
    ------
    OutputError
        Raised if the output exists and may not be replaced, if the folder
        cannot be made, if another run writes to it, or if it belongs to
        another kind of sink.
    InputDataError
        Raised if arrays of an interrupted run are shorter than they were.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        super().__init__(path, (ROW_COLUMN,), overwrite=overwrite)
        with self._errors_reported():
            count = max((int(row["row"]) for row in self._log.rows()), default=-1) + 1
            try:
                self._stack = PixelStack(self._staging / "stack", count=count)
            except BaseException:
                super().release()
                raise

    @override
    def release(self) -> None:
        super().release()
        self._stack.close()

    @override
    def _write(self, stamp: Stamp) -> Mapping[str, Value]:
        return {"row": -1 if stamp.image is None else self._stack.append(stamp)}


def import_package(package: str, purpose: str) -> Any:
    """Import an optional package.

    Parameters
    ----------
    package
        Import name of the package.
    purpose
        What it is needed for.

    Returns
    -------
    module
        The package.

    Raises
    ------
    RequestError
        Raised if the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise RequestError(f"{purpose} needs the package {package!r}, which is not installed.") from error
