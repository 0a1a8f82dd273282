"""Inputs that arrive one by one: the same bits, and memory that does not grow with their number."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from lsst.images import YX, Box

from lsst.dax.image.coadds import (
    ClipRules,
    InputKey,
    MaskRules,
    PsfMatching,
    PsfTarget,
    Recipe,
    Statistic,
    Warp,
    combine_warps,
)
from lsst.dax.image.coadds._cell import CellInput, combine_cell
from lsst.dax.image.coadds._cell_mean import CellMean
from lsst.dax.image.coadds._cells import CellLayout
from lsst.dax.image.coadds._used_pixels import mark_clipped

PLANES = ("NO_DATA", "BAD", "SATURATED", "DETECTED", "CLIPPED")
PADDED = Box.factory[0:90, 10:110]
INNER = Box.factory[20:70, 30:90]
RECIPE = Recipe(name="mean", statistic=Statistic.MEAN, selection={"bands": ("r",)}, noise_realizations=2)


def make_input(rng: np.random.Generator, number: int) -> CellInput:
    """Return noise with cosmic rays, bad pixels and gaps."""
    shape = tuple(PADDED.shape)
    image = rng.normal(0.0, 1.0, shape).astype(np.float32)
    chance = rng.random(shape)
    image[chance < 0.02] += 50.0
    image[chance > 0.99] = np.nan
    mask = np.where((chance > 0.1) & (chance < 0.13), np.uint32(2), np.uint32(0))
    y, x = np.indices((21, 21)) - 10
    psf = np.exp(-(x**2 + y**2) / (2.0 * rng.uniform(1.5, 2.0) ** 2))
    key = InputKey("Cam", number, 0, uuid.UUID(int=number))
    variance = np.ones(shape, np.float32)
    weight = float(rng.uniform(0.5, 2.0))
    warp = Warp(key, PADDED, image, variance, mask, PLANES, weight, psf / psf.sum())
    correlation = np.array([[0.0, 0.1, 0.0], [0.2, 1.0, 0.2], [0.0, 0.1, 0.0]])
    noise = rng.normal(0.0, 1.0, (2, *shape)).astype(np.float32)
    return CellInput(warp, "r", correlation, noise, 1.0)


@pytest.mark.parametrize("target", [None, PsfTarget(fwhm_arcsec=1.1)])
def test_one_by_one_has_the_bits_of_all_together(target: PsfTarget | None) -> None:
    recipe = RECIPE.with_(psf_matching=PsfMatching(target=target, kernel_px=15))
    rng = np.random.default_rng(8)
    inputs = [make_input(rng, number) for number in range(7)]
    mean = CellMean(INNER, recipe, pixel_scale_arcsec=0.2)
    for item in inputs:
        mean.add(item)
    found, expected = mean.finish(), combine_cell(inputs, INNER, recipe, pixel_scale_arcsec=0.2)
    assert np.isfinite(found.image).mean() > 0.05  # a missing pixel spoils those around it
    for field in dataclasses.fields(found):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name), field.name)


@pytest.mark.parametrize("n", [5, 60])
def test_noise_leaves_out_what_the_clipped_mean_does(n: int) -> None:
    rng = np.random.default_rng(n)
    warps = [make_input(rng, number).warp for number in range(n)]
    clipped = combine_warps(warps, statistic=Statistic.CLIPPED_MEAN)
    marked = mark_clipped(warps, clip=ClipRules(), masks=MaskRules())
    plain = combine_warps(marked, statistic=Statistic.MEAN)
    np.testing.assert_array_equal(plain.n_inputs, clipped.n_inputs)
    np.testing.assert_array_equal(plain.used_fraction, clipped.used_fraction)
    np.testing.assert_allclose(plain.image, clipped.image, atol=1e-5)
    np.testing.assert_allclose(plain.variance, clipped.variance, rtol=1e-5)
    assert (plain.n_inputs < combine_warps(warps).n_inputs).mean() > 0.05


CHILD = """
import json, sys
import numpy as np
from lsst.images import Box
from tests.coadds.test_coadds_engine_memory import make_large_inputs
from benchmarks._peak import find_peak_bytes
from lsst.dax.image.coadds._tile import TileBuilder
n = int(sys.argv[1])
builder, inputs = make_large_inputs(n)
for item in inputs:
    builder.add(item, range(4))
outcome = builder.finish()
values = outcome.layers.image
print(json.dumps({"peak_mb": find_peak_bytes() / 2**20,
                  "scatter": float(values.std()), "n": int(outcome.layers.n_inputs.min())}))
"""


def make_large_inputs(n: int) -> tuple[object, object]:
    """Return a tile of four cells, and as many inputs of 4 MB each as are wanted, one by one."""
    from lsst.images import Polygon
    from tests.support.coadd_survey import CONFIG

    from lsst.dax.image.coadds._cells import CellRange, SourceOutline
    from lsst.dax.image.coadds._tile import TileBuilder, TileInput

    layout = CellLayout(inner_px=300, padding_px=0, anchor=YX(y=0, x=0))
    cells = CellRange(range(2), range(2))
    box = layout.inner_box(cells)
    recipe = RECIPE.with_(noise_realizations=0)
    builder = TileBuilder(
        cells=cells,
        layout=layout,
        projection=CONFIG.sky_map.tract_sky_projection(CONFIG.tract),
        recipe=recipe,
        planes=PLANES,
        bbox=box,
        psf_px=21,
    )
    polygon = Polygon.from_box(box.padded(10))

    def make() -> object:
        for number in range(n):
            rng = np.random.default_rng(number)
            one = make_input(rng, number)
            shape = tuple(box.shape)
            yield TileInput(
                warp=dataclasses.replace(
                    one.warp,
                    bbox=box,
                    image=rng.standard_normal(shape, np.float32),
                    variance=np.ones(shape, np.float32),
                    mask=np.zeros(shape, np.uint32),
                    weight=1.0,
                    psf=None,
                ),
                outline=SourceOutline(polygon, polygon),
                psfs=np.stack([one.warp.psf] * 4),
                corrections=[{}] * 4,
                noise_correlations=np.ones((4, 1, 1)),
                noise=np.zeros((0, *shape), np.float32),
                pixel_areas=np.ones(4),
                effective_time_s=30.0,
                band="r",
            )

    return builder, make()


def test_memory_does_not_grow_with_the_number_of_inputs() -> None:
    found = {}
    for n in (4, 34):
        command = [sys.executable, "-c", CHILD, str(n)]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root)
        found[n] = json.loads(done.stdout)
        assert found[n]["n"] == n
        assert found[n]["scatter"] == pytest.approx(n**-0.5, rel=0.01)
    # 30 inputs more have 130 MB of pixels, 4 MB each.
    assert found[34]["peak_mb"] - found[4]["peak_mb"] < 25.0
