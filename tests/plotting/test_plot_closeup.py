"""The picture of the largest difference of a release test."""

from __future__ import annotations

import numpy as np
import pytest

from lsst.dax.image.plotting import plot_closeup
from lsst.dax.image.regression import Closeup


def test_a_wrong_pixel_is_where_the_axes_say_and_fills_the_colours() -> None:
    reference = np.random.default_rng(1).normal(0, 2, (65, 50)).astype(np.float32)
    candidate = reference.copy()
    candidate[32, 10] += 24.0
    closeup = Closeup(
        candidate=candidate,
        reference=reference,
        sigma=np.full(reference.shape, 2.0, np.float32),
        origin=(100, 200),
        center=(110, 232),
        unit="nJy",
    )
    figure = plot_closeup(closeup, title="worst")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["candidate", "reference", "candidate - reference"]
    (drawn,) = panels[2].images
    assert drawn.get_extent() == [99.5, 149.5, 199.5, 264.5]
    pixels = np.asarray(drawn.get_array())
    assert np.unravel_index(np.argmax(pixels), pixels.shape) == (32, 10)
    assert drawn.get_clim() == pytest.approx((-12.0, 12.0))
    assert panels[0].images[0].get_clim() == panels[1].images[0].get_clim()


def test_pixels_without_values_are_drawn() -> None:
    nothing = np.full((5, 5), np.nan, np.float32)
    closeup = Closeup(nothing, nothing, nothing, origin=(0, 0), center=(2, 2), unit="")
    assert plot_closeup(closeup).axes[2].images[0].get_clim() == (-3.0, 3.0)
