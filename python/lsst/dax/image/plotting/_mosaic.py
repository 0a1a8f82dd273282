"""Pictures of a mosaic: with sky axes, and as plain files in several sizes."""

from __future__ import annotations

__all__ = ("plot_mosaic", "write_preview_pngs")

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, RequestError
from ._cutout import NO_PIXEL_COLOR
from ._planes import get_extent, to_drawable
from ._require import require_package
from ._sky_axes import decorate_sky, prepare_sky_axes
from ._stretch import Stretch, draw_color_bar, make_norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..mosaics import Mosaic

# Up to as many images behind a pixel have a colour each.
_MOST_COLORS = 12


def plot_mosaic(mosaic: Mosaic, *, title: str | None = None, stretch: Stretch = Stretch.ASINH) -> Figure:
    """Show a mosaic, and beside it how many images each pixel is from.

    Parameters
    ----------
    mosaic
        Mosaic in memory.
    title
        Text above the picture.
    stretch
        How pixel values become shades of grey.

    Returns
    -------
    figure
        Two panels with sky axes, whose data coordinates are 0-based pixels of
        the mosaic.  Pixels of no image are dark violet.

    Raises
    ------
    RequestError
        Raised if matplotlib is not installed.
    """
    require_package("matplotlib")
    from astropy.visualization.wcsaxes import WCSAxes  # noqa: PLC0415  # imports matplotlib
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"
    from matplotlib.figure import Figure  # noqa: PLC0415  # the extra "plot"

    image = mosaic.masked_image.image
    rows, columns = image.array.shape
    height = float(np.clip(5.2 * rows / columns, 2.4, 8.0)) + 0.8
    figure = Figure(figsize=(12.8, height), layout="compressed")
    values = to_drawable(image)
    for number, name in enumerate(("Image", "Images behind each pixel")):
        axes: Any = figure.add_subplot(1, 2, number + 1, axes_class=WCSAxes)
        prepare_sky_axes(axes, mosaic.grid.sky_projection, image.bbox)
        extent = get_extent(image.bbox)
        if number == 0:
            shades = colormaps["gray"].with_extremes(bad=NO_PIXEL_COLOR)
            norm = make_norm(values, stretch)
            drawn = axes.imshow(values, extent=extent, interpolation="nearest", norm=norm, cmap=shades)
            draw_color_bar(figure, drawn, ax=axes, unit=image.unit, fontsize=9.0)
        else:
            _draw_coverage(figure, axes, mosaic.coverage.array, extent)
            axes.coords[1].set_axislabel(" ")
        decorate_sky(axes, mosaic.grid.sky_projection, image.bbox)
        axes.set_title(name, fontsize="medium")
    if title:
        figure.suptitle(title)
    return figure


def _draw_coverage(
    figure: Figure, axes: Any, coverage: NDArray[np.uint16], extent: tuple[float, float, float, float]
) -> None:
    """Draw how many images each pixel is from."""
    from matplotlib import colormaps  # noqa: PLC0415  # the extra "plot"
    from matplotlib.colors import BoundaryNorm, ListedColormap  # noqa: PLC0415

    most = max(1, int(coverage.max()))
    # Without the darkest colours, which are those of pixels of no image.
    colors = ListedColormap(colormaps["viridis"](np.linspace(0.25, 1.0, 256))).with_extremes(
        bad=NO_PIXEL_COLOR
    )
    shades: dict[str, Any] = {"vmin": 1, "vmax": most}
    if most <= _MOST_COLORS:
        shades = {"norm": BoundaryNorm(np.arange(most + 1) + 0.5, colors.N)}
    counts = np.where(coverage > 0, coverage.astype(np.float64), np.nan)
    drawn = axes.imshow(counts, extent=extent, interpolation="nearest", cmap=colors, **shades)
    ticks = np.arange(1, most + 1) if most <= _MOST_COLORS else None
    figure.colorbar(drawn, ax=axes, ticks=ticks).ax.tick_params(labelsize=9.0)


def write_preview_pngs(
    preview: NDArray[np.float32],
    path: str | os.PathLike[str],
    *,
    sizes: Sequence[int] = (2048, 1024, 512, 256),
    stretch: Stretch = Stretch.ASINH,
    overwrite: bool = False,
) -> list[Path]:
    """Write pictures of one image in several sizes, in shades of grey.

    Parameters
    ----------
    preview
        Values, shape ``(ny, nx)``, as of `~lsst.dax.image.mosaics.WrittenMosaic`
        or of any image; NaN is shown in black.
    path
        Local file, which ends in ``.png``; the pictures are called after it
        with their longer side, as in ``name-512.png``.
    sizes
        Longest sides in pixels.  A size that the preview does not have is
        replaced by its own, once.
    stretch
        Scale of shades, which is the same for all sizes.
    overwrite
        Whether files of these names may be replaced.

    Returns
    -------
    paths
        Where the pictures are, the largest one first.

    Raises
    ------
    RequestError
        Raised if the name does not end in ``.png``, if the preview has no
        rows and columns, if there is no size or one that is not positive, or
        if pillow or matplotlib is not installed.
    OutputError
        Raised if a picture cannot be written, or exists and may not be
        replaced.

    Notes
    -----
    A smaller picture has the means of squares of pixels of the preview, so
    nothing is aliased.  North is up where the first row of the image is its
    southernmost: rows are written in reverse, as a PNG file begins at its top.
    """
    require_package("PIL")
    require_package("matplotlib")
    from ..mosaics import make_preview  # noqa: PLC0415  # its kernels take a second to import

    target = Path(path)
    if target.suffix.lower() != ".png":
        raise RequestError(f"Pictures are written as '.png' files, not as {target.name!r}.")
    if preview.ndim != 2 or preview.size == 0:
        raise RequestError(f"A preview has rows and columns; this one has the shape {preview.shape}.")
    if not sizes or min(sizes) < 1:
        raise RequestError(f"Sizes of pictures must be positive, not {tuple(sizes)}.")
    norm = make_norm(preview.astype(np.float64), stretch)
    steps = sorted({-(-max(preview.shape) // size) for size in sizes})
    paths = []
    for step in steps:
        small = make_preview(preview, step)
        shades = np.clip(np.nan_to_num(np.asarray(norm(np.nan_to_num(small)))), 0.0, 1.0)
        picture = np.where(np.isfinite(small), np.rint(1.0 + 254.0 * shades), 0.0).astype(np.uint8)
        named = target.with_name(f"{target.stem}-{max(small.shape)}{target.suffix}")
        _write(picture, named, overwrite=overwrite)
        paths.append(named)
    return paths


def _write(picture: NDArray[np.uint8], path: Path, *, overwrite: bool) -> None:
    """Write a picture: complete, or not at all."""
    from PIL import Image  # noqa: PLC0415  # the extra "plot"

    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with staged.open("xb") as stream:
                Image.fromarray(np.ascontiguousarray(picture[::-1])).save(stream, format="PNG")
            if overwrite:
                staged.replace(path)
            else:
                path.hardlink_to(staged)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {type(error).__name__}: {error}") from error
