"""All fluxes of positions on one image, as a table."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.time import Time
from lsst.images import Box, Image, MaskedImage
from lsst.images.fields import ChebyshevField
from lsst.images.psfs import GaussianPointSpreadFunction
from numpy.testing import assert_allclose, assert_array_equal
from tests.support.dp2 import COADD_ID, open_dp2
from tests.support.forced import BOX, add_stars, make_gaussian_stamps, make_star_image
from tests.support.scenes import SCALE

from lsst.dax.image.errors import (
    InconsistentUnitsError,
    MissingPsfError,
    RequestError,
    RequestTooLargeError,
    UnsupportedProductError,
)
from lsst.dax.image.flags import FLAGS, flag_names
from lsst.dax.image.forced import (
    ApertureRule,
    Background,
    ForcedOptions,
    Weights,
    find_mid_time,
    fit_psf_flux,
    measure,
    measured_columns,
)
from lsst.dax.image.forced.pixels import BAD_PLANES, extract_pixels
from lsst.dax.image.psfs import PsfNormalization

SIGMA = 1.7
PSF = GaussianPointSpreadFunction(SIGMA, bounds=BOX, stamp_size=25)
PLAIN = ForcedOptions(aperture_correction=None)


def make_scene(*, n: int = 12, noise: float = 3.0, seed: int = 1, pedestal: float = 0.0, unit=u.nJy):
    """Return an image with stars, their positions and true fluxes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:3, :4].reshape(2, -1)[:, :n]
    x = BOX.x.start + 25.0 + 42.0 * columns + rng.uniform(-3, 3, n)
    y = BOX.y.start + 30.0 + 48.0 * rows + rng.uniform(-3, 3, n)
    flux = 10 ** rng.uniform(2.5, 4.5, n)
    stamps = make_gaussian_stamps(x, y, sigma=SIGMA)
    model = add_stars(np.zeros(BOX.shape), stamps, flux, x0=BOX.x.start, y0=BOX.y.start) + pedestal
    image = make_star_image(model, noise=noise, rng=rng, unit=unit)
    positions = image.sky_projection.pixel_to_sky(x=x, y=y)
    return image, positions, x, y, flux


def test_each_position_has_a_row_with_the_flux_of_its_star() -> None:
    image, positions, x, y, flux = make_scene()
    table = measure(image, positions, psf=PSF, options=PLAIN)
    assert_allclose(table["x"].to_value(u.pix), x, atol=1e-6)
    assert_allclose(table["y"].to_value(u.pix), y, atol=1e-6)
    assert_allclose(table["ra"].to_value(u.deg), positions.icrs.ra.deg, rtol=1e-12)
    assert table["flux"].unit == table["flux_err"].unit == u.nJy
    assert_allclose(table["flux_err"].to_value(u.nJy), 3.0 * math.sqrt(4 * math.pi) * SIGMA, rtol=1e-3)
    pull = (table["flux"].to_value(u.nJy) - flux) / table["flux_err"].to_value(u.nJy)
    assert np.abs(pull).max() < 4.0
    assert_array_equal(table["flags"], 0)
    assert_array_equal(table["id"], np.arange(12))
    assert_allclose(table["snr"], table["flux"] / table["flux_err"], rtol=1e-12)
    # A Gaussian of sigma 1.7 pixels of 0.2 arcsec, and five sigma of its sky.
    assert_allclose(
        table["psf_fwhm"].to_value(u.arcsec), 2.35482 * SIGMA * SCALE.to_value(u.arcsec), rtol=1e-4
    )
    depth = 31.4 - 2.5 * np.log10(5 * table["flux_err_sky"].to_value(u.nJy))
    assert_allclose(table["depth"].to_value(u.mag), depth, rtol=1e-12)
    assert 0.7 < np.median(table["chi2"] / table["n_pixels"]) < 1.3
    assert not any(table[name].any() for name in table.colnames if name.startswith("pixel_"))


def test_the_image_is_not_changed() -> None:
    image, positions, *_ = make_scene()
    before = image.copy()
    options = ForcedOptions(radii=(3.0, 12.0), background=Background.ANNULUS, bad_planes=BAD_PLANES)
    measure(image, positions, psf=PSF, options=options, neighbours=positions[:0])
    assert_array_equal(image.image.array, before.image.array)
    assert_array_equal(image.variance.array, before.variance.array)
    assert_array_equal(image.mask.array, before.mask.array)


