"""Combining warps: against a slow sum in double precision, and by what must not matter."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from lsst.images import Box
from numpy.testing import assert_allclose, assert_array_equal

from lsst.dax.image._kernels.stack_order_nb import order_pairs
from lsst.dax.image.coadds import (
    ClipRules,
    Combined,
    MaskRules,
    MeanAccumulator,
    Statistic,
    Warp,
    combine_warps,
    find_combined_planes,
)
from lsst.dax.image.coadds._median_variance import find_median_variance_factors
from lsst.dax.image.errors import InputDataError, RequestError

from ..support.coadds_stack import PLANES, combine_slowly, integrate_median_variance, make_warp, make_warps

PIXEL_STATISTICS = (
    Statistic.MEAN,
    Statistic.CLIPPED_MEAN,
    Statistic.MEDIAN,
    Statistic.MIN,
    Statistic.MAX,
)
ARRAYS = ("image", "variance", "mask", "n_inputs", "weight_sum", "rejected_fraction")


def assert_same_bits(one: Combined, two: Combined) -> None:
    for name in (*ARRAYS, "used_fraction"):
        first, second = getattr(one, name), getattr(two, name)
        assert first.dtype == second.dtype, name
        # The bits, so that zeros of both signs differ and a NaN is one.
        assert first.tobytes() == second.tobytes(), name


def find_names(combined: Combined, place: tuple[int, ...]) -> set[str]:
    word = int(combined.mask[place])
    return {name for i, name in enumerate(combined.planes) if word >> i & 1}


def part_of(warp: Warp, rows: slice, columns: slice) -> Warp:
    box = Box.factory[rows.start : rows.stop, columns.start : columns.stop]
    planes = {name: getattr(warp, name)[rows, columns] for name in ("image", "variance", "mask")}
    return dataclasses.replace(warp, bbox=box, **planes)


@pytest.mark.parametrize("statistic", PIXEL_STATISTICS)
@pytest.mark.parametrize(
    ("n", "shape"), [(1, (2, 16)), (3, (5, 37)), (7, (9, 7)), (20, (6, 43)), (70, (3, 33))]
)
def test_equals_the_slow_sum(statistic: Statistic, n: int, shape: tuple[int, int]) -> None:
    warps = make_warps(n, shape, seed=n)
    clip = ClipRules(n_sigma=2.5, iterations=3)
    masks = MaskRules(
        bad_planes=("NO_DATA", "BAD", "SATURATED", "DETECTION_EDGE"),
        propagate=(("SATURATED", 0.1), ("BAD", 0.3)),
    )
    found = combine_warps(warps, statistic=statistic, clip=clip, masks=masks)
    expected = combine_slowly(warps, statistic, clip, masks)
    sure = ~expected.is_close
    assert sure.mean() > 0.9
    assert_array_equal(found.n_inputs[sure], expected.n_inputs[sure])
    assert_allclose(found.image[sure], expected.image[sure], rtol=3e-6)
    tolerance = 1e-3 if statistic is Statistic.MEDIAN and n > 32 else 3e-6
    assert_allclose(found.variance[sure], expected.variance[sure], rtol=tolerance)
    assert_allclose(found.weight_sum[sure], expected.weight_sum[sure], rtol=3e-6)
    assert_allclose(found.rejected_fraction[sure], expected.rejected_fraction[sure], rtol=1e-5, atol=1e-7)
    assert found.planes == find_combined_planes(PLANES)
    for place in np.ndindex(shape):
        if sure[place]:
            assert find_names(found, place) == expected.names[place], place
    slack = expected.is_close.mean() + 1e-12
    assert_allclose(found.used_fraction, expected.used.mean(axis=(1, 2)), atol=slack)


@pytest.mark.parametrize("statistic", PIXEL_STATISTICS)
@pytest.mark.parametrize("n", [5, 67])
def test_part_of_a_box_has_the_bits_of_the_whole(statistic: Statistic, n: int) -> None:
    warps = make_warps(n, (40, 61), seed=3)
    whole = combine_warps(warps, statistic=statistic)
    rng = np.random.default_rng(8)
    for width in (1, 5, 15, 16, 17, 40):
        y, x = int(rng.integers(0, 30)), int(rng.integers(0, 61 - width))
        rows, columns = slice(y, y + 10), slice(x, x + width)
        found = combine_warps([part_of(warp, rows, columns) for warp in warps], statistic=statistic)
        for name in ARRAYS:
            expected = np.ascontiguousarray(getattr(whole, name)[rows, columns])
            assert getattr(found, name).tobytes() == expected.tobytes(), (name, width)


@pytest.mark.parametrize("statistic", PIXEL_STATISTICS)
def test_threads_do_not_matter(statistic: Statistic) -> None:
    warps = make_warps(6, (70, 50), seed=4)
    assert_same_bits(
        combine_warps(warps, statistic=statistic, threads=1),
        combine_warps(warps, statistic=statistic, threads=4),
    )


def test_layout_in_memory_does_not_matter() -> None:
    warps = make_warps(5, (12, 33), seed=5)
    other = [
        dataclasses.replace(
            warp,
            image=np.asfortranarray(warp.image),
            variance=warp.variance.astype(">f4"),
            mask=np.repeat(warp.mask, 2, axis=1)[:, ::2],
        )
        for warp in warps
    ]
    flipped = [dataclasses.replace(warp, image=warp.image[::-1].copy()[::-1]) for warp in warps]
    expected = combine_warps(warps, statistic=Statistic.CLIPPED_MEAN)
    for layout in (other, flipped):
        assert_same_bits(combine_warps(layout, statistic=Statistic.CLIPPED_MEAN), expected)


def test_inputs_are_not_changed() -> None:
    warps = make_warps(5, (12, 33), seed=6)
    before = [(warp.image.copy(), warp.variance.copy(), warp.mask.copy()) for warp in warps]
    for warp in warps:
        for plane in (warp.image, warp.variance, warp.mask):
            plane.flags.writeable = False
    for statistic in PIXEL_STATISTICS:
        combine_warps(warps, statistic=statistic)
    for warp, planes in zip(warps, before, strict=True):
        for plane, old in zip((warp.image, warp.variance, warp.mask), planes, strict=True):
            assert_array_equal(plane, old)


@pytest.mark.parametrize("columns", [3, 16, 53])
def test_mean_of_warps_one_by_one_has_the_same_bits(columns: int) -> None:
    warps = make_warps(23, (19, columns), seed=7)
    masks = MaskRules(propagate=(("SATURATED", 0.1), ("DETECTED", 0.2)))
    accumulator = MeanAccumulator(warps[0].bbox, PLANES, masks=masks)
    for count, warp in enumerate(warps, 1):
        accumulator.add(warp)
        if count in (1, 8, 23):
            expected = combine_warps(warps[:count], statistic=Statistic.MEAN, masks=masks)
            assert_same_bits(accumulator.finish(), expected)


def test_a_constant_stays_constant_whatever_the_weights() -> None:
    rng = np.random.default_rng(9)
    warps = [make_warp(k, np.full((4, 40), 7.0), weight=10.0 ** rng.uniform(-3, 3)) for k in range(40)]
    for statistic in PIXEL_STATISTICS:
        assert_allclose(combine_warps(warps, statistic=statistic).image, 7.0, rtol=1e-6)


def test_weights_of_another_unit_give_the_same_image() -> None:
    warps = make_warps(9, (8, 32), seed=10)
    scaled = [dataclasses.replace(warp, weight=warp.weight * 2.0**-70) for warp in warps]
    one, two = combine_warps(warps), combine_warps(scaled)
    assert_array_equal(one.image, two.image)
    assert_array_equal(one.weight_sum, two.weight_sum * 2.0**70)


def test_noise_is_what_the_variance_says() -> None:
    rng = np.random.default_rng(11)
    variances = (1.0, 4.0, 9.0, 2.0, 2.5)
    shape = (200, 400)
    warps = [
        make_warp(k, rng.normal(0.0, math.sqrt(v), shape), variance=v, weight=1.0 / v)
        for k, v in enumerate(variances)
    ]
    combined = combine_warps(warps)
    assert_allclose(combined.variance, 1.0 / sum(1.0 / v for v in variances), rtol=1e-6)
    assert_allclose(combined.image.var(), combined.variance[0, 0], rtol=0.02)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9, 10, 33, 66])
def test_noise_of_a_median_is_what_its_variance_says(n: int) -> None:
    rng = np.random.default_rng(n)
    warps = [make_warp(k, rng.normal(0.0, 3.0, (200, 300)), variance=9.0) for k in range(n)]
    combined = combine_warps(warps, statistic=Statistic.MEDIAN)
    assert_allclose(combined.image.var(), combined.variance[0, 0], rtol=0.025)


def test_factors_of_the_median_are_those_of_the_integral() -> None:
    factors = find_median_variance_factors(120)
    assert math.isnan(factors[0])
    for n in range(1, 33):
        assert_allclose(factors[n], integrate_median_variance(n), rtol=1e-6)
    for n in (33, 34, 48, 65, 120):
        assert_allclose(factors[n], integrate_median_variance(n), rtol=1e-3)
    assert_allclose(find_median_variance_factors(9), factors[:10])
    assert_allclose(find_median_variance_factors(10**6)[-1] * 10**6, math.pi / 2.0, rtol=1e-5)


def test_clipped_mean_leaves_out_what_is_far_off() -> None:
    rng = np.random.default_rng(12)
    warps = [make_warp(k, rng.normal(0.0, 1.0, (6, 32)), mask=8) for k in range(12)]
    warps[4].image[2, 5] = 500.0
    warps[4].mask[2, 5] = 0
    combined = combine_warps(warps, statistic=Statistic.CLIPPED_MEAN)
    others = np.mean([warp.image[2, 5] for k, warp in enumerate(warps) if k != 4])
    assert_allclose(combined.image[2, 5], others, atol=1e-6)
    assert combined.n_inputs[2, 5] == 11
    assert find_names(combined, (2, 5)) == {"DETECTED", "CLIPPED", "REJECTED", "INEXACT_PSF"}
    assert_allclose(combined.rejected_fraction[2, 5], 1.0 / 12.0, rtol=1e-6)


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("values", [(3.0,), (3.0, 900.0), (5.0, 5.0, 5.0), (5.0, 5.0, 5.0, 6.0)])
def test_clipping_never_leaves_nothing(values: tuple[float, ...], iterations: int) -> None:
    weights = (1e-6, 1.0, 1e3, 30.0)
    warps = [make_warp(k, np.full((1, 16), v), weight=weights[k]) for k, v in enumerate(values)]
    combined = combine_warps(
        warps, statistic=Statistic.CLIPPED_MEAN, clip=ClipRules(n_sigma=3.0, iterations=iterations)
    )
    # Two are never far from their median; the last of four is, from three equal ones.
    kept = min(len(values), 3)
    assert_array_equal(combined.n_inputs, kept)
    expected = np.average(values[:kept], weights=weights[:kept])
    assert_allclose(combined.image, expected, rtol=1e-6)


def test_sensor_edges_are_where_an_input_has_no_value() -> None:
    shape = (3, 40)
    full, half = make_warp(0, np.ones(shape)), make_warp(1, np.ones(shape), weight=3.0)
    half.image[:, :20] = half.variance[:, :20] = np.nan
    half.mask[:, :20] = 1 << PLANES.index("NO_DATA")
    half.mask[0, :5] |= np.uint32(1 << PLANES.index("BAD"))
    combined = combine_warps([full, half])
    assert find_names(combined, (1, 10)) == {"SENSOR_EDGE", "INEXACT_PSF"}
    assert find_names(combined, (1, 30)) == set()
    # A bad pixel is rejected, with or without a value.
    assert find_names(combined, (0, 0)) == {"REJECTED", "INEXACT_PSF"}
    assert_allclose(combined.rejected_fraction[:2, 0], [0.75, 0.0])
    assert_allclose(combined.weight_sum[1, [0, 30]], [1.0, 4.0])
    assert_allclose(combined.used_fraction, [1.0, 0.5])


def test_pixels_without_inputs_are_nan() -> None:
    warps = [make_warp(k, np.ones((2, 20)), mask=1 << PLANES.index("SATURATED")) for k in range(3)]
    for statistic in PIXEL_STATISTICS:
        combined = combine_warps(warps, statistic=statistic)
        assert np.isnan(combined.image).all()
        assert np.isnan(combined.variance).all()
        assert find_names(combined, (1, 7)) == {"NO_DATA", "SATURATED", "REJECTED", "INEXACT_PSF"}
        assert_array_equal(combined.n_inputs, 0)
        assert_array_equal(combined.rejected_fraction, 1.0)


def test_a_plane_is_set_above_its_share_of_the_weight() -> None:
    warps = [make_warp(k, np.ones((1, 16)), weight=weight) for k, weight in enumerate((6.0, 3.0, 1.0))]
    warps[2].mask[:, :8] = 1 << PLANES.index("SATURATED")
    for threshold, is_set in ((0.09, True), (0.11, False)):
        combined = combine_warps(warps, masks=MaskRules(propagate=(("SATURATED", threshold),)))
        assert ("SATURATED" in find_names(combined, (0, 0))) is is_set
        assert "SATURATED" not in find_names(combined, (0, 8))


def test_extremes_bring_variance_and_mask_along() -> None:
    values, variances, masks = (3.0, -2.0, 8.0, 8.0), (1.0, 2.0, 3.0, 4.0), (0, 8, 0, 8)
    warps = [
        make_warp(k, np.full((1, 16), v), variance=variances[k], mask=masks[k]) for k, v in enumerate(values)
    ]
    low, high = (combine_warps(warps, statistic=each) for each in (Statistic.MIN, Statistic.MAX))
    assert (low.image[0, 3], low.variance[0, 3], find_names(low, (0, 3))) == (-2.0, 2.0, {"DETECTED"})
    assert (high.image[0, 3], high.variance[0, 3], find_names(high, (0, 3))) == (8.0, 3.0, set())


def test_a_thousand_warps() -> None:
    rng = np.random.default_rng(13)
    n, shape = 1000, (2, 17)
    cube = rng.normal(50.0, 2.0, (n, *shape)).astype(np.float32)
    warps = [make_warp(k, cube[k], variance=4.0) for k in range(n)]
    assert_allclose(combine_warps(warps).image, cube.mean(axis=0), rtol=1e-5)
    median = combine_warps(warps, statistic=Statistic.MEDIAN)
    assert_array_equal(median.image, np.median(cube, axis=0))
    assert_allclose(median.variance, 4.0 * math.pi / 2.0 / n, rtol=2e-3)
    clipped = combine_warps(warps, statistic=Statistic.CLIPPED_MEAN)
    # Beyond 3 standard deviations lie 0.27 per cent.
    assert_allclose(clipped.n_inputs, 997, atol=6)
    assert_allclose(clipped.image, 50.0, atol=5 * 2.0 / math.sqrt(n))


def test_refusals() -> None:
    warp = make_warp(0, np.ones((4, 20)))
    with pytest.raises(RequestError, match=r"Statistic.PROPER is not a statistic of single pixels"):
        combine_warps([warp], statistic=Statistic.PROPER)
    with pytest.raises(RequestError, match="threads must be positive, not 0"):
        combine_warps([warp], threads=0)
    with pytest.raises(InputDataError, match="Between 1 and 65535 warps are combined, not 0"):
        combine_warps([])
    with pytest.raises(InputDataError, match=r"has the box .*1:5.*it is combined on .*0:4"):
        combine_warps([warp, make_warp(1, np.ones((4, 20)), start=(1, 0))])
    with pytest.raises(InputDataError, match=r"mask planes \('BAD',\); others have"):
        combine_warps([warp, make_warp(1, np.ones((4, 20)), planes=("BAD",))])
    with pytest.raises(InputDataError, match="29 mask planes and 5 that a coadd adds"):
        find_combined_planes([f"P{i}" for i in range(29)])
    with pytest.raises(InputDataError, match="differ too much from the first"):
        combine_warps([warp, make_warp(1, np.ones((4, 20)), weight=1e20)])
    accumulator = MeanAccumulator(warp.bbox, PLANES)
    with pytest.raises(InputDataError, match="no warps to combine"):
        accumulator.finish()
    with pytest.raises(InputDataError, match="it is combined on"):
        accumulator.add(make_warp(1, np.ones((5, 20))))


def test_exchanges_sort() -> None:
    rng = np.random.default_rng(14)
    for n in range(1, 72):
        # Zeros and ones, many sets side by side: what sorts them sorts anything.
        values = (rng.random((n, 300)) < rng.random(300)).astype(np.int64)
        expected = np.sort(values, axis=0)
        for low, high in order_pairs(n):
            assert 0 <= low < high < n
            values[[low, high]] = np.sort(values[[low, high]], axis=0)
        assert_array_equal(values, expected)
