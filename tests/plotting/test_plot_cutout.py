"""The picture of a cutout: every pixel where and of the colour that it should be."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.visualization.wcsaxes import WCSAxes
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.testing import assert_allclose
from tests.support.scenes import BOX, CENTER, make_sky_projection, make_wcs
from tests.support.testdata import testdata

from lsst.dax.image.cutouts import Cutout, Detail, EdgePolicy, make_cutout
from lsst.dax.image.errors import RequestError
from lsst.dax.image.geometry import CircleStencil, PixelBoxStencil
from lsst.dax.image.plotting import DEFAULT_MASK_PLANES, Stretch, plot_cutout

PART = Box.factory[50:70, 1030:1054]  # 20 rows, 24 columns
STAR = (1037, 54)  # x, y
PLANES = ("BAD", "SATURATED", "DETECTED", "MY_PLANE")


@pytest.fixture(autouse=True)
def _no_figure_of_pyplot() -> Any:
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


def make_scene(dtype: type = np.float32) -> MaskedImage:
    """Return a dark image with one bright pixel and an empty mask."""
    image = Image(
        np.zeros(BOX.shape, dtype=dtype), bbox=BOX, unit=u.nJy, sky_projection=make_sky_projection()
    )
    image.array[STAR[1] - BOX.y.min, STAR[0] - BOX.x.min] = 100
    schema = MaskSchema([MaskPlane(name, f"Plane {name}.") for name in PLANES])
    return MaskedImage(image, mask_schema=schema)


def cut(image: Any, *, detail: Detail = Detail.MASKED_IMAGE) -> Cutout:
    return make_cutout(image, PixelBoxStencil(PART), detail=detail)


def grid_off(axes: Any) -> None:
    for helper in axes.coords:
        helper.grid(draw_grid=False)


def render(axes: Any) -> np.ndarray:
    """Return the drawn figure, bottom row first, so that rows are display y."""
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(int)


def shades(axes: Any, bbox: Box = PART) -> np.ndarray:
    """Return the drawn colour at the centre of each pixel, shape (rows, columns, 3)."""
    drawn = render(axes)
    y, x = np.mgrid[bbox.y.min : bbox.y.max + 1, bbox.x.min : bbox.x.max + 1]
    # Beside the exact centre, where no grid line of a test runs.
    at = axes.transData.transform(np.stack([x.ravel() + 0.02, y.ravel() + 0.02], axis=-1)).astype(int)
    return drawn[at[:, 1], at[:, 0]].reshape(*bbox.shape, 3)


def legend_texts(axes: Any) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def test_bright_pixel_is_at_its_parent_coordinates() -> None:
    axes = plot_cutout(cut(make_scene()))
    grid_off(axes)
    bright = np.argwhere(shades(axes).min(axis=-1) > 250)
    # The compass and the scale bar are white, too, in the two lower corners.
    row, column = STAR[1] - PART.y.min, STAR[0] - PART.x.min
    assert [row, column] in bright.tolist()
    upper = bright[bright[:, 0] > 3]
    assert upper.tolist() == [[row, column]]


def test_first_row_is_at_the_bottom() -> None:
    scene = make_scene()
    scene.image.array[...] = np.arange(BOX.shape[0])[:, None]
    axes = plot_cutout(cut(scene))
    grid_off(axes)
    middle = shades(axes)[:, 10, 0]
    assert np.all(np.diff(middle) > 0), "values grow with y"
    low, high = axes.transData.transform([(1040, PART.y.min), (1040, PART.y.max)])[:, 1]
    assert low < high


def test_sky_coordinates_of_a_pixel_are_those_of_the_projection() -> None:
    axes = plot_cutout(cut(make_scene()))
    # Independent of the library: astropy's WCS of 0-based parent pixels.
    sky = make_wcs().pixel_to_world(*STAR)
    to_data = axes.get_transform("icrs") - axes.transData
    assert_allclose(to_data.transform([[sky.ra.deg, sky.dec.deg]]), [STAR], atol=1e-5)
    assert axes.wcs.pixel_to_world(*STAR).separation(sky).arcsec < 1e-6


def test_axes_show_the_area_of_the_pixels() -> None:
    axes = plot_cutout(cut(make_scene()))
    assert axes.get_xlim() == (1029.5, 1053.5)
    assert axes.get_ylim() == (49.5, 69.5)
    render(axes)
    (left, bottom), (right, top) = axes.transData.transform([(1030, 50), (1050, 60)])
    assert (right - left) / (top - bottom) == pytest.approx(2.0)
    assert [helper.get_axislabel() for helper in axes.coords] == [
        "Right ascension (ICRS)",
        "Declination (ICRS)",
    ]


def test_mask_colors_the_flagged_pixels_alone() -> None:
    scene = make_scene()
    flagged = np.zeros(BOX.shape, dtype=bool)
    flagged[24:31, 40:44] = True  # rows 54 to 60, columns 1040 to 1043 of the parent
    scene.mask.set("SATURATED", flagged)
    axes = plot_cutout(cut(scene))
    colors = shades(axes)
    colorful = np.ptp(colors, axis=-1) > 20
    part = flagged[20:40, 30:54]
    assert np.array_equal(colorful, part)
    red, _, blue = colors[part].mean(axis=0)
    assert red > 2 * blue
    assert legend_texts(axes) == ["SATURATED (28 px)"]


def test_overlay_lets_the_image_through() -> None:
    scene = make_scene()
    scene.mask.set("DETECTED")
    axes = plot_cutout(cut(scene))
    row, column = STAR[1] - PART.y.min, STAR[0] - PART.x.min
    colors = shades(axes)
    assert colors[row, column].sum() > colors[row, column + 1].sum() + 200


def test_default_planes_are_the_documented_ones_that_are_set() -> None:
    scene = make_scene()
    for plane in ("BAD", "DETECTED", "MY_PLANE"):
        scene.mask.set(plane)
    assert "MY_PLANE" not in DEFAULT_MASK_PLANES
    axes = plot_cutout(cut(scene))
    assert legend_texts(axes) == ["DETECTED (480 px)", "BAD (480 px)"]
    assert legend_texts(plot_cutout(cut(scene), mask_planes=())) == []


def test_planes_that_are_asked_for_are_in_the_legend_even_if_empty() -> None:
    axes = plot_cutout(cut(make_scene()), mask_planes=["MY_PLANE", "BAD"])
    assert legend_texts(axes) == ["MY_PLANE (0 px)", "BAD (0 px)"]


def test_plane_has_one_color_in_all_pictures() -> None:
    scene = make_scene()
    for plane in PLANES:
        scene.mask.set(plane)
    alone = plot_cutout(cut(scene), mask_planes=["BAD"]).get_legend().get_patches()[0]
    among = plot_cutout(cut(scene), mask_planes=["MY_PLANE", "DETECTED", "BAD"]).get_legend().get_patches()
    assert alone.get_facecolor() == among[2].get_facecolor()
    assert len({patch.get_facecolor() for patch in among}) == 3


def test_unknown_plane_is_refused_with_both_sides() -> None:
    with pytest.raises(RequestError, match=r"\['SAT'\]: the MaskedImage has .*'BAD', 'DETECTED', 'MY_PLANE'"):
        plot_cutout(cut(make_scene()), mask_planes=["BAD", "SAT"])
    with pytest.raises(RequestError, match=r"\['BAD'\]: the Image has no mask"):
        plot_cutout(cut(make_scene(), detail=Detail.IMAGE), mask_planes=["BAD"])
    with pytest.raises(RequestError, match="not as the string 'BAD'"):
        plot_cutout(cut(make_scene()), mask_planes="BAD")


def test_mask_alone_is_drawn_without_a_color_bar() -> None:
    mask = make_scene().mask
    mask.set("BAD", np.eye(*BOX.shape, dtype=bool))
    mask = Mask(mask.array, schema=mask.schema, bbox=BOX, sky_projection=make_sky_projection())
    axes = plot_cutout(cut(mask))
    assert axes.figure.axes == [axes]
    colorful = np.ptp(shades(axes), axis=-1) > 20
    assert np.array_equal(colorful, np.eye(*BOX.shape, dtype=bool)[20:40, 30:54])


def test_color_bar_says_the_unit() -> None:
    axes = plot_cutout(cut(make_scene()))
    (bar,) = (other for other in axes.figure.axes if other is not axes)
    assert bar.get_ylabel() == "nJy per pixel"
    scene = make_scene()
    bare = Image(scene.image.array, bbox=BOX, sky_projection=make_sky_projection())
    (bar,) = plot_cutout(cut(bare)).figure.axes[1:]
    assert bar.get_ylabel() == "no unit"


@pytest.mark.parametrize("stretch", list(Stretch))
@pytest.mark.parametrize("filling", ["some", "all"])
def test_pixels_without_a_value_have_a_color_of_their_own(stretch: Stretch, filling: str) -> None:
    scene = make_scene()
    scene.image.array[...] = np.random.default_rng(1).normal(size=BOX.shape)
    scene.image.array[26:30, 38:42] = np.nan
    scene.image.array[26, 38] = np.inf
    if filling == "all":
        scene.image.array[...] = np.nan
    axes = plot_cutout(cut(scene), stretch=stretch)
    grid_off(axes)
    dark_violet = np.all(shades(axes) == [0x33, 0x20, 0x3F], axis=-1)
    assert dark_violet[6:10, 8:12].all()
    assert dark_violet.sum() == 16 if filling == "some" else dark_violet.sum() > 400


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_any_pixel_type_can_be_drawn(dtype: type) -> None:
    axes = plot_cutout(cut(make_scene(dtype)))
    grid_off(axes)
    row, column = STAR[1] - PART.y.min, STAR[0] - PART.x.min
    assert shades(axes)[row, column].min() > 250


def test_outline_of_a_circle_is_drawn_around_its_pixels() -> None:
    cutout = make_cutout(make_scene(), CircleStencil(CENTER, 2 * u.arcsec))
    axes = plot_cutout(cutout)
    (line,) = axes.get_lines()
    x, y = line.get_data()
    radius_px = np.hypot(x - BOX.x.center, y - BOX.y.center)
    assert_allclose(radius_px, 10.0, rtol=1e-4)
    assert axes.get_xlim() == (cutout.bbox.x.min - 0.5, cutout.bbox.x.max + 0.5)


def test_padded_cutout_is_drawn() -> None:
    corner = make_scene().sky_projection.pixel_to_sky(x=BOX.x.min, y=BOX.y.min)
    cutout = make_cutout(make_scene(), CircleStencil(corner, 2 * u.arcsec), edge=EdgePolicy.PAD)
    axes = plot_cutout(cutout)
    assert axes.get_xlim()[0] < BOX.x.min - 5
    assert legend_texts(axes)[0].startswith("NO_DATA")
    render(axes)


def test_scale_bar_spans_the_angle_that_it_says() -> None:
    axes = plot_cutout(make_cutout(make_scene(), PixelBoxStencil(BOX)))
    (bar,) = (artist for artist in axes.artists if isinstance(artist, AnchoredSizeBar))
    width = bar.size_bar.get_children()[0].get_width()
    assert bar.txt_label.get_text() == "5″"
    ends = make_wcs().pixel_to_world([1060, 1060 + width], [80, 80])
    assert ends[0].separation(ends[1]).arcsec == pytest.approx(5.0, rel=1e-4)


def test_compass_stays_within_the_picture() -> None:
    for rotation in (0, 90, 180, 270):
        scene = make_scene()
        projection = make_sky_projection(rotation=rotation * u.deg)
        image = Image(scene.image.array, bbox=BOX, sky_projection=projection)
        axes = plot_cutout(cut(image))
        render(axes)
        letters = {text.get_text(): text for text in axes.texts if text.get_text()}
        assert letters.keys() == {"N", "E"}
        frame = axes.get_window_extent()
        for text in letters.values():
            box = text.get_window_extent()
            assert frame.x0 <= box.x0 < box.x1 <= frame.x0 + 0.3 * frame.width
            assert frame.y0 <= box.y0 < box.y1 <= frame.y0 + 0.3 * frame.height


def test_own_axes_are_used() -> None:
    figure = Figure(figsize=(9, 4))
    left, right = (figure.add_subplot(1, 2, index, axes_class=WCSAxes) for index in (1, 2))
    assert plot_cutout(cut(make_scene()), axes=left, title="left") is left
    assert plot_cutout(cut(make_scene()), axes=right, mask_planes=[], title="right") is right
    assert [left.get_title(), right.get_title()] == ["left", "right"]
    sky = make_wcs().pixel_to_world(*STAR)
    to_data = right.get_transform("icrs") - right.transData
    assert_allclose(to_data.transform([[sky.ra.deg, sky.dec.deg]]), [STAR], atol=1e-5)


def test_plain_axes_are_refused() -> None:
    axes = Figure().add_subplot()
    with pytest.raises(RequestError, match="needs astropy's WCSAxes, not Axes"):
        plot_cutout(cut(make_scene()), axes=axes)


def test_image_without_projection_is_refused() -> None:
    image = Image(np.zeros(BOX.shape), bbox=BOX)
    with pytest.raises(RequestError, match="the Image has none"):
        plot_cutout(cut(image))


def test_title_says_which_dataset_it_is() -> None:
    ref = SimpleNamespace(
        datasetType=SimpleNamespace(name="deep_coadd"),
        dataId=SimpleNamespace(required={"band": "g", "tract": 5428, "patch": 76}),
    )
    cutout = cut(make_scene())
    assert plot_cutout(cutout).get_title() == ""
    cutout = Cutout(cutout.image, cutout.pixels, cutout.header, ref)
    assert plot_cutout(cutout).get_title() == "deep_coadd\nband g, tract 5428, patch 76"
    assert plot_cutout(cutout, title="").get_title() == ""


def test_cutout_draws_itself() -> None:
    axes = cut(make_scene()).plot(title="me", stretch=Stretch.ZSCALE)
    assert axes.get_title() == "me"
    assert isinstance(axes, WCSAxes)


def test_missing_matplotlib_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequestError, match=r"'matplotlib', which is not installed; .*lsst-dax-image\[plot\]"):
        plot_cutout(cut(make_scene()))


def test_real_coadd_is_drawn_with_its_mask() -> None:
    from lsst.daf.butler import Butler

    from lsst.dax.image.cutouts import fetch_cutout

    run = "LSSTCam/runs/DRP/DP2/v30_0_8/DM-55060/deep_coadd_rewrite/20260612T200929Z"
    with Butler.from_config(testdata("C_rubin_dp2_butler"), collections=run) as butler:
        data_id = {"skymap": "lsst_cells_v2", "tract": 5428, "patch": 76, "band": "g"}
        ref = butler.find_dataset("deep_coadd", data_id)
        cutout = fetch_cutout(butler, ref, PixelBoxStencil(Box.factory[20:60, 140:180]))
    axes = plot_cutout(cutout)
    counts = {name: int(cutout.image.mask.get(name).sum()) for name in ("NO_DATA", "DETECTED")}
    for name, count in counts.items():
        assert f"{name} ({count} px)" in legend_texts(axes)
    assert axes.get_title().startswith("deep_coadd\n")
    render(axes)
