"""One pass over all planes: against an oracle, and what must hold for every pixel."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from tests.support.resampling import SCHEMA, make_sip_projection, make_source, make_tan
from tests.support.resampling_oracle import exact_positions, resample_oracle

from lsst.dax.image.errors import (
    InputDataError,
    NoCoverageError,
    RequestError,
    RequestTooLargeError,
    UnsupportedProductError,
)
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.resampling import FluxConvention, Kernel, MaskRule, MissingRule, resample

KEEP = FluxConvention.SURFACE_BRIGHTNESS
SHAPE = (150, 170)


def assert_same_bits(one: MaskedImage, two: MaskedImage) -> None:
    """Compare all planes to the bit, NaN included."""
    assert one.bbox == two.bbox
    assert one.mask.schema == two.mask.schema
    for plane in ("image", "variance", "mask"):
        assert getattr(one, plane).array.tobytes() == getattr(two, plane).array.tobytes(), plane


def noisy_source(seed: int = 0, *, x0: int = 40, y0: int = -30) -> MaskedImage:
    """Return noise on a pedestal over a distorted projection, with one bad pixel in fifty."""
    rng = np.random.default_rng(seed)
    wide = make_sip_projection(shape=(400, 400))
    source = make_source(
        rng.normal(100, 10, SHAPE), wide, variance=rng.uniform(1, 2, SHAPE), x0=x0 + 100, y0=y0 + 150
    )
    source.mask.set("BAD", rng.random(SHAPE) < 0.02)
    return source


def tilted_grid(
    rotation: float = 27.0,
    *,
    scale: float = 0.2,
    x: int = -70,
    y: int = -60,
    shape: tuple[int, int] = (110, 130),
) -> TargetGrid:
    """Return a turned grid whose middle lies on the source's."""
    return TargetGrid(
        make_tan(rotation=rotation, scale=scale), Box.factory[y : y + shape[0], x : x + shape[1]]
    )


@pytest.mark.parametrize("kernel", ["lanczos3", "lanczos5", "bilinear"])
@pytest.mark.parametrize("plain", ["", "1"])
def test_all_planes_agree_with_the_oracle(kernel: str, plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAX_IMAGE_PLAIN_KERNELS", plain)
    source, grid = noisy_source(), tilted_grid()
    found = resample(source, grid, kernel=Kernel(kernel), flux_convention=KEEP, tolerance_px=1e-7)
    expected = resample_oracle(source, grid, kernel=kernel)
    planes = found.masked_image
    assert 0.3 < expected.inside.mean() < 0.98
    np.testing.assert_array_equal(np.isfinite(planes.image.array), expected.inside)
    np.testing.assert_array_equal(found.coverage.array, expected.inside)
    np.testing.assert_array_equal(planes.mask.get("NO_DATA"), ~expected.inside)
    np.testing.assert_array_equal(planes.mask.get("BAD"), expected.bits.astype(bool))
    np.testing.assert_allclose(planes.image.array, expected.image, rtol=1e-5)
    np.testing.assert_allclose(planes.variance.array, expected.variance, rtol=1e-5)
    assert planes.unit == u.nJy
    assert planes.variance.unit == u.nJy**2


def test_nearest_takes_one_pixel() -> None:
    source, grid = noisy_source(), tilted_grid()
    found = resample(source, grid, kernel=Kernel.NEAREST, flux_convention=KEEP, tolerance_px=1e-9)
    x, y = exact_positions(source, grid)
    column, row = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < SHAPE[1]) & (row < SHAPE[0])
    np.testing.assert_array_equal(found.coverage.array, inside)
    planes = found.masked_image
    np.testing.assert_array_equal(planes.image.array[inside], source.image.array[row[inside], column[inside]])
    np.testing.assert_array_equal(
        planes.variance.array[inside], source.variance.array[row[inside], column[inside]]
    )
    np.testing.assert_array_equal(
        planes.mask.get("BAD")[inside], source.mask.get("BAD")[row[inside], column[inside]]
    )


