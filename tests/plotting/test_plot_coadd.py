"""Pictures of a coadd and of its inputs."""

from __future__ import annotations

import uuid

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from lsst.images import Box
from tests.support.scenes import make_sky_projection

from lsst.dax.image.coadds import Coadd, CoaddInputs, InputKey, Recipe, Statistic, Warp, make_coadd
from lsst.dax.image.errors import RequestError
from lsst.dax.image.plotting import plot_coadd, plot_inputs

pytest.importorskip("matplotlib")

BOX = Box.factory[100:160, 40:120]
PLANES = ("NO_DATA", "BAD", "SATURATED", "CLIPPED", "REJECTED", "SENSOR_EDGE", "INEXACT_PSF")
MEAN = Recipe(name="some_mean", statistic=Statistic.MEAN)


def make_some_coadd(number: int, *, sigma: float = 1.7) -> Coadd:
    """Return the mean of images of noise, without the left quarter."""
    rng = np.random.default_rng(8)
    r2 = np.sum((np.indices((41, 41)) - 20) ** 2, axis=0)
    psf = np.exp(-0.5 * r2 / sigma**2)
    warps = []
    for index in range(number):
        image = rng.normal(size=BOX.shape).astype(np.float32)
        image[:, :20] = np.nan
        warps.append(
            Warp(
                key=InputKey("Camera", 900 + index, 3, uuid.UUID(int=index)),
                bbox=BOX,
                image=image,
                variance=np.where(np.isfinite(image), 1.0, np.nan).astype(np.float32),
                mask=np.zeros(BOX.shape, np.uint32),
                planes=PLANES,
                weight=1.0 + index,
                psf=psf / psf.sum(),
            )
        )
    return make_coadd(warps, make_sky_projection(bbox=BOX), recipe=MEAN)


def read_table(figure: object) -> list[list[str]]:
    """Return the rows of the table in a figure, the head first."""
    (table,) = [table for axes in figure.axes for table in axes.tables]  # type: ignore[attr-defined]
    cells = table.get_celld()
    rows, columns = (1 + max(key[i] for key in cells) for i in (0, 1))
    return [[cells[row, column].get_text().get_text() for column in range(columns)] for row in range(rows)]


@pytest.mark.parametrize("number", [1, 3, 30])
def test_the_panels_show_the_coadd_its_psf_and_its_inputs(number: int) -> None:
    coadd = make_some_coadd(number)
    figure = coadd.plot()
    figure.canvas.draw()
    panels = {axes.get_title(): axes.get_images()[0] for axes in figure.axes if axes.get_title()}
    assert list(panels)[:2] == ["Image", "Inputs behind each pixel"]
    shown = np.ma.filled(np.ma.masked_invalid(panels["Image"].get_array()), np.nan)
    np.testing.assert_allclose(shown, coadd.image.image.array)
    counts = panels["Inputs behind each pixel"].get_array()
    assert (counts[:, 20:] == number).all()
    assert np.ma.masked_invalid(counts)[:, :20].mask.all()
    assert panels["Image"].get_extent() == [39.5, 119.5, 99.5, 159.5]
    (title,) = [title for title in panels if title.startswith("PSF")]
    # The test projection has pixels of 0.2 arcsec.
    assert float(title.split()[2]) == pytest.approx(1.7 * 2.3548 * 0.2, abs=0.02)
    rows = read_table(figure)[1:]
    assert len(rows) == min(number, 14)
    # The largest shares, in the order of the visits.
    assert [int(row[0]) for row in rows] == list(range(900 + number - len(rows), 900 + number))
    total = number * (number + 1) / 2
    assert float(rows[-1][-1]) == pytest.approx(100.0 * number / total, abs=0.06)
    more = [text.get_text() for axes in figure.axes for text in axes.texts if "more" in text.get_text()]
    assert more == (["and 16 more of smaller shares"] if number == 30 else [])
    assert figure.get_suptitle() == f"some_mean: {number} input{'s' if number > 1 else ''}"


def test_a_table_of_no_rows_is_refused() -> None:
    with pytest.raises(RequestError, match="one row or more, not 0"):
        plot_coadd(make_some_coadd(1), max_rows=0)


def make_inputs(reasons: list[str], fwhm: list[float], weight: list[float]) -> CoaddInputs:
    table = QTable(
        {
            "is_used": np.array([reason == "" for reason in reasons]),
            "reason": np.array(reasons),
            "fwhm": fwhm * u.arcsec,
            "weight": u.Quantity(weight, u.nJy**-2),
        }
    )
    return CoaddInputs(MEAN, None, table, (), ())  # type: ignore[arg-type]


def test_points_and_bars_count_every_image() -> None:
    inputs = make_inputs(
        ["", "not_best", "seeing", "seeing", "band"],
        [0.8, 0.9, 1.9, 2.0, np.nan],
        [4.0, 3.0, 2.0, 1.0, np.nan],
    )
    figure = inputs.plot()
    figure.canvas.draw()
    points, bars = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in points.get_lines()}
    assert drawn == {
        "goes in": [[0.8, 4.0]],
        "not best": [[0.9, 3.0]],
        "seeing": [[1.9, 2.0], [2.0, 1.0]],
    }
    assert points.get_title(loc="left") == "1 more, whose seeing or weight is not known"
    labels = [label.get_text() for label in bars.get_yticklabels()]
    assert labels == ["goes in", "seeing", "not best", "band"]
    assert [bar.get_width() for bar in bars.patches] == [1, 2, 1, 1]
    assert figure.get_suptitle() == "some_mean: 1 of 5 images go in"
    colors = {line.get_label(): line.get_color() for line in points.get_lines()}
    assert len(set(colors.values())) == 3


def test_inputs_without_any_seeing_are_counted() -> None:
    figure = plot_inputs(make_inputs(["band", "band"], [np.nan] * 2, [np.nan] * 2), title="Nothing")
    figure.canvas.draw()
    assert [bar.get_width() for bar in figure.axes[1].patches] == [0, 2]
    assert figure.get_suptitle() == "Nothing"
