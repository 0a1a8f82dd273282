"""The folder that the demo fills."""

from __future__ import annotations

__all__ = ("MARKER", "OutputFolder", "prepare_output")

import dataclasses
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lsst.images import ColorImage

from ..errors import OutputError
from ..plotting import write_color_png
from .chapters import Picture

MARKER = ".dax-image-demo"
"""File that tells a folder of the demo from one of the user."""

PAGE = "index.html"
_FITS, _PICTURES, _REPOSITORIES = "fits", "pictures", "repositories"


@dataclasses.dataclass(frozen=True)
class OutputFolder:
    """Where the demo's files go."""

    root: Path
    """The folder itself; the page lies in it."""

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.root / PAGE

    @property
    def fits_files(self) -> tuple[Path, ...]:
        """All FITS files of the page, by name."""
        return tuple(sorted((self.root / _FITS).rglob("*.fits")))

    @property
    def picture_files(self) -> tuple[Path, ...]:
        """All PNG files of the page, by name."""
        return tuple(sorted((self.root / _PICTURES).rglob("*.png")))

    def repository(self, name: str) -> Path:
        """Return the folder of a Butler repository, which is not made.

        Parameters
        ----------
        name
            Name of the repository.

        Returns
        -------
        root
            Its root.
        """
        return self.root / _REPOSITORIES / name

    def save_fits(self, write: Callable[[Path], object], name: str) -> str:
        """Write a product as a FITS file.

        Parameters
        ----------
        write
            Writes the product to a path, as the ``write`` of a cutout, a
            mosaic or a coadd does.
        name
            Name of the file, without extension; may have folders.

        Returns
        -------
        file
            Path relative to the page.

        Raises
        ------
        OutputError
            Raised if the file cannot be written.
        """
        file = f"{_FITS}/{name}.fits"
        write(self.root / file)
        return file

    def save_figure(self, figure: Any, name: str, *, caption: str, alt: str) -> Picture:
        """Write a matplotlib figure as a PNG file.

        Parameters
        ----------
        figure
            Figure to write.
        name
            Name of the file, without extension.
        caption, alt
            Texts of the picture.

        Returns
        -------
        picture
            The picture for the page.

        Raises
        ------
        OutputError
            Raised if the file cannot be written.
        """
        file = f"{_PICTURES}/{name}.png"
        path = self.root / file
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=120, bbox_inches="tight", pad_inches=0.1)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        return Picture(file, caption, alt)

    def save_color(self, color: ColorImage, name: str, *, caption: str, alt: str) -> Picture:
        """Write a colour image as a PNG file, one pixel for each of its own.

        Parameters
        ----------
        color
            Colour image to write.
        name
            Name of the file, without extension.
        caption, alt
            Texts of the picture.

        Returns
        -------
        picture
            The picture for the page.

        Raises
        ------
        OutputError
            Raised if the file cannot be written.
        """
        file = f"{_PICTURES}/{name}.png"
        write_color_png(color, self.root / file)
        return Picture(file, caption, alt)

    def save_page(self, text: str) -> Path:
        """Write the HTML page: complete, or not at all.

        Parameters
        ----------
        text
            The document.

        Returns
        -------
        path
            Where it is.

        Raises
        ------
        OutputError
            Raised if the file cannot be written.
        """
        staged = self.page.with_name(f".{PAGE}.{uuid.uuid4().hex}.part")
        try:
            try:
                with staged.open("x", encoding="utf-8") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
                staged.replace(self.page)
            finally:
                staged.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.page} cannot be written: {error}") from error
        return self.page


def prepare_output(root: Path) -> OutputFolder:
    """Make the folder of the demo, or empty one of an earlier run.

    Parameters
    ----------
    root
        Folder; new, empty, or made by the demo.

    Returns
    -------
    folder
        The folder without results.  Files in it that are not the demo's stay.

    Raises
    ------
    OutputError
        Raised if ``root`` is a folder of something else, or cannot be made.
    """
    root = root.absolute()
    marker = root / MARKER
    try:
        root.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in root.iterdir())
        if found and not marker.is_file():
            raise OutputError(
                f"{root} was not made by the demo, which would replace it: it has no {MARKER}, but "
                f"{', '.join(found[:5])}{' ...' if len(found) > 5 else ''}.  Name a new or empty folder."
            )
        marker.touch()
        (root / PAGE).unlink(missing_ok=True)
        for name in (_FITS, _PICTURES, _REPOSITORIES):
            if (root / name).exists():
                shutil.rmtree(root / name)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{root} cannot be used for results: {error}") from error
    return OutputFolder(root)