@pytest.mark.parametrize("kernel", Kernel)
@pytest.mark.parametrize(
    ("rotation", "scale"), [(0.0, 0.2), (30.0, 0.2), (45.0, 0.13), (200.0, 0.31), (77.0, 1.7)]
)
def test_constant_stays_constant(kernel: Kernel, rotation: float, scale: float) -> None:
    source = make_source(np.full(SHAPE, 7.0), make_tan(x=85.0, y=75.0, rotation=3.0))
    grid = TargetGrid(make_tan(rotation=rotation, scale=scale), Box.factory[-30:30, -40:40])
    found = resample(source, grid, kernel=kernel, flux_convention=KEEP).masked_image.image.array
    assert np.isfinite(found).sum() > 40
    np.testing.assert_allclose(found[np.isfinite(found)], 7.0, rtol=1e-6)


@pytest.mark.parametrize("scale", [0.13, 0.2, 0.31, 0.9])
@pytest.mark.parametrize("kernel", [Kernel.LANCZOS3, Kernel.LANCZOS3_MOMENTS])
def test_flux_of_a_star_is_conserved(kernel: Kernel, scale: float) -> None:
    y, x = np.indices((300, 300))
    sigma = 1.8 if scale < 0.5 else 6.0
    star = 1e5 * np.exp(-0.5 * ((x - 150.3) ** 2 + (y - 148.6) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
    source = make_source(star, make_tan(x=150.0, y=150.0, rotation=11.0))
    half = int(22 / scale)
    grid = TargetGrid(make_tan(rotation=50.0, scale=scale), Box.factory[-half:half, -half:half])
    found = resample(source, grid, kernel=kernel, flux_convention=FluxConvention.FLUX)
    assert np.nansum(found.masked_image.image.array, dtype=float) == pytest.approx(1e5, rel=1e-4)
    kept = resample(source, grid, kernel=kernel, flux_convention=KEEP).masked_image
    ratio = found.masked_image.variance.array / kept.variance.array
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], (scale / 0.2) ** 4, rtol=1e-5)


@pytest.mark.parametrize(("dx", "dy"), [(0.5, 0.0), (0.0, 0.5), (-0.25, 0.75)])
def test_shift_moves_the_centroid(dx: float, dy: float) -> None:
    y, x = np.indices((61, 61))
    star = np.exp(-0.5 * ((x - 30) ** 2 + (y - 30) ** 2) / 1.5**2)
    source = make_source(star, make_tan(x=30.0, y=30.0))
    grid = TargetGrid(make_tan(x=30.0 + dx, y=30.0 + dy), Box.factory[5:56, 5:56])
    found = resample(source, grid, kernel=Kernel.LANCZOS3_MOMENTS).masked_image.image.array.astype(float)
    rows, columns = np.indices(found.shape)
    assert (found * columns).sum() / found.sum() == pytest.approx(25 + dx, abs=1e-3)
    assert (found * rows).sum() / found.sum() == pytest.approx(25 + dy, abs=1e-3)


def test_variance_is_that_of_white_noise() -> None:
    rng = np.random.default_rng(8)
    shape = (500, 500)
    source = make_source(rng.normal(0, 3, shape), make_tan(x=250.0, y=250.0), variance=np.full(shape, 9.0))
    grid = TargetGrid(make_tan(rotation=30.0), Box.factory[-150:150, -150:150])
    planes = resample(source, grid, flux_convention=KEEP).masked_image
    normalised = planes.image.array / np.sqrt(planes.variance.array)
    assert normalised.std() == pytest.approx(1.0, abs=0.01)
    assert planes.variance.array.mean() == pytest.approx(9.0 * 0.798, rel=0.01)


