"""Three surveys of the Galactic Centre on one grid."""

from __future__ import annotations

__all__ = ("DATA", "TEXT", "TITLE", "make_steps")

from pathlib import Path

import astropy.units as u
import numpy as np

from lsst.images import Box, ColorImage, Image

from ..container import read_plain_image
from ..errors import InputDataError
from ..geometry import TargetGrid
from ..mosaics import (
    BackgroundMatch,
    Combine,
    Mosaic,
    MosaicRules,
    Overlap,
    find_mosaic_grid,
    make_mosaic,
)
from ..plotting import make_color_image, plot_mosaic
from ..resampling import FluxConvention
from .chapters import Step, show_code
from .output import OutputFolder

TITLE = "The Galactic Centre: tiles and surveys"
"""Heading of the chapter."""

TEXT = (
    "Images of the Two Micron All Sky Survey (K), of the Midcourse Space Experiment (21 micron) and of "
    "Bolocam (1.1 mm), in equatorial and galactic projections, with pixels of 5 to 24 arcsec."
)
"""What the data are."""

DATA = "D_galactic_center"
"""The images, relative to the folder of real data."""

_FILES = ("gc_bolocam_gps.fits.gz", "gc_msx_e.fits.gz", "gc_2mass_k.fits.gz")


def cut_tiles(whole: Image) -> list[Image]:
    """Cut an image into four tiles that overlap, each with a background of its own."""
    rows, columns = ((0, 400), (330, 720)), ((0, 390), (320, 721))
    boxes = [Box.factory[y0:y1, x0:x1] for y0, y1 in rows for x0, x1 in columns]
    return [
        Image(whole[box].array + level, bbox=box, sky_projection=whole.sky_projection)
        for box, level in zip(boxes, (0.0, 150.0, -80.0, 240.0), strict=True)
    ]


def join_tiles(tiles: list[Image], grid: TargetGrid, background: BackgroundMatch) -> Mosaic:
    """Put tiles onto a grid of another scale and direction, with backgrounds matched or not."""
    rules = MosaicRules(
        overlap=Overlap.COMBINE,
        combine=Combine.MEAN,
        background=background,
        flux_convention=FluxConvention.SURFACE_BRIGHTNESS,
    )
    return make_mosaic(tiles, grid, rules=rules)


def make_planes(images: list[Image], grid: TargetGrid) -> list[Image]:
    """Put images of three surveys onto one grid, each in units of its own brightest parts."""
    rules = MosaicRules(combine=Combine.MEAN, flux_convention=FluxConvention.SURFACE_BRIGHTNESS)
    planes = []
    for image in images:
        # Not all of their units are known to astropy ("Jy/Beam").
        values = Image(image.array, bbox=image.bbox, sky_projection=image.sky_projection)
        pixels = make_mosaic([values], grid, rules=rules).masked_image.image
        faint, bright = np.nanpercentile(pixels.array, (10, 99.3))
        scaled = np.nan_to_num((pixels.array - faint) / (bright - faint))
        planes.append(Image(scaled, bbox=grid.bbox, sky_projection=grid.sky_projection))
    return planes


def color(planes: list[Image]) -> ColorImage:
    """Show 1.1 mm in red, 21 micron in green and 2 micron in blue."""
    red, green, blue = planes
    return make_color_image(red, green, blue, stretch=0.5, softening=6.0)


def make_steps(folder: OutputFolder, data: Path) -> tuple[Step, ...]:
    """Make mosaics of the images.

    Parameters
    ----------
    folder
        Where the results go.
    data
        Folder of the images; not written to.

    Returns
    -------
    steps
        What the page shows.

    Raises
    ------
    InputDataError
        Raised if an image is missing or unusable.
    OutputError
        Raised if a file cannot be written.
    """
    images = [read_plain_image(data / name) for name in _FILES]
    msx = images[1].sky_projection
    if msx is None:
        raise InputDataError(f"{data / _FILES[1]} has no sky projection.")
    return (
        _show_tiles(images[2], TargetGrid(msx, images[1].bbox), folder),
        _show_color(images, folder),
    )


def _show_tiles(whole: Image, grid: TargetGrid, folder: OutputFolder) -> Step:
    """Show tiles with and without a match of their backgrounds."""
    tiles = cut_tiles(whole)
    plain, matched = (join_tiles(tiles, grid, rule) for rule in (BackgroundMatch.NONE, BackgroundMatch.LEVEL))
    levels = ", ".join(
        f"{value:.2f}" for value in matched.inputs["background"] - matched.inputs["background"][0]
    )
    pictures = (
        folder.save_figure(
            plot_mosaic(plain),
            "galactic_centre_steps",
            caption="With a background of its own in each tile.",
            alt="Grey-scale image of a star field with steps of brightness between four tiles.",
        ),
        folder.save_figure(
            plot_mosaic(matched),
            "galactic_centre_matched",
            caption="With backgrounds that agree where the tiles overlap.",
            alt="The same star field without steps.",
        ),
    )
    return Step(
        "Tiles with backgrounds of their own",
        "Four cuts of the K image were given the backgrounds 0, 150, -80 and 240, and are averaged on the "
        f"galactic grid of another survey, whose pixels are five times as large. The match finds {levels}.",
        show_code(cut_tiles, join_tiles),
        pictures,
        (folder.save_fits(matched.write, "galactic_centre/tiles"),),
    )


def _show_color(images: list[Image], folder: OutputFolder) -> Step:
    """Show three surveys in colour."""
    grid = find_mosaic_grid(images[2:], pixel_scale=8 * u.arcsec)
    picture = folder.save_color(
        color(make_planes(images, grid)),
        "galactic_centre_color",
        caption="1.1 mm in red, 21 micron in green, 2 micron in blue; north is up. Bolocam has seen the "
        "lower right.",
        alt="Colour image of the Galactic Centre with a bright band along the galactic plane.",
    )
    return Step(
        "Three surveys in colour",
        "Three images of different projections, scales and units on one tangent plane.",
        show_code(make_planes, color),
        (picture,),
    )
