"""Mosaics of the mini survey: a tract, the focal plane, all visits of a band."""

from __future__ import annotations

__all__ = ("TEXT", "TITLE", "make_steps")

from pathlib import Path

import astropy.units as u

from lsst.daf.butler import Butler

from ..mosaics import (
    BackgroundMatch,
    Mosaic,
    MosaicRules,
    VarianceRule,
    WrittenMosaic,
    fetch_mosaic,
    find_mosaic_grid,
    write_mosaic,
)
from ..plotting import plot_mosaic, write_preview_pngs
from ..repository import fetch_geometry, find_datasets
from ..simulation import MiniSurvey
from .chapters import Picture, Step, show_code
from .output import OutputFolder

TITLE = "Mosaics"
"""Heading of the chapter."""

TEXT = (
    "Many images of the mini survey on one pixel grid. Images on the same pixels are copied to the bit; all "
    "others are resampled, with variance and mask."
)
"""What the data are."""

_BAND = "r"

# The functions up to `write_visits` are shown on the page.


def join_patches(butler: Butler) -> Mosaic:
    """Put the patches of a tract together: their pixels are those of the mosaic."""
    patches = find_datasets(butler, "deep_coadd", bands=[_BAND])
    grid = find_mosaic_grid([fetch_geometry(butler, ref) for ref in patches])
    return fetch_mosaic(butler, patches, grid)


def show_focal_plane(butler: Butler) -> Mosaic:
    """Put the detectors of one visit on one plane, north up."""
    visit = find_datasets(butler, "visit_image", bands=[_BAND])[0].dataId["visit"]
    detectors = find_datasets(butler, "visit_image", data_id={"visit": visit})
    grid = find_mosaic_grid([fetch_geometry(butler, ref) for ref in detectors], pixel_scale=0.25 * u.arcsec)
    return fetch_mosaic(butler, detectors, grid)


def write_visits(butler: Butler, file: Path) -> WrittenMosaic:
    """Average all visits of a band tile by tile into a file, with their backgrounds matched."""
    visits = find_datasets(butler, "visit_image", bands=[_BAND])
    grid = find_mosaic_grid([fetch_geometry(butler, ref) for ref in visits], pixel_scale=0.1 * u.arcsec)
    rules = MosaicRules(
        variance=VarianceRule.INDEPENDENT, background=BackgroundMatch.LEVEL, exclude_planes=("COSMIC_RAY",)
    )
    return write_mosaic(butler, visits, grid, file, rules=rules, tile_size=512)


def make_steps(folder: OutputFolder) -> tuple[Step, ...]:
    """Make mosaics of the mini survey, which an earlier chapter has simulated.

    Parameters
    ----------
    folder
        Where the results go.

    Returns
    -------
    steps
        What the page shows.

    Raises
    ------
    OutputError
        Raised if a file cannot be written.
    """
    butler = MiniSurvey.load(folder.repository("mini_survey")).open()
    try:
        return (
            _show_tract(butler, folder),
            _show_focal_plane(butler, folder),
            _show_visits(butler, folder),
        )
    finally:
        butler.close()


def _show_tract(butler: Butler, folder: OutputFolder) -> Step:
    """Show the mosaic of a tract."""
    mosaic = join_patches(butler)
    picture = folder.save_figure(
        plot_mosaic(mosaic),
        "mosaic_tract",
        caption="Two patches that overlap by 100 pixels: each pixel is that of the patch whose inner region "
        "holds it, so there is no seam. Dark violet is where no visit looked.",
        alt="Grey-scale image of stars over two patches without a seam, and a map of one colour.",
    )
    parts = ", ".join(f"{count:,}" for count in mosaic.inputs["n_pixels"])
    return Step(
        "A tract from its patches",
        f"The patches give {parts} pixels with values. Nothing is resampled, and no value changes.",
        show_code(join_patches),
        (picture,),
        (folder.save_fits(mosaic.write, "mosaics/tract"),),
    )


def _show_focal_plane(butler: Butler, folder: OutputFolder) -> Step:
    """Show the detectors of one visit."""
    mosaic = show_focal_plane(butler)
    picture = folder.save_figure(
        plot_mosaic(mosaic),
        "mosaic_focal_plane",
        caption="Two detectors as the camera was turned in this visit, with the gap between them.",
        alt="Grey-scale image of two tilted rectangles with stars and a gap between them.",
    )
    return Step(
        "The focal plane of a visit",
        "Detectors are resampled onto one tangent plane, by Lanczos interpolation over six pixels.",
        show_code(show_focal_plane),
        (picture,),
        (folder.save_fits(mosaic.write, "mosaics/focal_plane"),),
    )


def _show_visits(butler: Butler, folder: OutputFolder) -> Step:
    """Show a mosaic that was written tile by tile, by its preview."""
    file = "fits/mosaics/visits.fits"
    written = write_visits(butler, folder.root / file)
    pictures = write_preview_pngs(written.preview, folder.root / "pictures/mosaic_visits.png", sizes=(900,))
    picture = Picture(
        pictures[0].relative_to(folder.root).as_posix(),
        f"The preview of the finished file, {written.preview.shape[1]} x {written.preview.shape[0]} pixels: "
        "three visits, each with two turned detectors.",
        "Grey-scale image of stars on overlapping tilted rectangles.",
    )
    return Step(
        "All visits of a band, streamed",
        "The mosaic is read, averaged with inverse variances, compressed and kept tile by tile, in the "
        "memory of a few tiles whatever its size; an interrupted run goes on where it was. The preview is "
        "made along with it.",
        show_code(write_visits),
        (picture,),
        (file,),
    )