def test_subimages_and_blocks_give_the_same_fluxes(monkeypatch: pytest.MonkeyPatch) -> None:
    image, positions, *_ = make_scene()
    whole = measure(image, positions, psf=PSF, options=PLAIN)
    part = image[Box.factory[35:110, 1003:1110]]
    table = measure(part, positions, psf=PSF, options=PLAIN)
    complete = table["masked_fraction"] < 1e-9
    assert 2 <= complete.sum() < 12
    assert_allclose(table["flux"][complete], whole["flux"][complete], rtol=1e-12)
    monkeypatch.setattr("lsst.dax.image.forced._scene._BLOCK_BYTES", 1)
    many = measure(image, positions[np.arange(40) % 12], psf=PSF, options=PLAIN)
    assert_allclose(many["flux"], whole["flux"][np.arange(40) % 12], rtol=1e-12)


def test_positions_off_the_image_have_rows_and_reasons() -> None:
    image, *_ = make_scene()
    x = np.array([BOX.x.start + 50.0, BOX.x.start - 5.0, BOX.x.start + 3.0, BOX.x.start - 200.0])
    sky = image.sky_projection.pixel_to_sky(x=x, y=np.full(4, 100.0))
    table = Table(
        {"id": [5, 6, 7, 8, 9, 10], "ra": [*sky.ra.deg, np.nan, 20.0], "dec": [*sky.dec.deg, 0.0, -60.0]}
    )
    wide = GaussianPointSpreadFunction(SIGMA, bounds=BOX.padded(20), stamp_size=25)
    found = measure(image, table, psf=wide, options=dataclasses.replace(PLAIN, radii=(6.0,)))
    assert found["id"].tolist() == [5, 6, 7, 8, 9, 10]
    assert [flag_names(word) for word in found["flags"]] == [
        (),
        ("EDGE", "CENTER_OFF_IMAGE"),
        ("EDGE",),
        ("NO_COVERAGE", "CENTER_OFF_IMAGE"),
        ("BAD_POSITION",),
        ("NO_COVERAGE", "CENTER_OFF_IMAGE"),  # behind the tangent plane
    ]
    assert np.isnan(found["flux"]).tolist() == [False, False, False, True, True, True]
    assert np.isnan(found["ap_6_0_flux"]).tolist() == [False, True, True, True, True, True]
    assert found["ap_6_0_flags"][2] & FLAGS["APERTURE_TRUNCATED"].value
    # Where the model is not defined there is no flux.
    narrow = GaussianPointSpreadFunction(SIGMA, bounds=Box.factory[30:60, 1000:1020], stamp_size=25)
    undefined = measure(image, sky[:1], psf=narrow, options=PLAIN)
    assert flag_names(undefined["flags"][0]) == ("NO_PSF",)
    assert np.isnan(undefined["flux"][0])


def test_far_off_an_image_there_is_no_coverage_but_a_position() -> None:
    image, positions, *_ = make_scene()
    off = [positions[0].directional_offset_by(70 * u.deg, angle) for angle in (0.5, 2.0, 30.0, 120.0) * u.deg]
    found = measure(image, SkyCoord([*off, SkyCoord(np.nan, 0.0, unit=u.deg)]), psf=PSF, options=PLAIN)
    lost = ("NO_COVERAGE", "CENTER_OFF_IMAGE")
    assert [flag_names(word) for word in found["flags"]] == [lost] * 4 + [("BAD_POSITION",)]


def test_nothing_masked_is_a_fraction_of_zero() -> None:
    image, positions, *_ = make_scene()
    fraction = measure(image, positions, psf=PSF, options=PLAIN)["masked_fraction"]
    assert fraction.min() == 0.0
    assert fraction.max() < 1e-12


def test_aperture_corrections_may_be_given() -> None:
    image, positions, *_ = make_scene()
    field = ChebyshevField(image.bbox, np.array([[1.25]]))
    given = {"base_PsfFlux_instFlux": field}
    bare = measure(image, positions, psf=PSF, options=PLAIN)
    found = measure(image, positions, psf=PSF, aperture_corrections=given)
    assert_allclose(found["flux"], 1.25 * bare["flux"], rtol=1e-12)
    assert_allclose(found["aperture_correction"], 1.25)
    assert not found["flags"].any()


@pytest.mark.parametrize(
    "name, value",
    [
        ("weights", Weights.FLAT),
        ("background", Background.ANNULUS),
        ("aperture_rule", ApertureRule.EXACT),
        ("normalization", PsfNormalization.STAMP),
    ],
)
def test_choices_may_be_given_by_their_values(name: str, value: enum.Enum) -> None:
    assert ForcedOptions(**{name: value.value}) == ForcedOptions(**{name: value})
    with pytest.raises(RequestError, match=rf"The option {name} is one of .*, not 'nonsense'"):
        ForcedOptions(**{name: "nonsense"})


