"""Galleries: order, labels and one scale for all stamps."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import astropy.io.fits
import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time
from astropy.wcs import WCS
from lsst.images import GeneralFrame, Image, Mask, MaskPlane, MaskSchema, SkyProjection
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.testing import assert_allclose
from tests.support.scenes import BOX, CENTER, make_image, make_masked_image, make_sky_projection
from tests.support.testdata import testdata

from lsst.dax.image.cutouts import Stamp, make_stamps
from lsst.dax.image.errors import InconsistentUnitsError, RequestError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.plotting import Stretch, plot_gallery


@pytest.fixture(autouse=True)
def _no_figure_of_pyplot() -> Iterator[None]:
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


def make_stamp(time: Time | None = None, *, value: float | None = None, **changes: Any) -> Stamp:
    image = make_masked_image()
    if value is not None:
        image.image.array[...] = value
    (stamp,) = make_stamps(image, CENTER, size=11, time=time)
    return dataclasses.replace(stamp, **changes)


def panels(figure: Any) -> list[Any]:
    """Return the panels of the stamps in reading order, without the colour bar."""
    return [axes for axes in figure.axes if axes.get_title()]


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in panels(figure)]


def draw(figure: Any) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, :3].astype(int)


def test_stamps_are_in_time_order_and_those_without_time_last() -> None:
    days = [60003.5, 60001.25, 60002.0]
    stamps = [make_stamp(None), *(make_stamp(Time(day, format="mjd", scale="tai")) for day in days)]
    figure = plot_gallery(stamps, columns=2)
    assert titles(figure) == [
        "2023-02-26 06:00 TAI\nOK",
        "2023-02-27 00:00 TAI\nOK",
        "2023-02-28 12:00 TAI\nOK",
        "no time\nOK",
    ]
    draw(figure)
    corners = [(axes.get_position().y0, axes.get_position().x0) for axes in panels(figure)]
    assert corners[0][0] == pytest.approx(corners[1][0], abs=1e-6)
    assert corners[0][0] > corners[2][0], "the second row is below the first"
    assert corners[0][1] < corners[1][1]


def test_times_of_several_scales_are_compared_as_instants() -> None:
    # TAI is 37 s ahead of UTC: 12:00:00 UTC is 12:00:37 TAI.
    utc = make_stamp(Time("2025-01-01T12:00:00", scale="utc"))
    tai = make_stamp(Time("2025-01-01T12:00:20", scale="tai"))
    assert titles(plot_gallery([utc, tai])) == ["2025-01-01 12:00 TAI\nOK", "2025-01-01 12:00 UTC\nOK"]


def test_stamps_of_one_time_are_in_the_order_of_their_targets() -> None:
    stamps = [make_stamp(index=index) for index in (2, 0, 1)]
    assert titles(plot_gallery(stamps)) == ["no time\n#0 · OK", "no time\n#1 · OK", "no time\n#2 · OK"]


def test_failed_stamps_are_boxes_with_their_status() -> None:
    time = Time(60000.0, format="mjd", scale="tai")
    positions = SkyCoord([CENTER.ra.deg + 1.0, np.nan], [CENTER.dec.deg, 0.0], unit=u.deg)
    failed = make_stamps(make_masked_image(), positions, size=11, time=time)
    unread = make_stamp(time, image=None, index=2, flags=FLAGS["READ_FAILED"].value | FLAGS["EDGE"].value)
    figure = plot_gallery([*failed, unread])
    assert [title.split("\n")[1] for title in titles(figure)] == [
        "#0 · NO_COVERAGE",
        "#1 · BAD_POSITION",
        "#2 · EDGE,READ_FAILED",
    ]
    inside = [[text.get_text() for text in panel.texts] for panel in panels(figure)]
    assert inside == [["NO_COVERAGE"], ["BAD_POSITION"], ["EDGE\nREAD_FAILED"]]
    assert all(not panel.images for panel in panels(figure))
    assert figure.axes == panels(figure), "no colour bar without pixels"
    draw(figure)


def test_stamp_over_the_edge_is_drawn_and_says_so() -> None:
    corner = make_sky_projection().pixel_to_sky(x=BOX.x.min, y=BOX.y.min)
    figure = plot_gallery(make_stamps(make_masked_image(), corner, size=11))
    assert titles(figure) == ["no time\nEDGE"]
    assert len(panels(figure)[0].images) == 1
    draw(figure)


def test_all_stamps_share_one_scale() -> None:
    faint, bright = make_stamp(value=1.0), make_stamp(value=100.0, index=1)
    figure = plot_gallery([bright, faint], stretch=Stretch.ZSCALE)
    norms = [panel.images[0].norm for panel in panels(figure)]
    assert norms[0] is norms[1]
    drawn = draw(figure)
    shade = []
    for panel in panels(figure):
        column, row = panel.transAxes.transform((0.2, 0.2)).astype(int)
        shade.append(int(drawn[row, column, 0]))
    assert shade == [0, 255]
    (bar,) = (axes for axes in figure.axes if axes not in panels(figure))
    assert bar.get_ylabel() == "nJy per pixel"


def test_target_is_where_the_dashes_point() -> None:
    position = make_sky_projection().pixel_to_sky(x=1050.3, y=77.8)
    (stamp,) = make_stamps(make_masked_image(), position, size=21)
    (panel,) = panels(plot_gallery([stamp]))
    to_right, upward = (line.get_xydata() for line in panel.get_lines())
    assert_allclose(to_right[:, 1], 77.8, atol=1e-6)
    assert_allclose(upward[:, 0], 1050.3, atol=1e-6)
    assert np.all(to_right[:, 0] > 1050.3 + 1.5), "the target's own pixels stay free"
    assert np.all(upward[:, 1] > 77.8 + 1.5)
    assert stamp.bbox is not None
    assert panel.get_xlim() == (stamp.bbox.x.min - 0.5, stamp.bbox.x.max + 0.5)
    assert panel.get_ylim() == (stamp.bbox.y.min - 0.5, stamp.bbox.y.max + 0.5), "first row at the bottom"


def test_first_row_of_a_stamp_is_at_the_bottom() -> None:
    stamp = make_stamp(value=0.0)
    assert stamp.bbox is not None
    stamp.image.image.array[0, 0] = 1.0
    figure = plot_gallery([stamp])
    drawn = draw(figure)
    (panel,) = panels(figure)
    ((column, row), (_, top_row)) = panel.transData.transform(
        [(stamp.bbox.x.min, stamp.bbox.y.min), (stamp.bbox.x.min, stamp.bbox.y.max)]
    ).astype(int)
    assert row < top_row
    assert drawn[row, column].tolist() == [255, 255, 255]
    assert drawn[top_row, column].tolist() == [0, 0, 0]


def test_band_is_shown_where_the_data_id_has_one() -> None:
    from lsst.daf.butler import DataCoordinate, DimensionUniverse

    universe = DimensionUniverse()
    visit = DataCoordinate.standardize(instrument="LSSTCam", visit=1, detector=2, universe=universe)
    coadd = DataCoordinate.standardize(skymap="s", tract=1, patch=2, band="i", universe=universe)
    stamps = [make_stamp(ref=SimpleNamespace(dataId=data_id)) for data_id in (visit, coadd)]
    assert titles(plot_gallery(stamps)) == ["no time\nOK", "no time\ni · OK"]


def test_any_iterable_and_any_image_will_do() -> None:
    figure = plot_gallery(iter(make_stamps(make_image(), CENTER, size=5)), title="One stamp")
    assert len(panels(figure)) == 1
    assert figure.get_suptitle() == "One stamp"


def test_unused_places_of_the_last_row_are_blank() -> None:
    figure = plot_gallery([make_stamp(index=index) for index in range(4)], columns=3)
    assert len(panels(figure)) == 4
    assert sum(not axes.axison for axes in figure.axes) == 2


def test_stamps_without_any_value_are_drawn() -> None:
    draw(plot_gallery([make_stamp(value=np.nan), make_stamp(value=np.inf, index=1)]))


def test_stamps_of_several_units_are_refused() -> None:
    other = Image(np.ones((5, 5)), unit=u.adu)
    with pytest.raises(InconsistentUnitsError, match=r"\['adu', 'nJy'\]"):
        plot_gallery([make_stamp(), make_stamp(image=other)])


def test_masks_are_refused() -> None:
    mask = Mask(schema=MaskSchema([MaskPlane("BAD", "Bad.")]), bbox=BOX)
    with pytest.raises(RequestError, match="stamp 3 is a Mask"):
        plot_gallery([make_stamp(image=mask, index=3)])


def test_empty_gallery_is_refused() -> None:
    with pytest.raises(RequestError, match="got 0 stamps, 6 columns"):
        plot_gallery([])
    with pytest.raises(RequestError, match="got 1 stamps, 0 columns"):
        plot_gallery([make_stamp()], columns=0)


def test_missing_matplotlib_is_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(RequestError, match="'matplotlib', which is not installed"):
        plot_gallery([make_stamp()])


def test_real_alert_stamps_have_their_source_at_the_mark() -> None:
    alerts = Table.read(testdata("A_rubin_alerts/alerts.csv"))
    alerts.sort("snr", reverse=True)
    static = [
        row for row in alerts if str(row["visit"]).startswith("2025") and str(row["isDipole"]) == "False"
    ][:3]
    stamps = []
    for row in static:
        path = testdata(f"A_rubin_alerts/stamps/{row['diaSourceId']}_difference.fits")
        header, pixels = astropy.io.fits.getheader(path), astropy.io.fits.getdata(path)
        wcs = WCS(header)
        wcs.wcs.ctype, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], ["deg", "deg"]
        projection = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))
        image = Image(pixels.astype(float), unit=u.nJy, sky_projection=projection)
        position = SkyCoord(row["ra"], row["dec"], unit=u.deg)
        time = Time(row["midpointMjdTai"], format="mjd", scale="tai")
        stamps += make_stamps(image, position, size=25, time=time)
    figure = plot_gallery(stamps)
    draw(figure)
    for panel in panels(figure):
        to_right, upward = (line.get_xydata() for line in panel.get_lines())
        (drawn,) = panel.images
        row, column = np.unravel_index(np.nanargmax(drawn.get_array()), drawn.get_array().shape)
        left, _, bottom, _ = drawn.get_extent()
        peak = (left + 0.5 + column, bottom + 0.5 + row)
        assert_allclose(peak, [upward[0, 0], to_right[0, 1]], atol=1.5)
