"""The picture of a mosaic with its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from lsst.images import Box
from tests.support.mosaics import make_grid, make_part

from lsst.dax.image.mosaics import MosaicRules, Overlap, make_mosaic
from lsst.dax.image.plotting import plot_mosaic

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("n_images", [1, 3, 15])
def test_both_panels_show_the_mosaic_where_it_is(n_images: int) -> None:
    grid = make_grid((60, 80))
    rng = np.random.default_rng(51)
    box = Box.factory[0:60, 20:80]
    images = [make_part(box, grid.sky_projection, value=rng.normal(size=(60, 60))) for _ in range(n_images)]
    mosaic = make_mosaic(images, grid, rules=MosaicRules(overlap=Overlap.COMBINE))
    figure = plot_mosaic(mosaic, title="A mosaic")
    figure.canvas.draw()
    panels = [axes for axes in figure.axes if axes.get_images() and axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["Image", "Images behind each pixel"]
    image, coverage = (axes.get_images()[0] for axes in panels)
    shown = np.ma.filled(np.ma.masked_invalid(image.get_array()), np.nan)
    np.testing.assert_allclose(shown[:, 20:], mosaic.masked_image.image.array[:, 20:])
    assert np.isnan(shown[:, :20]).all()
    counts = np.ma.filled(np.ma.masked_invalid(coverage.get_array()).astype(float), np.nan)
    assert (counts[:, 20:] == n_images).all()
    assert np.isnan(counts[:, :20]).all()
    assert image.get_extent() == [-0.5, 79.5, -0.5, 59.5]
    assert figure.get_suptitle() == "A mosaic"