def test_options_given_by_value_measure_the_same() -> None:
    image, positions, *_ = make_scene(pedestal=7.0)
    texts = {"weights": "none", "background": "annulus", "aperture_rule": "sinc"}
    kinds = {
        "weights": Weights.NONE,
        "background": Background.ANNULUS,
        "aperture_rule": ApertureRule.SINC,
    }
    by_text, by_kind = (
        measure(image, positions, psf=PSF, options=dataclasses.replace(PLAIN, radii=[3.0], **some))
        for some in (texts, kinds)
    )
    for name in by_kind.colnames:
        assert_array_equal(by_text[name], by_kind[name], err_msg=name)
    assert_allclose(by_text["background"].value, 7.0, atol=1.0)


def test_radii_may_be_quantities_of_pixels() -> None:
    assert ForcedOptions(radii=[3, 4.5] * u.pix).radii == (3.0, 4.5)
    assert ForcedOptions(radii=[3 * u.pix, 4.5 * u.pix]) == ForcedOptions(radii=(3.0, 4.5))
    assert ForcedOptions(radii=np.array([3.0])).radii == (3.0,)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"radii": [1.0] * u.arcsec}, "numbers of pixels; got .*arcsec"),
        ({"radii": 3.0}, "list of numbers of pixels; got 3.0"),
        ({"radii": [3.0, -1.0]}, "positive numbers of pixels; got"),
        ({"radii": [np.nan]}, "positive numbers of pixels; got"),
        ({"radii": [3, 3.0]}, "columns of its own"),
        ({"stamp_size": 24}, "odd number of rows and columns; got 24"),
        ({"stamp_size": -1}, "odd number of rows and columns; got -1"),
        ({"stamp_size": 25.0}, "odd number of rows and columns; got 25.0"),
        ({"annulus": (5.0, 3.0)}, "got 5.0 and 3.0"),
        ({"footprint_scaling": np.nan}, "must be positive; got nan"),
        ({"match_radius": 1.0 * u.pix}, "an angle of zero or more; got 1.0 pix"),
        ({"bad_planes": "BAD"}, "in a list; got 'BAD'"),
    ],
)
def test_options_that_cannot_be_used_are_refused_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        ForcedOptions(**options)


def test_no_positions_give_an_empty_table_with_all_columns() -> None:
    image, positions, *_ = make_scene()
    options = ForcedOptions(radii=(3.0, 4.5))
    empty = measure(image, positions[:0], psf=PSF, options=options, neighbours=positions)
    full = measure(image, positions, psf=PSF, options=options, neighbours=positions)
    assert len(empty) == 0
    assert empty.colnames == full.colnames
    for name in full.colnames:
        assert empty[name].unit == full[name].unit
        assert full[name].info.dtype == empty[name].info.dtype
    expected = [column.name for column in measured_columns(radii=options.radii, has_joint=True)]
    assert full.colnames == [*expected, "visit", "detector", "band", "mjd", "exposure_time"]


def test_mask_planes_are_reported_around_and_at_the_centre() -> None:
    image, _, x, y, _ = make_scene()
    column, row = math.floor(x[0] + 0.5) - BOX.x.start, math.floor(y[0] + 0.5) - BOX.y.start
    marks = np.zeros(BOX.shape, dtype=bool)
    marks[row + 1, column - 1] = True
    image.mask.set("SATURATED", marks)
    marks = np.zeros(BOX.shape, dtype=bool)
    marks[row, column + 5] = True  # within three sigma = 5.1 pixels
    image.mask.set("COSMIC_RAY", marks)
    marks = np.zeros(BOX.shape, dtype=bool)
    marks[row, column + 7] = marks[row + 5, column + 5] = True
    image.mask.set("BAD", marks)
    image_x = BOX.x.start + column + 0.0
    at = image.sky_projection.pixel_to_sky(
        x=np.array([image_x, x[5]]), y=np.array([BOX.y.start + row + 0.0, y[5]])
    )
    table = measure(image, at, psf=PSF, options=PLAIN)
    assert table["pixel_saturated"].tolist() == [True, False]
    assert table["pixel_saturated_center"].tolist() == [True, False]
    assert table["pixel_cr"].tolist() == [True, False]
    assert table["pixel_cr_center"].tolist() == [False, False]
    assert table["pixel_bad"].tolist() == [False, False]


