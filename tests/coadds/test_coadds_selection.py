"""Which images a coadd takes: cuts, weights, and the best of a cell, by numbers made by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st
from lsst.images import ObservationSummaryStats

from lsst.dax.image.coadds import (
    Best,
    Criterion,
    PsfQuality,
    Rejection,
    Selection,
    Weighting,
    choose_for_cell,
    find_rank,
    find_weight,
    judge_conditions,
    judge_identity,
    measure_conditions,
)

from ..support.testdata import testdata

# One count is 2 nJy; the PSF has a sigma of 2 pixels of 0.2 arcsec.
STATISTICS = {
    "psfSigma": 2.0,
    "psfArea": 50.0,
    "pixelScale": 0.2,
    "zenithDistance": 60.0,
    "expTime": 30.0,
    "zeroPoint": 31.4 - 2.5 * math.log10(2.0),
    "skyBg": 1000.0,
    "skyNoise": 32.0,
    "meanVar": 1100.0,
    "effTime": 20.0,
    "nPsfStar": 40,
    "psfStarDeltaE1Median": 0.003,
    "psfStarDeltaE2Median": 0.004,
    "psfStarScaledDeltaSizeScatter": 0.01,
    "psfTraceRadiusDelta": 0.3,
    "psfApFluxDelta": 0.1,
    "psfApCorrSigmaScaledDelta": 0.05,
    "starEMedian": 0.1,
}


def conditions(**changes):
    return measure_conditions(ObservationSummaryStats(**{**STATISTICS, **changes}))


def test_statistics_in_natural_units():
    found = conditions()
    assert found.fwhm_arcsec == pytest.approx(2.3548200450309493 * 2.0 * 0.2)
    assert found.nanojansky_per_count == pytest.approx(2.0)
    assert found.sky_variance_njy2 == pytest.approx(1100.0 * 4.0)
    assert found.sky_njy_per_arcsec2 == pytest.approx(1000.0 * 2.0 / 0.04)
    assert found.airmass == pytest.approx(2.0)  # the secant of 60 deg
    assert found.effective_time_s == 20.0
    assert found.ellipticity_residual == pytest.approx(0.005)
    # The flux of a Gaussian PSF of area A has the variance A times that of a pixel.
    flux = 5.0 * math.sqrt(4400.0 * 50.0)
    assert found.depth_mag == pytest.approx(31.4 - 2.5 * math.log10(flux))


def test_the_exposure_time_is_in_the_zero_point_already():
    assert conditions(expTime=15.0).sky_variance_njy2 == conditions(expTime=30.0).sky_variance_njy2


def test_a_real_image_is_as_deep_as_its_pipeline_said():
    path = testdata("C_rubin_dp_fixtures/visit_image/visit_image-1.0.0-dp2.json")
    tree = json.loads(path.read_text())
    found = measure_conditions(ObservationSummaryStats.model_validate(tree["summary_stats"]))
    # The pipeline's limit is from sky and read noise, this one from the mean variance.
    assert found.depth_mag == pytest.approx(tree["summary_stats"]["magLim"], abs=0.02)
    # An independent measure of the same: its variance plane, in nJy**2.
    plane = np.array(tree["variance"]["data"]["value"]["data"])
    assert found.sky_variance_njy2 == pytest.approx(float(np.median(plane)), rel=0.06)
    assert found.airmass == pytest.approx(tree["obs_info"]["boresight_airmass"], rel=0.04)


@pytest.mark.parametrize("value", [math.nan, -1.0, 0.0, math.inf])
@pytest.mark.parametrize("name", ["psfSigma", "psfArea", "pixelScale", "meanVar", "effTime", "zeroPoint"])
def test_what_is_no_number_is_nan_and_not_an_error(name, value):
    found = conditions(**{name: value if name != "zeroPoint" else value * 1e9})
    lost = {
        "psfSigma": "fwhm_arcsec",
        "psfArea": "depth_mag",
        "pixelScale": "fwhm_arcsec",
        "meanVar": "sky_variance_njy2",
        "effTime": "effective_time_s",
        "zeroPoint": "nanojansky_per_count",
    }[name]
    if name != "zeroPoint" or value != 0.0:
        assert math.isnan(getattr(found, lost))


def test_an_image_from_below_the_horizon_has_no_airmass():
    assert math.isnan(conditions(zenithDistance=90.0).airmass)
    assert math.isnan(conditions(zenithDistance=math.nan).airmass)


@pytest.mark.parametrize(
    ("passes", "fails", "reason", "text"),
    [
        ({"max_fwhm_arcsec": 0.95}, {"max_fwhm_arcsec": 0.94}, Rejection.SEEING, "FWHM is 0.9419 arcsec"),
        (
            {"max_sky_njy_per_arcsec2": 50001.0},
            {"max_sky_njy_per_arcsec2": 49999.0},
            Rejection.SKY_LEVEL,
            "sky is 5e+04 nJy/arcsec2",
        ),
        ({"min_depth_mag": 22.97}, {"min_depth_mag": 22.98}, Rejection.DEPTH, "depth is 22.97 mag"),
        ({"max_airmass": 2.001}, {"max_airmass": 1.999}, Rejection.AIRMASS, "airmass is 2; at most 1.999"),
        (
            {"min_effective_time_s": 20.0},
            {"min_effective_time_s": 20.1},
            Rejection.EFFECTIVE_TIME,
            "effective time is 20 s; at least 20.1 s",
        ),
    ],
)
def test_each_limit_lies_where_it_is_set(passes, fails, reason, text):
    assert judge_conditions(Selection(**passes), conditions()) is None
    verdict = judge_conditions(Selection(**fails), conditions())
    assert verdict.reason is reason
    assert text in verdict.text


@pytest.mark.parametrize(
    ("limit", "changes", "name"),
    [
        ({"max_fwhm_arcsec": 9.0}, {"psfSigma": math.nan}, "FWHM"),
        ({"max_sky_njy_per_arcsec2": 1e9}, {"skyBg": math.nan}, "sky"),
        ({"min_depth_mag": 1.0}, {"psfArea": math.nan}, "depth"),
        ({"max_airmass": 9.0}, {"zenithDistance": math.nan}, "airmass"),
        ({"min_effective_time_s": 1.0}, {"effTime": math.nan}, "effective time"),
        ({"best": Best(criterion="seeing", number=1)}, {"psfSigma": math.nan}, "seeing"),
    ],
)
def test_what_is_not_known_does_not_pass_a_limit_on_it(limit, changes, name):
    verdict = judge_conditions(Selection(**limit), conditions(**changes))
    assert verdict.reason is Rejection.UNKNOWN
    assert verdict.text.startswith(f"{name} is not known")
    assert judge_conditions(Selection(), conditions(**changes)) is None


@pytest.mark.parametrize(
    ("cut", "limit", "statistic"),
    [
        ("max_ellipticity_residual", 0.0049, "psfStarDeltaE1Median"),
        ("max_scaled_size_scatter", 0.0099, "psfStarScaledDeltaSizeScatter"),
        ("max_trace_radius_delta_px", 0.29, "psfTraceRadiusDelta"),
        ("max_aperture_flux_delta", 0.09, "psfApFluxDelta"),
        ("max_scaled_aperture_correction_delta", 0.049, "psfApCorrSigmaScaledDelta"),
        ("max_star_ellipticity", 0.09, "starEMedian"),
    ],
)
def test_each_cut_on_the_psf_rejects_by_its_own_statistic(cut, limit, statistic):
    assert judge_conditions(Selection(psf_quality=PsfQuality()), conditions()) is None
    tight = Selection(psf_quality=PsfQuality(**{cut: limit}))
    verdict = judge_conditions(tight, conditions())
    assert verdict.reason is Rejection.PSF_QUALITY
    assert f"at most {limit:g}" in verdict.text
    # What no statistic says is let pass.
    assert judge_conditions(tight, conditions(**{statistic: math.nan})) is None


def test_a_psf_from_few_stars_is_poor():
    selection = Selection(psf_quality=PsfQuality(min_stars=41))
    assert judge_conditions(selection, conditions()).text == (
        "the PSF model is from 40 stars; at least 41 are asked for"
    )
    assert judge_conditions(Selection(psf_quality=PsfQuality(min_stars=None)), conditions(nPsfStar=0)) is None


def test_weights_are_inverse_variances_in_nanojansky():
    assert find_weight(conditions(), Weighting.INVERSE_VARIANCE) == pytest.approx(1.0 / 4400.0)
    assert find_weight(conditions(), Weighting.POINT_SOURCE) == pytest.approx(1.0 / (4400.0 * 50.0))
    assert find_weight(conditions(), Weighting.EFFECTIVE_TIME) == 20.0
    assert find_weight(conditions(), Weighting.EQUAL) == 1.0


def test_weights_do_not_depend_on_the_unit_of_the_statistics():
    """An image in ADU of 1.6 electrons has other numbers and the same weight."""
    electrons = conditions()
    adu = conditions(
        meanVar=1100.0 / 1.6**2, skyBg=1000.0 / 1.6, zeroPoint=STATISTICS["zeroPoint"] - 2.5 * math.log10(1.6)
    )
    for weighting in Weighting:
        assert find_weight(adu, weighting) == pytest.approx(find_weight(electrons, weighting))
    assert adu.depth_mag == pytest.approx(electrons.depth_mag)
    assert adu.sky_njy_per_arcsec2 == pytest.approx(electrons.sky_njy_per_arcsec2)


@pytest.mark.parametrize(
    ("weighting", "changes", "reason"),
    [
        (Weighting.INVERSE_VARIANCE, {"meanVar": math.nan}, Rejection.UNKNOWN),
        (Weighting.INVERSE_VARIANCE, {"zeroPoint": math.nan}, Rejection.NO_SCALING),
        (Weighting.POINT_SOURCE, {"psfArea": math.nan}, Rejection.UNKNOWN),
        (Weighting.POINT_SOURCE, {"zeroPoint": math.nan}, Rejection.NO_SCALING),
        (Weighting.EFFECTIVE_TIME, {"effTime": 0.0}, Rejection.UNKNOWN),
    ],
)
def test_an_image_without_a_weight_does_not_go_in(weighting, changes, reason):
    verdict = judge_conditions(Selection(), conditions(**changes), weighting=weighting)
    assert verdict.reason is reason
    assert weighting.value in verdict.text
    assert judge_conditions(Selection(), conditions(**changes), weighting=Weighting.EQUAL) is None


def judge(selection, **changes):
    known = {"visit": 7, "band": "r", "day_obs": 20260310, "time": Time("2026-03-11T04:00:00", scale="tai")}
    return judge_identity(selection, **{**known, **changes})


@pytest.mark.parametrize(
    ("passes", "fails", "reason"),
    [
        ({"bands": ("g", "r")}, {"bands": ("g", "i")}, Rejection.BAND),
        ({"visits": (6, 7)}, {"visits": (6, 8)}, Rejection.NOT_LISTED),
        ({"exclude_visits": (6,)}, {"exclude_visits": (6, 7)}, Rejection.EXCLUDED),
        ({"day_obs": (20260310, 20260310)}, {"day_obs": (20260311, 20260320)}, Rejection.DAY_OBS),
        ({"begin": "2026-03-11T04:00:00"}, {"begin": "2026-03-11T04:00:00.001"}, Rejection.TIME),
        ({"end": "2026-03-11T04:00:00.001"}, {"end": "2026-03-11T04:00:00"}, Rejection.TIME),
    ],
)
def test_what_an_image_is_decides_first(passes, fails, reason):
    assert judge(Selection(**passes)) is None
    assert judge(Selection(**fails)).reason is reason


def test_times_are_compared_in_one_scale():
    # 37 leap seconds: midnight UTC is later than midnight TAI.
    selection = Selection(begin=Time("2026-03-11T04:00:00", scale="utc"))
    assert judge(selection).reason is Rejection.TIME
    assert judge(selection, time=Time("2026-03-11T04:00:37", scale="tai")) is None
    assert judge(selection, time=None).reason is Rejection.UNKNOWN


THIRD = Selection(best=Best(criterion=Criterion.SEEING, fraction=1 / 3))


def test_the_sharpest_third_of_nine_visits_are_three():
    ranks = [0.9, 0.7, 1.1, 0.8, 0.75, 1.2, 0.95, 1.0, 0.85]
    choice = choose_for_cell(THIRD, visits=range(9), bands=["r"] * 9, ranks=ranks)
    assert np.flatnonzero(choice.chosen).tolist() == [1, 3, 4]
    assert [choice.reasons[i] for i in (0, 1)] == [Rejection.NOT_BEST, None]


@pytest.mark.parametrize(
    ("criterion", "better", "worse"),
    [
        (Criterion.SEEING, {"psfSigma": 1.5}, {"psfSigma": 2.5}),
        (Criterion.DEPTH, {"meanVar": 900.0}, {"meanVar": 1300.0}),
        (Criterion.SKY_LEVEL, {"skyBg": 900.0}, {"skyBg": 1300.0}),
        (Criterion.EFFECTIVE_TIME, {"effTime": 25.0}, {"effTime": 15.0}),
        (Criterion.AIRMASS, {"zenithDistance": 30.0}, {"zenithDistance": 65.0}),
    ],
)
def test_a_better_image_has_a_smaller_rank(criterion, better, worse):
    ranks = [find_rank(conditions(**changes), criterion) for changes in (better, {}, worse)]
    assert ranks == sorted(set(ranks))


def test_visits_are_chosen_whole():
    """Two detectors of a visit go in together, where the better of them stands."""
    choice = choose_for_cell(
        Selection(best=Best(criterion="seeing", number=1)),
        visits=[1, 1, 2],
        bands=["r"] * 3,
        ranks=[1.5, 0.7, 0.8],
    )
    assert choice.chosen.tolist() == [True, True, False]


def test_each_band_has_its_best():
    choice = choose_for_cell(
        THIRD, visits=[1, 2, 3, 4, 5], bands=list("gggrr"), ranks=[3.0, 2.5, 2.9, 0.5, 0.4]
    )
    assert choice.chosen.tolist() == [False, True, False, False, True]


def test_a_cell_with_too_few_visits_stays_empty():
    selection = Selection(min_visits=3)
    choice = choose_for_cell(selection, visits=[1, 2, 2], bands=["r"] * 3, ranks=[0.0] * 3)
    assert choice.reasons == (Rejection.TOO_FEW,) * 3
    assert choose_for_cell(selection, visits=[1, 2, 3], bands=["r"] * 3, ranks=[0.0] * 3).chosen.all()
    assert choose_for_cell(selection, visits=[], bands=[], ranks=[]).chosen.size == 0


def test_of_visits_that_stand_alike_the_earlier_goes_in():
    choice = choose_for_cell(THIRD, visits=[9, 4, 6], bands=["r"] * 3, ranks=[1.0] * 3)
    assert choice.chosen.tolist() == [False, True, False]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from("gr"), st.floats(0.5, 2.0)), max_size=12),
    st.randoms(),
    st.integers(1, 3),
)
def test_the_order_of_the_images_does_not_matter(images, rng, min_visits):
    selection = Selection(best=Best(criterion="seeing", fraction=0.4, at_least=2), min_visits=min_visits)

    def choose(listed):
        visits, bands, ranks = zip(*listed, strict=True) if listed else ((), (), ())
        choice = choose_for_cell(selection, visits=visits, bands=bands, ranks=ranks)
        return sorted(image for image, chosen in zip(listed, choice.chosen, strict=True) if chosen)

    mixed = list(images)
    rng.shuffle(mixed)
    assert choose(mixed) == choose(images)
