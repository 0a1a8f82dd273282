"""Re-creation: visit images made again from raws, beside their originals."""

from __future__ import annotations

__all__ = ("TEXT", "TITLE", "make_steps")

import math
from functools import partial
from pathlib import Path

from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Image, VisitImage

from ..plotting import plot_comparison
from ..recreation import read_recipe, recreate_from, recreate_visit_image, write_visit_image
from ..recreation.isr import LSSTCAM_DP2, read_raw
from ..regression import Comparison, compare_images, read_steps
from ..repository import fetch_dataset, fetch_uri, find_dataset, find_datasets, name_dataset
from ..simulation import make_raw_survey
from .chapters import Step, show_code
from .output import OutputFolder

TITLE = "Re-created visit images"
"""Heading of the chapter."""

TEXT = (
    "A second simulated survey begins with raws: integer counts of sensors of two vendors with 16 amplifiers "
    "each, with overscan, crosstalk, non-linearity, trails of deferred charge, the brighter-fatter effect, "
    "cosmic rays and defects. The original visit images were made of them by a slow reduction that shares no "
    "code with this library, and stored twice: losslessly, and with the lossy compression of the "
    "observatory. If their pixels were lost, this is how they come back."
)
"""What the data are."""

_VENDORS = ("E2V", "ITL")
_BAND = "i"

# The functions up to `recreate_again` are shown on the page.


def recreate(butler: Butler, ref: DatasetRef) -> VisitImage:
    """Make a visit image again from its raw, its calibrations and all but its pixels."""
    return recreate_visit_image(butler, dict(ref.dataId.required), sequence=LSSTCAM_DP2)


def compare(butler: Butler, ref: DatasetRef, image: VisitImage) -> Comparison:
    """Compare it with the stored image, in the steps of its quantisation where it has any."""
    steps = read_steps(fetch_uri(butler, ref))
    return compare_images(image, fetch_dataset(butler, ref), steps=steps, name=name_dataset(ref))


def recreate_again(butler: Butler, file: Path) -> VisitImage:
    """Make it once more from what its own file says, without looking at the pixels."""
    return recreate_from(file, butler)


def make_steps(folder: OutputFolder) -> tuple[Step, ...]:
    """Simulate raws and make visit images of them.

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
    survey = make_raw_survey(folder.repository("raw_survey"))
    with survey.open() as butler, survey.open_lossy() as lossy:
        shown = [
            _show_sensor(butler, lossy, folder, detector=detector, vendor=vendor)
            for detector, vendor in enumerate(_VENDORS)
        ]
        first, image = shown[0]
        again = recreate_again(butler, folder.root / first.files[0])
    return (*(step for step, _ in shown), _show_recipe(image, again))


def _show_sensor(
    butler: Butler, lossy: Butler, folder: OutputFolder, *, detector: int, vendor: str
) -> tuple[Step, VisitImage]:
    """Re-create the image of one sensor."""
    where = f"detector = {detector} AND band = '{_BAND}'"
    (ref,) = find_datasets(butler, "visit_image", where=where)
    (lossy_ref,) = find_datasets(lossy, "visit_image", where=where)
    image = recreate(butler, ref)
    equal, near = compare(butler, ref, image), compare(lossy, lossy_ref, image)
    raw = find_dataset(butler, "raw", {**ref.dataId.required, "exposure": ref.dataId["visit"]})
    counts = read_raw(fetch_uri(butler, raw), image.detector)
    figure = plot_comparison(
        near, image, fetch_dataset(lossy, lossy_ref), raw=Image(counts.image, unit=counts.unit)
    )
    picture = folder.save_figure(
        figure,
        f"recreated_{vendor.lower()}",
        caption=f"{vendor}: the raw with its prescans and overscans, the re-created image (candidate), "
        "the original with lossy compression (reference), their difference in quantisation steps (cosmic "
        "rays are left blank), and how the difference is distributed.",
        alt="Raw in 16 blocks, two pictures of the same stars that look alike, a difference that is noise, "
        "and a flat histogram from -0.5 to 0.5 steps.",
    )
    file = folder.save_fits(partial(write_visit_image, image), f"recreation/{vendor.lower()}")
    step = Step(
        f"A sensor of {vendor}",
        _describe(equal, near),
        show_code(recreate, compare),
        (picture,),
        (file,),
    )
    return step, image


def _describe(equal: Comparison, near: Comparison) -> str:
    """Return in words how a re-created image compares with both originals."""
    image, variance = equal.planes
    lossy = near.planes[0]
    different = sum(mask.n_different for mask in equal.masks)
    text = (
        f"Against the lossless original {_percent(image.identical)} of {image.n_compared} pixels are the "
        f"same to the bit, and so are {_percent(variance.identical)} of the variance; {different} bits of "
        f"the mask differ. {sum(image.n_excluded.values())} pixels with cosmic rays do not count: they hold "
        "random numbers. "
    )
    if lossy.max_steps is None or lossy.rms_steps is None:
        return text
    return text + (
        f"Against the original with lossy compression the largest difference is {lossy.max_steps:.4f} "
        f"quantisation steps, and their root mean square {lossy.rms_steps:.4f}; rounding alone gives 0.5 and "
        "0.2887."
    )


def _show_recipe(image: VisitImage, again: VisitImage) -> Step:
    """Say what the file of an image tells, and that it makes the image again."""
    recipe = read_recipe(image)
    # All pixels count here: the random numbers of cosmic rays have a seed.
    found = compare_images(again, image, excluded_planes=(), name="again")
    different = sum(mask.n_different for mask in found.masks)
    return Step(
        "From the file alone",
        "The file of a re-created image carries its recipe as JSON: the raw and "
        f"{len(recipe.calibrations)} calibrations by their UUIDs, and the {len(recipe.sequence.steps)} "
        f"steps of {recipe.sequence.name} with their parameters. Made from the recipe once more, "
        f"{_percent(found.planes[0].identical)} of all pixels are the same to the bit, those with cosmic "
        f"rays too; {different} bits of the mask differ.",
        show_code(recreate_again),
    )


def _percent(fraction: float) -> str:
    """Return a fraction in percent, cut off so that only all is 100 %."""
    return f"{math.floor(fraction * 1e6) / 1e4:g} %"