def test_bad_planes_are_used_by_default_and_dropped_on_request() -> None:
    image, positions, x, y, flux = make_scene(noise=1.0)
    column, row = math.floor(x[0] + 0.5) - BOX.x.start, math.floor(y[0] + 0.5) - BOX.y.start
    marks = np.zeros(BOX.shape, dtype=bool)
    marks[row, column] = True
    image.mask.set("SATURATED", marks)
    image.image.array[row, column] = 1e7
    image.image.array[row + 2, column] = np.nan
    used = measure(image, positions, psf=PSF, options=PLAIN)
    assert flag_names(used["flags"][0]) == ("NOT_FINITE",)
    dropped = measure(image, positions, psf=PSF, options=dataclasses.replace(PLAIN, bad_planes=BAD_PLANES))
    assert dropped["flags"][0] == 0
    assert_allclose(dropped["flux"][0].value, flux[0], atol=5 * dropped["flux_err"][0].value)
    assert 0.04 < dropped["masked_fraction"][0] < 0.1
    assert dropped["n_pixels"][0] == 623


@pytest.mark.parametrize("background", [Background.ANNULUS, Background.FIT])
def test_a_pedestal_is_taken_off_all_fluxes(background: Background) -> None:
    image, positions, *_, flux = make_scene(pedestal=500.0)
    options = dataclasses.replace(PLAIN, background=background, radii=(8.0,))
    table = measure(image, positions, psf=PSF, options=options)
    assert_allclose(table["background"].to_value(u.nJy / u.pix), 500.0, atol=2.0)
    assert np.all(table["background_n_pixels"] > 200)
    for name in ("flux", "ap_8_0_flux"):
        pull = (table[name].value - flux) / table[f"{name}_err"].value
        assert np.abs(pull).max() < 4.5


def test_weights_and_apertures_are_handed_on() -> None:
    image, positions, *_ = make_scene()
    flat = measure(image, positions, psf=PSF, options=dataclasses.replace(PLAIN, weights=Weights.FLAT))
    assert_array_equal(flat["flux_err"], flat["flux_err_sky"])
    sinc, exact = (
        measure(
            image, positions, psf=PSF, options=dataclasses.replace(PLAIN, radii=(3.0,), aperture_rule=rule)
        )
        for rule in (ApertureRule.SINC, ApertureRule.EXACT)
    )
    assert 0.003 < np.median(sinc["ap_3_0_flux"] / exact["ap_3_0_flux"]) - 1.0 < 0.03


def test_fluxes_are_calibrated_where_the_image_is_not() -> None:
    image, positions, *_ = make_scene(unit=u.electron)
    with pytest.raises(InconsistentUnitsError, match="image in electron without"):
        measure(image, positions, psf=PSF)
    scaling = 2.5 * u.nJy / u.electron
    table = measure(image, positions, psf=PSF, photometric_scaling=scaling, options=PLAIN)
    raw = fit_psf_flux(extract_pixels(image), make_gaussian_stamps(table["x"].value, table["y"].value))
    assert_allclose(table["flux"].to_value(u.nJy), 2.5 * raw.flux, rtol=1e-9)
    assert_allclose(table["flux_err"].to_value(u.nJy), 2.5 * raw.flux_err, rtol=1e-9)
    assert_array_equal(table["calibration"], 2.5)


def test_missing_aperture_correction_is_a_flag_and_no_failure() -> None:
    image, positions, *_ = make_scene()
    table = measure(image, positions, psf=PSF)
    assert {flag_names(word) for word in table["flags"]} == {("NO_APERTURE_CORRECTION",)}
    assert_array_equal(table["aperture_correction"], 1.0)