def test_nan_makes_a_hole_of_the_kernel() -> None:
    for kernel, side in (
        (Kernel.LANCZOS3, 6),
        (Kernel.LANCZOS5, 10),
        (Kernel.BILINEAR, 2),
        (Kernel.NEAREST, 1),
    ):
        pixels = np.full((80, 80), 3.0)
        pixels[40, 41] = np.nan
        source = make_source(pixels, make_tan(x=40.0, y=40.0))
        grid = TargetGrid(make_tan(x=40.3, y=40.4), Box.factory[15:65, 15:65])
        found = resample(source, grid, kernel=kernel)
        hole = np.isnan(found.masked_image.image.array)
        assert hole.sum() == side**2
        assert hole.any(axis=0).sum() == hole.any(axis=1).sum() == side
        np.testing.assert_array_equal(found.masked_image.mask.get("NO_DATA"), hole)
        np.testing.assert_array_equal(np.isnan(found.masked_image.variance.array), hole)
        np.testing.assert_array_equal(found.coverage.array, ~hole)


def test_renormalising_fills_holes_and_edges() -> None:
    pixels = np.full((80, 80), 3.0)
    pixels[40, 41] = np.nan
    source = make_source(pixels, make_tan(x=40.0, y=40.0), variance=np.full((80, 80), 4.0))
    source.mask.set("BAD")
    grid = TargetGrid(make_tan(x=40.3, y=40.4), Box.factory[-5:85, -5:85])
    found = resample(source, grid, missing_rule=MissingRule.RENORMALISE)
    values, coverage = found.masked_image.image.array, found.coverage.array
    np.testing.assert_allclose(values[np.isfinite(values)], 3.0, rtol=1e-6)
    # As many as the source has pixels, less the one on the NaN and one in a
    # corner, where a third of the weight is left.
    assert np.isfinite(values).sum() == 80**2 - 2
    assert np.isnan(values[45, 46])
    np.testing.assert_array_equal(coverage > 0, np.isfinite(values))
    assert coverage.max() == 1.0
    assert 0.5 <= coverage[coverage > 0].min() < 0.99
    np.testing.assert_array_equal(found.masked_image.mask.get("BAD")[coverage > 0], True)


def test_mask_comes_from_two_by_two_and_edges_from_all_taps() -> None:
    source = make_source(np.zeros((60, 60)), make_tan(x=30.0, y=30.0))
    for plane in ("BAD", "DETECTION_EDGE"):
        spot = np.zeros((60, 60), bool)
        spot[30, 31] = True
        source.mask.set(plane, spot)
    grid = TargetGrid(make_tan(x=30.3, y=30.4), Box.factory[10:50, 10:50])
    mask = resample(source, grid).masked_image.mask
    assert [mask.get("BAD").sum(), mask.get("DETECTION_EDGE").sum()] == [4, 36]
    mask = resample(source, grid, mask_rule=MaskRule.NEAREST).masked_image.mask
    assert [mask.get("BAD").sum(), mask.get("DETECTION_EDGE").sum()] == [1, 36]
    assert mask.get("BAD")[30 - 10, 31 - 10]
    # A shift along x alone: no weight above or below, whatever the rounding of y.
    straight = TargetGrid(make_tan(x=30.5, y=30.0), Box.factory[10:50, 10:50])
    mask = resample(source, straight).masked_image.mask
    assert mask.get("BAD").sum() == 2


def test_parts_of_a_grid_have_the_bits_of_the_whole() -> None:
    source, grid = noisy_source(), tilted_grid(shape=(160, 190), x=-100, y=-90)
    whole = resample(source, grid)
    for missing in MissingRule:
        whole = resample(source, grid, missing_rule=missing)
        for y, x in ((-90, -100), (-57, -33), (-1, 5)):
            box = Box.factory[y : y + 60, x : x + 71]
            part = resample(source, TargetGrid(grid.sky_projection, box), missing_rule=missing)
            assert_same_bits(part.masked_image, whole.masked_image[box])
            assert part.coverage.array.tobytes() == whole.coverage[box].array.tobytes()


@pytest.mark.parametrize("scale", [0.2, 0.5])
def test_threads_do_not_change_a_bit(scale: float) -> None:
    source, grid = noisy_source(), tilted_grid(shape=(200, 200), x=-100, y=-100, scale=scale)
    one, four = resample(source, grid), resample(source, grid, threads=4)
    assert_same_bits(one.masked_image, four.masked_image)
    assert one.coverage.array.tobytes() == four.coverage.array.tobytes()


