"""What cannot be meant is refused, and what is meant is found."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from lsst.daf.butler import Butler
from tests.support.mosaics import assert_same_bits, make_grid, make_part

from lsst.dax.image.errors import NoCoverageError, RequestError
from lsst.dax.image.geometry import CircleStencil
from lsst.dax.image.mosaics import (
    BackgroundMatch,
    Combine,
    MosaicRules,
    Orientation,
    Overlap,
    VarianceRule,
    fetch_mosaic,
    fetch_mosaic_psf,
    find_mosaic_grid,
    make_mosaic,
    write_mosaic,
)
from lsst.dax.image.repository import fetch_geometry, find_datasets
from lsst.dax.image.resampling import FluxConvention, Kernel, MaskRule, MissingRule

CHOICES = {
    "overlap": Overlap.COMBINE,
    "combine": Combine.MEDIAN,
    "variance": VarianceRule.INDEPENDENT,
    "background": BackgroundMatch.NONE,
    "kernel": Kernel.NEAREST,
    "mask_rule": MaskRule.NEAREST,
    "missing_rule": MissingRule.RENORMALISE,
    "flux_convention": FluxConvention.SURFACE_BRIGHTNESS,
}


def test_choices_are_given_by_member_or_value() -> None:
    by_value = {name: choice.value for name, choice in CHOICES.items()}
    assert MosaicRules(**by_value) == MosaicRules(**CHOICES)
    assert MosaicRules(**by_value).background is BackgroundMatch.NONE


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_no_choice_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match=rf"The option {name} is one of .*, not 'other'"):
        MosaicRules(**{name: "other"})


def test_rules_that_say_nothing_are_refused() -> None:
    for feather in (np.nan, 2.5, True, "3"):
        with pytest.raises(RequestError, match="feathered over a whole number of pixels, not"):
            MosaicRules(feather_px=feather)
    for option in ("exclude_planes", "background_exclude"):
        with pytest.raises(RequestError, match=rf"{option} is several names, such as \('BAD',\), not 'BAD'"):
            MosaicRules(**{option: "BAD"})
    grid = make_grid((5, 5))
    part = make_part(grid.bbox, grid.sky_projection)
    with pytest.raises(RequestError, match=r"said by MosaicRules, not by \{'combine': 'mean'\}"):
        make_mosaic([part], grid, rules={"combine": "mean"})
    with pytest.raises(
        RequestError, match=r"mask planes \['SATURATD'\] .* there are \['BAD', 'EDGE', 'NO_DATA'\]"
    ):
        make_mosaic([part], grid, rules=MosaicRules(exclude_planes=("BAD", "SATURATD")))


def test_a_mosaic_without_a_value_is_refused(mini_butler: Butler, tmp_path: Path) -> None:
    grid = make_grid((5, 5))
    with pytest.raises(NoCoverageError, match="None of 1 images gives a value to any of the 5 x 5 pixels"):
        make_mosaic([make_part(grid.bbox, grid.sky_projection, value=np.nan)], grid)
    ref = find_datasets(mini_butler, "visit_image", bands=["r"])[0]
    geometry = fetch_geometry(mini_butler, ref)
    # A pixel next to the edge, where the kernel finds no footprint.
    corner = geometry.sky_projection.pixel_to_sky(x=0.0, y=0.0)
    small = find_mosaic_grid([geometry], stencil=CircleStencil(corner, 0.1 * u.arcsec), rotation=30 * u.deg)
    with pytest.raises(NoCoverageError, match="None of 1 images gives a value"):
        fetch_mosaic(mini_butler, [ref], small)
    with pytest.raises(NoCoverageError, match="None of 1 images gives a value"):
        write_mosaic(mini_butler, [ref], small, tmp_path / "none.fits")
    assert not list(tmp_path.iterdir())


def test_datasets_are_one_or_many_or_a_type(mini_butler: Butler, tmp_path: Path) -> None:
    refs = find_datasets(mini_butler, "deep_coadd", bands=["r"])
    grid = find_mosaic_grid([fetch_geometry(mini_butler, ref) for ref in refs])
    whole = fetch_mosaic(mini_butler, refs, grid)
    found = fetch_mosaic(mini_butler, "deep_coadd", grid, bands=["r"])
    assert found.inputs["dataset"].tolist() == [ref.id.hex for ref in refs]
    assert_same_bits(found.masked_image, whole.masked_image)
    one = fetch_mosaic(mini_butler, refs[0], grid)
    assert one.inputs["dataset"].tolist() == [refs[0].id.hex]
    assert len(fetch_mosaic_psf(mini_butler, refs[0], one).find_shares(x=1000, y=1000)) == 1
    circle = CircleStencil(grid.center, 3 * u.arcsec)
    written = write_mosaic(mini_butler, "deep_coadd", circle, tmp_path / "m.fits", bands="r")
    assert set(written.inputs["dataset"]) <= {ref.id.hex for ref in refs}


def test_datasets_that_are_none_are_refused(mini_butler: Butler) -> None:
    refs = find_datasets(mini_butler, "deep_coadd")
    grid = find_mosaic_grid([fetch_geometry(mini_butler, ref) for ref in refs])
    several = r"of the bands g, .*r.*; a mosaic is made of one band, as bands='g'"
    with pytest.raises(RequestError, match=several):
        fetch_mosaic(mini_butler, refs, grid)
    with pytest.raises(RequestError, match=several):
        fetch_mosaic(mini_butler, "deep_coadd", grid)
    with pytest.raises(
        RequestError, match=r"\['r'\] narrow the search for a dataset type; datasets are given"
    ):
        fetch_mosaic(mini_butler, refs[:1], grid, bands=["r"])
    with pytest.raises(RequestError, match="made of DatasetRefs, not of 3"):
        fetch_mosaic(mini_butler, [3], grid)
    with pytest.raises(
        NoCoverageError, match=r"No 'deep_coadd' dataset of the bands \['r'\] overlaps CIRCLE"
    ):
        fetch_mosaic(mini_butler, "deep_coadd", make_grid((9, 9)), bands=["r"])


@pytest.mark.parametrize("background", [BackgroundMatch.LEVEL, BackgroundMatch.PLANE])
def test_no_background_is_found_where_there_is_none(mini_butler: Butler, background: BackgroundMatch) -> None:
    refs = find_datasets(mini_butler, "visit_image", bands=["r"])
    grid = find_mosaic_grid([fetch_geometry(mini_butler, ref) for ref in refs])
    rules = {"overlap": "combine", "variance": "independent"}
    plain = fetch_mosaic(mini_butler, refs, grid, rules=MosaicRules(**rules))
    matched = fetch_mosaic(mini_butler, refs, grid, rules=MosaicRules(background=background, **rules))
    # Pixels have a noise of 18 nJy, and overlaps some tens of thousands of them: 0.2 nJy each.
    assert np.abs(matched.inputs["background"].to_value(u.nJy)).max() < 1.0
    for name in ("background_x", "background_y"):
        assert np.abs(matched.inputs[name].to_value(u.nJy / u.pix)).max() < 0.01
    changed = matched.masked_image.image.array - plain.masked_image.image.array
    assert np.nanmax(np.abs(changed)) < 4.0


def test_a_source_in_one_image_does_not_change_the_background() -> None:
    grid = make_grid((120, 120))
    rng = np.random.default_rng(24)
    images = [
        make_part(grid.bbox, grid.sky_projection, value=rng.normal(level, 1.0, (120, 120)), dtype=np.float64)
        for level in (0.0, 3.0)
    ]
    y, x = np.indices((120, 120))
    images[1].image.array[...] += 1e4 * np.exp(-0.5 * ((x - 40) ** 2 + (y - 80) ** 2) / 4**2)
    images[1].image.array[:10, :10] -= 1e5
    rules = MosaicRules(overlap=Overlap.COMBINE, background=BackgroundMatch.PLANE)
    inputs = make_mosaic(images, grid, rules=rules).inputs
    found = [np.diff(inputs[name].value)[0] for name in ("background", "background_x", "background_y")]
    # The noise of a difference is 1.4, of 14 400 pixels 0.012, of their slopes 0.0003.
    np.testing.assert_allclose(found, [3.0, 0.0, 0.0], atol=0.06)
    assert np.abs(found[1:]).max() < 0.0015
    assert inputs["background_x"].unit == u.nJy / u.pix
    assert "next along x" in inputs["background_x"].info.description


def test_all_sources_count_where_they_are_everywhere() -> None:
    grid = make_grid((30, 30))
    images = [make_part(grid.bbox, grid.sky_projection, value=v, planes=("EDGE",)) for v in (1.0, 5.0)]
    rules = {"overlap": "combine", "background": "level"}
    found = make_mosaic(images, grid, rules=MosaicRules(background_exclude=("EDGE",), **rules)).inputs
    assert found["background"].value.tolist() == [0.0, 0.0]
    found = make_mosaic(images, grid, rules=MosaicRules(background_exclude=(), **rules)).inputs
    np.testing.assert_allclose(found["background"].value, [-2.0, 2.0])


@pytest.mark.parametrize("turn", [20.0, -35.0])
def test_a_grid_along_the_images_is_the_smallest(turn: float) -> None:
    turned = make_grid((200, 400), rotation=turn * u.deg)
    north = find_mosaic_grid([turned], rotation="north")
    along = find_mosaic_grid([turned], rotation=Orientation.IMAGES)
    assert tuple(along.shape) == (200, 400)
    assert north.bbox.area > 1.5 * along.bbox.area
    # The y axes of both are one: a step along it is the same step on the sky.
    steps = [
        each.sky_projection.pixel_to_sky(
            x=np.full(2, each.bbox.x.center), y=each.bbox.y.center + np.array([0, 50])
        )
        for each in (turned, along)
    ]
    angles = [step[0].position_angle(step[1]).wrap_at(180 * u.deg).deg for step in steps]
    np.testing.assert_allclose(angles, turn, atol=0.01)
    with pytest.raises(RequestError, match=r"The option rotation is one of .*, not 'best'"):
        find_mosaic_grid([turned], rotation="best")