def test_joint_fit_takes_the_light_of_neighbours_off() -> None:
    rng = np.random.default_rng(7)
    x, y = np.array([1050.0, 1056.0, 1100.0]), np.array([100.0, 102.0, 100.0])
    stamps = make_gaussian_stamps(x, y, sigma=SIGMA)
    flux = np.array([500.0, 20_000.0, 800.0])
    image = make_star_image(
        add_stars(np.zeros(BOX.shape), stamps, flux, x0=BOX.x.start, y0=BOX.y.start), noise=2.0, rng=rng
    )
    sky = image.sky_projection.pixel_to_sky(x=x, y=y)
    # The catalogue of neighbours has the targets in it, too.
    table = measure(image, sky[[0, 2]], psf=PSF, options=PLAIN, neighbours=sky)
    assert table["joint_n_neighbours"].tolist() == [1, 0]
    pull = (table["joint_flux"].value - flux[[0, 2]]) / table["joint_flux_err"].value
    assert np.abs(pull).max() < 4.0
    assert (table["flux"][0].value - 500.0) / table["flux_err"][0].value > 20.0
    assert_allclose(table["joint_flux"][1], table["flux"][1], rtol=1e-7)
    # Of two Gaussians the fluxes have the correlation -exp(-d² / 4 sigma²).
    assert_allclose(table["joint_blend_correlation"], [math.exp(-40.0 / (4 * SIGMA**2)), 0.0], rtol=0.02)
    alone = measure(image, sky[[0, 2]], psf=PSF, options=PLAIN, neighbours=sky[:0])
    assert_allclose(alone["joint_flux"], alone["flux"], rtol=1e-7)


def test_moving_stars_and_objects_are_measured_where_they_are() -> None:
    image, positions, x, _, flux = make_scene(noise=0.5)
    epoch, time = Time(2016.0, format="jyear", scale="tdb"), Time(2026.0, format="jyear", scale="tdb")
    start = SkyCoord(positions.ra, positions.dec - 2.0 * u.arcsec)  # ten pixels off
    table = Table(
        {"ra": start.ra.deg, "dec": start.dec.deg, "pmra": np.zeros(12), "pmdec": np.full(12, 200.0)}
    )
    moved = measure(image, table, psf=PSF, options=PLAIN, epoch=epoch, time=time)
    assert_allclose(moved["x"].value, x, atol=1e-4)
    assert_allclose(moved["flux"].value, flux, atol=5 * moved["flux_err"].value.max())
    track = Table(
        {
            "time": [time.tai.mjd - 1.0, time.tai.mjd + 1.0],
            "ra": positions.ra.deg[0] + np.array([-0.01, 0.01]),
            "dec": positions.dec.deg[0] + np.array([0.005, -0.005]),
        }
    )
    found = measure(image, track, psf=PSF, options=PLAIN, time=time)
    assert_allclose(found["flux"].value, flux[0], rtol=0.02)
    assert_allclose(found["mjd"].to_value(u.day), time.tai.mjd)


def test_an_image_in_memory_has_no_visit() -> None:
    image, positions, *_ = make_scene()
    assert find_mid_time(image) is None
    table = measure(image, positions[:1], psf=PSF)
    assert (table["visit"][0], table["detector"][0], table["band"][0]) == (-1, -1, "")
    assert np.isnan(table["mjd"][0])


def test_visit_images_say_which_they_are_and_give_the_true_fluxes(mini_butler, mini_survey) -> None:
    ref = mini_butler.query_datasets("visit_image", limit=1)[0]
    image = mini_butler.get(ref)
    time = find_mid_time(image)
    truth = mini_survey.truth
    flux = mini_survey.truth_fluxes(image.band, time).to_value(u.nJy)
    positions = mini_survey.truth_positions(time)
    table = measure(image, positions, options=ForcedOptions(radii=(12.0,)), neighbours=positions)
    assert set(table["visit"]) == {ref.dataId["visit"]}
    assert set(table["detector"]) == {ref.dataId["detector"]}
    assert set(table["band"]) == {ref.dataId["band"]}
    begin = image.obs_info.datetime_begin.tai.mjd
    assert_allclose((table["mjd"][0].value - begin) * 86400, table["exposure_time"][0].value / 2, atol=0.01)
    good = (table["flags"] == 0) & (np.asarray(truth["kind"]) == "star")
    assert good.sum() >= 5
    pull = (table["joint_flux"].value - flux)[good] / table["joint_flux_err"].value[good]
    assert np.abs(np.median(pull)) < 1.0
    assert np.median(np.abs(pull)) < 1.5


def test_difference_images_give_the_change_of_flux(mini_butler, mini_survey) -> None:
    truth = mini_survey.truth
    point = np.asarray(truth["kind"]) != "galaxy"
    pulls = []
    for ref in mini_butler.query_datasets("difference_image", limit=6):
        image = mini_butler.get(ref)
        time = find_mid_time(image)
        table = measure(image, mini_survey.truth_positions(time))
        now, then = (mini_survey.truth_fluxes(image.band, t) for t in (time, mini_survey.template_time))
        moves = mini_survey.truth_positions(time).separation(
            mini_survey.truth_positions(mini_survey.template_time)
        )
        good = point & (table["flags"] == 0) & (moves < 0.01 * u.arcsec)
        pulls.append(((table["flux"] - (now - then)) / table["flux_err"]).value[good])
    pull = np.concatenate(pulls)
    assert pull.size > 50
    assert abs(np.median(pull)) < 4.0 * 1.25 / math.sqrt(pull.size)
    assert 0.7 < 1.4826 * np.median(np.abs(pull)) < 1.3