@pytest.mark.parametrize("n_planes", [3, 20, 31, 40, 63])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_masks_of_any_width(n_planes: int, dtype: type) -> None:
    schema = MaskSchema([MaskPlane(f"P{i}", "A plane.") for i in range(n_planes)], dtype=dtype)
    source = make_source(np.zeros((40, 40)), make_tan(x=20.0, y=20.0), schema=schema)
    rows, columns = np.indices((40, 40))
    for i in range(n_planes):
        source.mask.set(f"P{i}", (columns == 8 + i % 24) & (rows == 20))
    if n_planes == 63 and dtype is np.int32:
        # Signed elements hold one plane less.
        with pytest.raises(UnsupportedProductError, match="planes in 12 bytes; at most 8"):
            resample(source, TargetGrid(make_tan(x=20.5, y=20.0), Box.factory[5:35, 5:35]))
        return
    found = resample(source, TargetGrid(make_tan(x=20.5, y=20.0), Box.factory[5:35, 5:35])).masked_image.mask
    assert found.schema.names == {*schema.names, "NO_DATA"}
    for i in range(n_planes):
        expected = [8 + i % 24 - 5, 8 + i % 24 - 4]
        assert np.flatnonzero(found.get(f"P{i}")[15]).tolist() == expected
        assert found.get(f"P{i}").sum() == 2


def test_other_pixel_types_and_tiny_images() -> None:
    source = noisy_source()
    grid = tilted_grid()
    other = MaskedImage(
        Image(
            source.image.array.astype(">f8"),
            bbox=source.bbox,
            unit=u.nJy,
            sky_projection=source.sky_projection,
        ),
        mask=source.mask,
        variance=Image(np.asfortranarray(source.variance.array), bbox=source.bbox, unit=u.nJy**2),
    )
    assert_same_bits(resample(other, grid).masked_image, resample(source, grid).masked_image)
    tiny = make_source(np.full((2, 3), 5.0), make_tan())
    spot = TargetGrid(make_tan(rotation=20.0), Box.factory[-4:5, -4:5])
    with pytest.raises(NoCoverageError, match="gives no pixel of the grid"):
        resample(tiny, spot)
    found = resample(tiny, spot, missing_rule=MissingRule.RENORMALISE).masked_image.image.array
    assert np.isfinite(found).sum() in {5, 6, 7}
    np.testing.assert_allclose(found[np.isfinite(found)], 5.0, rtol=1e-5)


def test_inputs_are_read_only() -> None:
    source = noisy_source()
    before = source.copy()
    for array in (source.image.array, source.variance.array, source.mask.array):
        array.flags.writeable = False
    resample(source, tilted_grid())
    assert_same_bits(source, before)


def test_errors() -> None:
    source, grid = noisy_source(), tilted_grid()
    bare = make_source(np.zeros((20, 20)), make_tan())
    lost = MaskedImage(Image(bare.image.array, bbox=bare.bbox), mask=Mask(schema=SCHEMA, bbox=bare.bbox))
    with pytest.raises(InputDataError, match=r"pixels .* has no sky projection"):
        resample(lost, grid)
    far = TargetGrid.from_center(
        SkyCoord(200.0, -40.0, unit=u.deg), pixel_scale=0.2 * u.arcsec, shape=(50, 50)
    )
    with pytest.raises(
        NoCoverageError, match=r"around 149\.\d+ 1\.\d+ deg gives no pixel of the grid .* around 200"
    ):
        resample(source, far)
    beside = TargetGrid(source.sky_projection, Box.factory[5000:5010, 0:10])
    with pytest.raises(NoCoverageError, match="gives no pixel"):
        resample(source, beside)
    huge = TargetGrid(grid.sky_projection, Box.factory[0:100000, 0:100000])
    with pytest.raises(RequestTooLargeError, match="has 10000000000 pixels; at most 1073741824"):
        resample(source, huge)
    with pytest.raises(RequestError, match=r"tolerance must be positive, not 0\.0 pixels"):
        resample(source, grid, tolerance_px=0.0)
    with pytest.raises(RequestError, match="threads must be positive, not 0"):
        resample(source, grid, threads=0)
