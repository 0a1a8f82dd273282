"""The compiled loops against the definition of the interpolation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import galsim
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.images import Box
from numpy.testing import assert_allclose
from tests.support.psf_models import draw_slowly, lanczos_weights

from lsst.dax.image._kernels.psf_stamps_nb import fill_taps
from lsst.dax.image.errors import InputDataError
from lsst.dax.image.psfs import Lanczos, PolynomialPsfTables, TapRule, make_psf_evaluator

RULES = list(TapRule)


def turns(order):
    """Return sine and cosine of the angles between the weights."""
    angle = np.pi * np.arange(2 * order) / order
    return np.stack((np.sin(angle), np.cos(angle)), axis=1)


@settings(max_examples=60, deadline=None)
@given(
    phase=st.floats(-0.5, 0.5),
    step=st.one_of(st.just(1.0), st.floats(0.2, 3.0)),
    order=st.integers(1, 12),
    rule=st.sampled_from([TapRule.PLAIN, TapRule.UNIT_SUM]),
)
def test_weights_are_those_of_the_definition(phase, step, order, rule):
    lanczos = Lanczos(order, rule)
    first, taps = np.empty(5, np.int64), np.empty((5, 2 * order))
    fill_taps(
        phase,
        2,
        40.0,
        step,
        order,
        int(rule is TapRule.UNIT_SUM),
        lanczos.corrections,
        turns(order),
        first,
        taps,
    )
    for i in range(5):
        position = (i - 2 - phase) / step + 40.0
        samples = first[i] + np.arange(2.0 * order)
        assert_allclose(taps[i], lanczos_weights(position, samples, lanczos), rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", [2, 3, 5, 7, 11])
def test_the_series_is_that_of_galsim(order):
    lanczos = Lanczos(order, TapRule.SERIES)
    first, taps = np.empty(1, np.int64), np.empty((1, 2 * order))
    for phase in (-0.5, -0.31, -1e-9, 0.0, 1e-6, 0.2, 0.5):
        fill_taps(phase, 0, 20.0, 1.0, order, 0, lanczos.corrections, turns(order), first, taps)
        distance = (20.0 - phase) - (first[0] + np.arange(2.0 * order))
        assert_allclose(taps[0], galsim.Lanczos(order).xval(distance), rtol=0, atol=3e-13)


@pytest.mark.parametrize("order", [3, 5, 7])
def test_a_constant_stays_constant_as_far_as_the_rule_says(order):
    errors = {}
    for rule in RULES:
        lanczos = Lanczos(order, rule)
        first, taps = np.empty(1, np.int64), np.empty((1, 2 * order))
        worst = 0.0
        for phase in np.linspace(-0.5, 0.5, 41):
            fill_taps(
                phase,
                0,
                20.0,
                1.0,
                order,
                int(rule is TapRule.UNIT_SUM),
                lanczos.corrections,
                turns(order),
                first,
                taps,
            )
            worst = max(worst, abs(taps.sum() - 1.0))
        errors[rule] = worst
    assert errors[TapRule.UNIT_SUM] < 1e-14
    assert 1e-14 < errors[TapRule.SERIES] < 1e-5
    assert errors[TapRule.PLAIN] > 100 * errors[TapRule.SERIES]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    model_shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    stamp_shape=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    step=st.one_of(st.just(1.0), st.floats(0.3, 2.5)),
    order=st.integers(1, 7),
    rule=st.sampled_from([TapRule.PLAIN, TapRule.UNIT_SUM]),
    place=st.tuples(st.floats(0.0, 99.0), st.floats(0.0, 99.0)),
)
def test_pictures_of_any_shape_are_those_of_the_definition(
    seed, model_shape, stamp_shape, step, order, rule, place
):
    """Polynomials with gaps in their powers, on models smaller and larger than the picture."""
    rng = np.random.default_rng(seed)
    powers_x, powers_y = np.array([0, 2, 0, 1, 3]), np.array([0, 0, 1, 2, 0])
    components = rng.normal(size=(5, *model_shape))
    lanczos = Lanczos(order, rule)
    shape = (2 * stamp_shape[0] + 1, 2 * stamp_shape[1] + 1)
    tables = PolynomialPsfTables(
        components=components,
        powers_x=powers_x,
        powers_y=powers_y,
        origin=(30.0, 60.0),
        scale=(100.0, 80.0),
        step_px=step,
        lanczos=lanczos,
        stamp_shape=shape,
        draws_unit_sum=False,
        bounds=Box.factory[0:100, 0:100],
    )
    x, y = place
    stamps = make_psf_evaluator(tables).stellar_images([x], [y])
    u, v = (x - 30.0) / 100.0, (y - 60.0) / 80.0
    model = sum(u**i * v**j * c for i, j, c in zip(powers_x, powers_y, components, strict=True))
    want = draw_slowly(model, x=x, y=y, shape=shape, step_px=step, lanczos=lanczos)
    if np.abs(want).max() < 1e-12 * np.abs(components).max():
        # All weights may be 0, or nearly so: then there may be nothing to draw.
        assert stamps.flags[0] != 0 or np.abs(stamps.array).max() < 1e-11 * np.abs(components).max()
        return
    assert_allclose(stamps.array[0], want, rtol=0, atol=1e-12 * np.abs(components).max())
    assert_allclose(stamps.sums[0], want.sum(), rtol=0, atol=1e-10 * np.abs(components).max())


def test_a_delta_is_moved_by_whole_pixels_without_loss():
    delta = np.zeros((1, 3, 3))
    delta[0, 1, 1] = 1.0
    tables = PolynomialPsfTables(
        components=delta,
        powers_x=np.zeros(1, np.int64),
        powers_y=np.zeros(1, np.int64),
        origin=(0.0, 0.0),
        scale=(1.0, 1.0),
        step_px=1.0,
        lanczos=Lanczos(5, TapRule.SERIES),
        stamp_shape=(5, 7),
        draws_unit_sum=False,
        bounds=Box.factory[0:100, 0:100],
    )
    stamps = make_psf_evaluator(tables).stellar_images([10.0, 11.0], [20.0, 21.0])
    want = np.zeros((5, 7))
    want[2, 3] = 1.0
    np.testing.assert_array_equal(stamps.array, [want, want])
    assert (stamps.x0.tolist(), stamps.y0.tolist()) == ([7, 8], [18, 19])


@pytest.mark.parametrize("order", [0, 65])
def test_an_order_out_of_range_is_refused(order):
    with pytest.raises(InputDataError, match=f"order from 1 to 64, not {order}"):
        Lanczos(order, TapRule.PLAIN)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"powers_x": np.zeros(2, np.int64)}, "1 components has 2 powers of x and 1 of y"),
        ({"powers_y": np.array([-1])}, "negative powers"),
        ({"components": np.ones((1, 0, 3))}, r"components of shape \(1, 0, 3\)"),
        ({"stamp_shape": (4, 5)}, r"pictures of shape \(4, 5\)"),
    ],
)
def test_tables_that_make_no_model_are_refused(changes, match):
    zero = np.zeros(1, np.int64)
    fields = {
        "components": np.ones((1, 3, 3)),
        "powers_x": zero,
        "powers_y": zero,
        "origin": (0.0, 0.0),
        "scale": (1.0, 1.0),
        "step_px": 1.0,
        "lanczos": Lanczos(3, TapRule.PLAIN),
        "stamp_shape": (3, 3),
        "draws_unit_sum": False,
        "bounds": Box.factory[0:10, 0:10],
    }
    with pytest.raises(InputDataError, match=match):
        PolynomialPsfTables(**{**fields, **changes})


def test_the_kernels_run_without_compilation():
    code = (
        "import numpy as np\n"
        "from lsst.images import Box\n"
        "from lsst.dax.image.psfs import *\n"
        "model = np.outer([1., 3., 1.], [1., 4., 2.])[None]\n"
        "zero = np.zeros(1, np.int64)\n"
        "for step in (1.0, 1.25):\n"
        "    tables = PolynomialPsfTables(model, zero, zero, (0., 0.), (1., 1.), step,\n"
        "        Lanczos(3, TapRule.UNIT_SUM), (5, 5), False, Box.factory[0:9, 0:9])\n"
        "    print(make_psf_evaluator(tables).stellar_images([4.3], [3.6]).array[0].tolist())\n"
    )
    results = []
    for disabled in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
        assert done.returncode == 0, done.stderr
        results.append(np.array([_parse(line) for line in done.stdout.splitlines()]))
    assert results[0].shape == (2, 5, 5)
    assert_allclose(results[0], results[1], rtol=1e-13, atol=1e-15)


def _parse(line):
    """Read a nested list of numbers."""
    return np.fromstring(line.replace("[", "").replace("]", ""), sep=",").reshape(5, 5)
