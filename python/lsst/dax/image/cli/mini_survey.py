"""The mini survey: every kind of cutout, on images whose truth is known."""

from __future__ import annotations

__all__ = ("TEXT", "TITLE", "make_steps")

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Box, ColorImage, Image

from ..cutouts import Cutout, Detail, Stamp, fetch_cutout, fetch_stamps
from ..geometry import CircleStencil, EdgePolicy, PixelBoxStencil, PolygonStencil, RangeStencil
from ..plotting import make_color_image, plot_cutout, plot_gallery
from ..repository import fetch_geometry, find_datasets
from ..simulation import MiniSurvey, make_mini_survey
from .chapters import Step, show_code
from .output import OutputFolder

TITLE = "Mini survey"
"""Heading of the chapter."""

TEXT = (
    "A small survey, simulated through the real Butler: visit images, difference images and coadds in three "
    "bands, with a star that moves 1.8 arcsec per year, a transient and a saturated star at known places."
)
"""What the data are."""

# The functions up to `color` are shown on the page.


def cut_circle(butler: Butler, star: SkyCoord) -> Cutout:
    """Cut a circle out of a visit image; mark the pixels that are not in it."""
    ref = find_datasets(butler, "visit_image", region=star, bands=["i"])[0]
    return fetch_cutout(butler, ref, CircleStencil(star, 9 * u.arcsec)).mask_outside()


def cut_polygon(butler: Butler, center: SkyCoord) -> Cutout:
    """Cut a five-pointed star out of a coadd."""
    angle = np.arange(10) * 36 * u.deg
    radius = np.tile([9.0, 3.6], 5) * u.arcsec
    star = PolygonStencil(center.directional_offset_by(angle, radius))
    ref = find_datasets(butler, "deep_coadd", region=center, bands=["r"])[0]
    return fetch_cutout(butler, ref, star).mask_outside()


def cut_range(butler: Butler, center: SkyCoord) -> Cutout:
    """Cut a range of right ascension and declination out of a coadd."""
    half = [0.0055, 0.0032] * u.deg
    limits = RangeStencil(
        ra=(center.ra - half[0], center.ra + half[0]), dec=(center.dec - half[1], center.dec + half[1])
    )
    ref = find_datasets(butler, "deep_coadd", region=center, bands=["i"])[0]
    return fetch_cutout(butler, ref, limits)


def cut_edge(butler: Butler, center: SkyCoord) -> Cutout:
    """Cut a circle around a corner of an image, and pad what is off it."""
    ref = find_datasets(butler, "visit_image", region=center, bands=["r"])[0]
    geometry = fetch_geometry(butler, ref)
    corner = geometry.sky_projection.pixel_to_sky(x=geometry.bbox.x.min + 10, y=geometry.bbox.y.max - 20)
    return fetch_cutout(butler, ref, CircleStencil(corner, 8 * u.arcsec), edge=EdgePolicy.PAD)


def follow(butler: Butler, dataset_type: str, target: SkyCoord) -> list[Stamp]:
    """Cut a stamp of a target out of every image that it may be on."""
    around = CircleStencil(SkyCoord(target.ra, target.dec), 4 * u.arcsec)
    refs = find_datasets(butler, dataset_type, region=around)
    stamps = fetch_stamps(butler, refs, target, size=35)
    return [stamp for stamp in stamps if stamp.is_good]


def cut_box(butler: Butler, ref: DatasetRef, bbox: Box) -> Cutout:
    """Cut the pixels of a stamp as a cutout, with provenance, to write them."""
    return fetch_cutout(butler, ref, PixelBoxStencil(bbox), edge=EdgePolicy.PAD)


def cut_bands(butler: Butler, center: SkyCoord) -> list[Cutout]:
    """Cut the same circle out of three bands, the image plane alone."""
    circle = CircleStencil(center, 18 * u.arcsec)
    refs = [find_datasets(butler, "deep_coadd", region=center, bands=[band])[0] for band in "irg"]
    return [fetch_cutout(butler, ref, circle, detail=Detail.IMAGE, edge=EdgePolicy.PAD) for ref in refs]


def color(cutouts: list[Cutout]) -> ColorImage:
    """Combine three bands: i is red, r is green, g is blue."""
    red, green, blue = (cutout.image for cutout in cutouts if isinstance(cutout.image, Image))
    return make_color_image(red, green, blue)