def test_cell_coadds_are_measured_where_they_have_cells(tmp_path) -> None:
    with open_dp2(tmp_path) as butler:
        image = butler.get("deep_coadd", COADD_ID)
    x = np.array([140.0, 159.4, 160.6])  # the cell from column 160 on is missing
    positions = image.sky_projection.pixel_to_sky(x=x, y=np.full(3, 40.0))
    table = measure(
        image, positions, options=ForcedOptions(bad_planes=("NO_DATA",), aperture_correction=None)
    )
    assert set(table["band"]) == {"g"}
    assert np.isfinite(table["psf_fwhm"][0])
    has_psf = (table["flags"] & FLAGS["NO_PSF"].value) == 0
    in_cell = np.array([image.psf.bounds.contains(x=round(value), y=40) for value in x])
    assert has_psf.tolist() == in_cell.tolist()
    assert table["pixel_nodata_center"].tolist()[1:] == [True, True]


def test_requests_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    image, positions, *_ = make_scene()
    with pytest.raises(MissingPsfError, match="MaskedImage has no point spread function"):
        measure(image, positions)
    with pytest.raises(RequestError, match=r"No mask plane is named \['SAT'\]; this image has \['BAD'"):
        measure(image, positions, psf=PSF, options=ForcedOptions(bad_planes=("SAT",)))
    with pytest.raises(RequestError, match=r"must be positive; got 0"):
        ForcedOptions(footprint_scaling=0)
    with pytest.raises(RequestError, match=r"columns of its own; got \(3\.0, 3\.0\)"):
        ForcedOptions(radii=(3.0, 3.0))
    bare = MaskedImage(
        Image(image.image.array, bbox=BOX, unit=u.nJy),
        mask=image.mask,
        variance=Image(image.variance.array, bbox=BOX, unit=u.nJy**2),
    )
    with pytest.raises(UnsupportedProductError, match="MaskedImage without a sky projection"):
        measure(bare, positions, psf=PSF)
    monkeypatch.setattr("lsst.dax.image.forced._joint_columns.MAX_MODEL_PIXELS", 5000)
    with pytest.raises(RequestTooLargeError, match=r"holds 5000 model pixels; 12 sources need 7500"):
        measure(image, positions, psf=PSF, neighbours=positions)


def test_aperture_corrections_multiply_flux_and_error() -> None:
    class CorrectedImage(MaskedImage):
        aperture_corrections = {  # noqa: RUF012
            "base_PsfFlux_instFlux": ChebyshevField(BOX, np.array([[1.1, 0.02]])),
            "base_CircularApertureFlux_6_0_instFlux": ChebyshevField(BOX, np.array([[1.3]])),
        }

    image, positions, x, *_ = make_scene()
    corrected = CorrectedImage(image.image, mask=image.mask, variance=image.variance)
    options = ForcedOptions(radii=(6.0, 9.0), aperture_rule=ApertureRule.EXACT)
    bare = measure(image, positions, psf=PSF, options=options, neighbours=positions)
    table = measure(corrected, positions, psf=PSF, options=options, neighbours=positions)
    factor = 1.1 + 0.02 * (x - BOX.x.center) / ((BOX.x.stop - BOX.x.start) / 2)
    assert_allclose(table["aperture_correction"], factor, rtol=1e-6)
    for name in ("flux", "flux_err", "flux_err_sky", "joint_flux", "joint_flux_err", "joint_blend_flux_err"):
        assert_allclose(table[name] / bare[name], factor, rtol=1e-6, err_msg=name)
    assert_allclose(table["snr"], bare["snr"], rtol=1e-10)
    for name, expected in (("ap_6_0_flux", 1.3), ("ap_6_0_flux_err", 1.3), ("ap_9_0_flux", 1.0)):
        assert_allclose(table[name] / bare[name], expected, rtol=1e-10, err_msg=name)
    assert not table["flags"].any()
    # Most kinds of aperture have no correction: the flag says which flux has none.
    assert not table["ap_6_0_flags"].any()
    assert (table["ap_9_0_flags"] == FLAGS["NO_APERTURE_CORRECTION"].value).all()
