"""Light curves and residuals as pictures."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from lsst.images import Box
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lsst.dax.image.errors import RequestError
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.forced import ResidualStamp
from lsst.dax.image.plotting import plot_light_curve, plot_residual_stamps


def make_table() -> QTable:
    table = QTable()
    table["id"] = np.array([4, 4, 4, 4, 5])
    table["band"] = np.array(["r", "g", "r", "r", "r"])
    table["mjd"] = [60003.0, 60001.0, 60002.0, 60000.0, 60000.0] * u.d
    table["flux"] = [1000.0, 2000.0, 20.0, np.nan, 7.0] * u.nJy
    table["flux_err"] = [50.0, 60.0, 40.0, 50.0, 1.0] * u.nJy
    table["flags"] = [FLAGS["EDGE"].value, 0, 0, FLAGS["NO_PSF"].value, 0]
    return table


def test_each_band_has_its_fluxes_and_limits_their_arrows() -> None:
    figure = plot_light_curve(make_table(), target_id=4)
    FigureCanvasAgg(figure).draw()
    above, below = figure.axes
    drawn = {
        container.get_label(): container.lines[0].get_xydata().tolist()
        for container in above.containers
        if not container.get_label().startswith("_")
    }
    assert drawn["r"] == [[60003.0, 1000.0]]
    assert drawn["g"] == [[60001.0, 2000.0]]
    # The faint flux is drawn pale, with an arrow at five of its sigmas.
    (arrow,) = above.texts
    assert arrow.xy == (60002.0, 200.0)
    (flagged,) = [line for line in above.lines if line.get_label() == "flagged"]
    assert flagged.get_xydata().tolist() == [[60003.0, 1000.0]]
    magnitudes = sorted(
        y for container in below.containers for y in container.lines[0].get_ydata() if np.isfinite(y)
    )
    assert np.allclose(magnitudes, 31.4 - 2.5 * np.log10([2000.0, 1000.0]))
    assert below.yaxis_inverted()
    assert above.get_ylabel() == "Flux [nJy]"
    assert "TAI" in below.get_xlabel()


def test_a_picture_shows_one_target() -> None:
    with pytest.raises(RequestError, match="2 targets; a picture shows one"):
        plot_light_curve(make_table())
    with pytest.raises(RequestError, match="Target 6 has no flux"):
        plot_light_curve(make_table(), target_id=6)


def test_residuals_are_in_standard_deviations() -> None:
    data = np.full((5, 5), 3.0)
    data[0, 0] = np.nan
    stamp = ResidualStamp(
        id=3,
        bbox=Box.factory[10:15, 20:25],
        x=22.0,
        y=12.0,
        data=data,
        model=np.ones((5, 5)),
        sigma=np.full((5, 5), 0.5),
        unit=u.nJy,
        label="25 ± 1 nJy",
    )
    figure = plot_residual_stamps([stamp])
    FigureCanvasAgg(figure).draw()
    data_panel, model_panel, residual_panel = figure.axes[:3]
    assert [axes.get_title() for axes in figure.axes[:3]] == ["data", "model", "residual"]
    assert np.nanmax(residual_panel.images[0].get_array()) == 4.0
    assert data_panel.images[0].norm is model_panel.images[0].norm
    assert "25 ± 1 nJy" in data_panel.get_ylabel()
    with pytest.raises(RequestError, match="no stamps"):
        plot_residual_stamps([])