def make_steps(folder: OutputFolder) -> tuple[Step, ...]:
    """Simulate the survey and cut it.

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
    survey = make_mini_survey(folder.repository("mini_survey"))
    butler = survey.open()
    try:
        return (
            _show_shapes(butler, folder, survey),
            _show_edge(butler, folder, survey),
            _show_moving_star(butler, folder, survey),
            _show_transient(butler, folder, survey),
            _show_color(butler, folder, survey),
        )
    finally:
        butler.close()


def _find_target(survey: MiniSurvey, kind: str) -> SkyCoord:
    """Return the first source of a kind, with its proper motion."""
    row = survey.truth[survey.truth["kind"] == kind][0]
    return SkyCoord(
        row["ra"],
        row["dec"],
        pm_ra_cosdec=row["pm_ra_cosdec"],
        pm_dec=row["pm_dec"],
        obstime=row["epoch"],
    )


def _fixed(target: SkyCoord) -> SkyCoord:
    """Return a position without its proper motion."""
    return SkyCoord(target.ra, target.dec)


def _show_shapes(butler: Butler, folder: OutputFolder, survey: MiniSurvey) -> Step:
    """Cut three shapes."""
    cutouts = {
        "circle": cut_circle(butler, _fixed(_find_target(survey, "saturated"))),
        "polygon": cut_polygon(butler, _fixed(_find_target(survey, "pair"))),
        "range": cut_range(butler, _fixed(_find_target(survey, "variable"))),
    }
    captions = {
        "circle": "A circle around the saturated star, with its mask planes.",
        "polygon": "A polygon need not be convex. This one is centred on a close pair of stars.",
        "range": "The edges of a range are parallels and meridians.",
    }
    pictures = tuple(
        folder.save_figure(
            plot_cutout(cutout).figure,
            f"mini_{name}",
            caption=captions[name],
            alt=f"Grey-scale image in sky coordinates with the outline of a {name}.",
        )
        for name, cutout in cutouts.items()
    )
    files = tuple(folder.save_fits(cutout.write, f"mini_survey/{name}") for name, cutout in cutouts.items())
    return Step(
        "Circle, polygon and range",
        "Only the pixels of the shape's box are read from the file. The mask plane OUTSIDE_STENCIL tells "
        "which of them are not in the shape, whose outline is yellow.",
        show_code(cut_circle, cut_polygon, cut_range),
        pictures,
        files,
    )


def _show_edge(butler: Butler, folder: OutputFolder, survey: MiniSurvey) -> Step:
    """Cut a circle that reaches past an image."""
    cutout = cut_edge(butler, survey.config.center_position)
    picture = folder.save_figure(
        plot_cutout(cutout).figure,
        "mini_edge",
        caption="The part off the image has no data: NaN, and the mask plane NO_DATA.",
        alt="Circle at the corner of a detector; a border on two sides has no pixels.",
    )
    return Step(
        "The edge of an image",
        "A shape that reaches past the image is clipped, refused or, as here, padded.",
        show_code(cut_edge),
        (picture,),
        (folder.save_fits(cutout.write, "mini_survey/edge"),),
    )


def _show_moving_star(butler: Butler, folder: OutputFolder, survey: MiniSurvey) -> Step:
    """Follow the star with proper motion, and stay behind."""
    star = _find_target(survey, "proper_motion")
    moved = follow(butler, "visit_image", star)
    left = follow(butler, "visit_image", _fixed(star))
    pictures = (
        folder.save_figure(
            plot_gallery(moved, columns=9, title="Moved by the proper motion"),
            "mini_star_moved",
            caption="The position is moved to the middle of each exposure: the star stays in the middle.",
            alt="Nine stamps in order of time; a bright star is in the middle of each.",
        ),
        folder.save_figure(
            plot_gallery(left, columns=9, title="At the position of the first night"),
            "mini_star_fixed",
            caption="Without its proper motion the star leaves the marked position by 1.8 arcsec a year.",
            alt="Nine stamps in order of time; the star moves away from the middle.",
        ),
    )
    return Step(
        "A star that moves",
        "Stamps of one star on all visit images, in order of time. A target off an image, or a file that "
        "cannot be read, gives a stamp with a flag and never ends the batch.",
        show_code(follow, cut_box),
        pictures,
        _save_stamps(butler, folder, moved, "star"),
    )


def _show_transient(butler: Butler, folder: OutputFolder, survey: MiniSurvey) -> Step:
    """Show the transient on the difference images."""
    stamps = follow(butler, "difference_image", _fixed(_find_target(survey, "transient")))
    picture = folder.save_figure(
        plot_gallery(stamps, columns=9),
        "mini_transient",
        caption="The transient appears a few days before the last night.",
        alt="Nine stamps in order of time; only the last three show a point source.",
    )
    return Step(
        "A transient on difference images",
        "The same function on another dataset type.",
        show_code(follow),
        (picture,),
        _save_stamps(butler, folder, stamps, "transient"),
    )


def _save_stamps(butler: Butler, folder: OutputFolder, stamps: list[Stamp], name: str) -> tuple[str, ...]:
    """Write the pixels of stamps, each with its provenance."""
    return tuple(
        folder.save_fits(cut_box(butler, stamp.ref, stamp.bbox).write, f"mini_survey/{name}_{number}")
        for number, stamp in enumerate(stamps, start=1)
        if stamp.ref is not None and stamp.bbox is not None
    )


def _show_color(butler: Butler, folder: OutputFolder, survey: MiniSurvey) -> Step:
    """Combine three bands of the coadd."""
    # In the middle of one patch, where all visits overlap.
    center = survey.config.center_position.spherical_offsets_by(-13.5 * u.arcsec, -0.5 * u.arcsec)
    cutouts = cut_bands(butler, center)
    picture = folder.save_color(
        color(cutouts),
        "mini_color",
        caption="Bands i, r and g as red, green and blue; north is up. The dark strip is a gap "
        "between detectors that no visit filled.",
        alt="Colour image of stars and galaxies.",
    )
    files = tuple(
        folder.save_fits(cutout.write, f"mini_survey/color_{band}")
        for band, cutout in zip("irg", cutouts, strict=True)
    )
    return Step(
        "Three bands in colour",
        "Cutouts of three coadds on one pixel grid.",
        show_code(cut_bands, color),
        (picture,),
        files,
    )
