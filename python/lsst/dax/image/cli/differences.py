"""Difference images: made again from their kernels, beside their originals."""

from __future__ import annotations

__all__ = ("TEXT", "TITLE", "make_steps")

from lsst.daf.butler import Butler, DatasetRef
from lsst.images import DifferenceImage

from ..plotting import plot_comparison
from ..recreation import recreate_difference_image
from ..regression import Comparison, compare_images, read_steps
from ..repository import fetch_dataset, fetch_uri, find_datasets, name_dataset
from ..simulation import MiniSurvey
from .chapters import Step, show_code
from .output import OutputFolder

TITLE = "Re-created difference images"
"""Heading of the chapter."""

TEXT = (
    "The difference images of the mini survey were made of its stored visit images and its stored, noisy "
    "templates by a slow path of the simulation's own. If their pixels were lost, the visit image, the "
    "templates and the persisted matching kernel bring them back."
)
"""What the data are."""

# The functions up to `compare` are shown on the page.


def recreate(butler: Butler, ref: DatasetRef) -> DifferenceImage:
    """Make a difference image again from all but its pixels."""
    return recreate_difference_image(butler, dict(ref.dataId.required))


def compare(butler: Butler, ref: DatasetRef, image: DifferenceImage) -> Comparison:
    """Compare it with the stored image, in the steps of its quantisation."""
    steps = read_steps(fetch_uri(butler, ref))
    return compare_images(image, fetch_dataset(butler, ref), steps=steps, name=name_dataset(ref))


def make_steps(folder: OutputFolder) -> tuple[Step, ...]:
    """Make one difference image of the mini survey again.

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
    survey = MiniSurvey.load(folder.repository("mini_survey"))  # the first chapter made it
    with survey.open() as butler:
        ref = find_datasets(butler, "difference_image")[-1]
        image = recreate(butler, ref)
        comparison = compare(butler, ref, image)
        figure = plot_comparison(comparison, image, fetch_dataset(butler, ref))
    picture = folder.save_figure(
        figure,
        "recreated_difference",
        caption="The re-created difference (candidate), the stored one (reference), and what they differ by "
        "in quantisation steps. What has changed stands out, and cosmic rays do; a saturated star is dark.",
        alt="Two pictures of noise with the same few sources, and a difference that is noise.",
    )
    pixels = comparison.planes[0]
    different = sum(mask.n_different for mask in comparison.masks)
    rms = "unknown" if pixels.rms_steps is None else f"{pixels.rms_steps:.3f}"
    text = (
        f"The root mean square of the difference is {rms} quantisation steps; rounding alone gives up to "
        f"0.289. {different} bits of the mask differ. Saturated stars, whose pixels differ by up to two "
        "parts in ten thousand, are in it."
    )
    return (Step("From the persisted kernel", text, show_code(recreate, compare), (picture,), ()),)
