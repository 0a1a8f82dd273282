"""The repository of raws: what a reduction finds in it."""

from __future__ import annotations

import dataclasses
import shutil

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from lsst.daf.butler import CollectionType, Timespan
from tests.support.raw_survey import shared_raw_survey

from lsst.dax.image.errors import DatasetNotFoundError, OutputError, RequestError
from lsst.dax.image.simulation import Effects, RawSurvey, SurveyConfig, make_raw_survey
from lsst.dax.image.simulation._calibration_files import CALIBRATION_TYPES
from lsst.dax.image.simulation._electronics import crop
from lsst.dax.image.simulation._raw_survey import CALIBRATION_COLLECTION, make_survey_sensor


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return shared_raw_survey(tmp_path_factory)


@pytest.fixture(scope="module")
def butler(survey):
    butler = survey.open()
    yield butler
    butler.close()


def key(survey, number=0, detector=0):
    return {"instrument": survey.instrument, "visit": survey.visits[number].visit, "detector": detector}


def raw_key(survey, number=0, detector=0):
    return {"instrument": survey.instrument, "exposure": survey.visits[number].visit, "detector": detector}


def test_every_visit_has_its_raws_and_images(survey, butler):
    expected = {(plan.visit, detector) for plan in survey.visits for detector in (0, 1)}
    raws = butler.query_datasets("raw")
    assert {(ref.dataId["exposure"], ref.dataId["detector"]) for ref in raws} == expected
    for collection in ("MiniCam/runs/originals", "MiniCam/runs/originals_lossy"):
        images = butler.query_datasets("visit_image", collections=collection)
        assert {(ref.dataId["visit"], ref.dataId["detector"]) for ref in images} == expected


@pytest.mark.parametrize("detector", [0, 1])
def test_raw_is_the_simulated_one_in_either_vendors_layout(survey, butler, detector):
    truth = survey.simulate(survey.visits[1], detector)
    raw = butler.get("raw", raw_key(survey, 1, detector))
    by_name = {amplifier.name: amplifier.pixels for amplifier in raw.amplifiers}
    for amplifier in survey.sensor(detector).amplifiers:
        pixels = by_name[f"Segment{amplifier.name[1:]}"]
        flip_x, flip_y = amplifier.flips
        pixels = pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        np.testing.assert_array_equal(pixels, crop(truth.counts, amplifier.raw_bbox))
    assert survey.sensor(detector).physical_type == ("E2V", "ITL")[detector]


def test_header_of_a_raw(survey, butler):
    plan = survey.visits[2]
    header = butler.get("raw.header", raw_key(survey, 2, 1))
    assert (header["INSTRUME"], header["RAFTBAY"], header["CCDSLOT"]) == ("MiniCam", "R00", "S01")
    assert int(header["DAYOBS"]) * 100_000 + header["SEQNUM"] == plan.visit
    assert header["FILTER"] == plan.physical_filter
    assert header["MJD-BEG"] == pytest.approx(plan.begin.tai.mjd, abs=1e-9)
    assert header["DARKTIME"] == 31.0


def test_calibrations_are_found_by_time(survey, butler):
    assert butler.collections.get_info(CALIBRATION_COLLECTION).type is CollectionType.CALIBRATION
    data_id = {"instrument": survey.instrument, "detector": 1}
    during = Timespan(survey.visits[0].begin, survey.visits[0].end)
    before = Timespan.fromInstant(survey.visits[0].begin - 1 * u.yr)
    collections = CALIBRATION_COLLECTION
    for name in set(CALIBRATION_TYPES) - {"flat"}:
        ref = butler.find_dataset(name, data_id, collections=collections, timespan=during)
        assert ref is not None
        assert ref.run == "MiniCam/calib/current"
        ref = butler.find_dataset(name, data_id, collections=collections, timespan=before)
        assert (ref is not None) == (name == "bias")
    assert butler.find_dataset("bias", data_id, collections=collections) is None


def test_outdated_bias_is_another(survey, butler):
    data_id = {"instrument": survey.instrument, "detector": 0}
    pixels = []
    for time in (survey.visits[0].begin, Time("2020-01-01", scale="tai")):
        ref = butler.find_dataset(
            "bias", data_id, collections=CALIBRATION_COLLECTION, timespan=Timespan.fromInstant(time)
        )
        with fits.open(butler.getURI(ref).ospath) as hdus:
            pixels.append(hdus["IMAGE"].data.copy())
    np.testing.assert_allclose(pixels[1] - pixels[0], 50.0, atol=1e-4)
    np.testing.assert_array_equal(pixels[0], survey.calibrations(0).bias.astype(np.float32))


def test_flat_goes_by_filter(survey, butler):
    plan = survey.visits[1]
    data_id = raw_key(survey, 1)
    uri = butler.getURI("flat", data_id, collections=CALIBRATION_COLLECTION)
    with fits.open(uri.ospath) as hdus:
        assert hdus[0].header["FILTER"] == plan.physical_filter


def test_calibration_is_a_place(survey, butler):
    uri = butler.get("ptc", raw_key(survey))
    assert uri == butler.getURI("ptc", raw_key(survey))
    assert uri.exists()


def test_original_names_its_calibrations(survey, butler):
    image = butler.get("visit_image", key(survey))
    for name in ("bias", "flat", "ptc", "electroBfDistortionMatrix"):
        ref = butler.find_dataset(
            name,
            raw_key(survey),
            collections=CALIBRATION_COLLECTION,
            timespan=Timespan.fromInstant(survey.visits[0].begin),
            physical_filter=survey.visits[0].physical_filter,
        )
        assert image.metadata[f"LSST CALIB UUID {name.upper()}"] == str(ref.id)
        assert image.metadata[f"LSST CALIB RUN {name.upper()}"] == "MiniCam/calib/current"
    assert "LSST CALIB UUID BFK" not in image.metadata


def test_original_has_small_pedestals(survey, butler):
    metadata = butler.get("visit_image", key(survey)).metadata
    names = [f"LSST ISR AMPOFFSET PEDESTAL {amplifier.name}" for amplifier in survey.sensor(0).amplifiers]
    values = np.array([metadata[name] for name in names])
    assert 0.0 < np.abs(values).max() < 0.1
    assert np.unique(values).size == 16


@pytest.mark.parametrize("detector", [0, 1])
def test_original_is_the_true_sky_within_its_noise(survey, butler, detector):
    image = butler.get("visit_image", key(survey, 0, detector))
    scene = survey.scene(survey.visits[0], detector)
    wrong = np.any(
        [image.mask.get(name) for name in ("BAD", "SATURATED", "COSMIC_RAY", "INTERPOLATED")], axis=0
    )
    raw = survey.simulate(survey.visits[0], detector)
    assert np.all(wrong[raw.truth.beyond_turnoff | raw.truth.defects])
    scale = image.photometric_scaling.render(image.bbox).array
    sigma = np.sqrt(raw.truth.variance) * scale
    pull = ((image.image.array - scene.model) / sigma)[~wrong]
    assert np.median(pull) == pytest.approx(0.0, abs=0.05)
    # The widths of the quartiles: bright stars keep a residue of the brighter-fatter effect.
    width = np.subtract(*np.percentile(pull, [75, 25])) / 1.349
    # The overscans of small amplifiers add noise of their own.
    assert width == pytest.approx(1.0, abs=0.03)


def test_lossy_image_is_within_half_a_step(survey, butler):
    lossless = butler.get("visit_image", key(survey))
    with survey.open_lossy() as other:
        uri = other.getURI("visit_image", key(survey))
        lossy = other.get("visit_image", key(survey))
    with fits.open(uri.ospath, disable_image_compression=True) as hdus:
        step = hdus["IMAGE"].header["UZSCALE"]
        assert hdus["IMAGE"].header["ZCMPTYPE"] == "RICE_1"
        assert hdus["IMAGE"].header["ZQUANTIZ"] == "SUBTRACTIVE_DITHER_2"
    error = lossy.image.array.astype(float) - lossless.image.array
    rounding = np.spacing(np.abs(lossless.image.array))
    assert np.all(np.abs(error) <= 0.5 * step * (1 + 1e-6) + 2 * rounding)
    assert error.std() / step == pytest.approx(12**-0.5, rel=0.02)
    for plane in lossless.mask.schema.names:
        np.testing.assert_array_equal(lossy.mask.get(plane), lossless.mask.get(plane))


def test_loaded_survey_gives_the_same_raws(survey):
    again = RawSurvey.load(survey.root)
    assert again.effects == survey.effects == Effects.all()
    plan = survey.visits[0]
    np.testing.assert_array_equal(again.simulate(plan, 1).counts, survey.simulate(plan, 1).counts)


def test_effect_off_keeps_the_noise(survey):
    plan = survey.visits[0]
    on = survey.simulate(plan, 0, effects=Effects.all())
    off = survey.simulate(plan, 0, effects=Effects.all().without("crosstalk"))
    np.testing.assert_array_equal(on.truth.realized, off.truth.realized)
    assert np.mean(on.counts == off.counts) > 0.7


def test_mini_survey_has_no_raws(survey, tmp_path):
    for name in ("mini_survey.json", "truth.ecsv"):
        shutil.copy(survey.root / name, tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"without raws: it lacks effects\.json"):
        RawSurvey.load(tmp_path)


def test_directory_must_be_empty(survey):
    with pytest.raises(OutputError, match="needs an empty directory"):
        make_raw_survey(survey.root)


def test_detector_that_does_not_divide(tmp_path):
    config = dataclasses.replace(SurveyConfig(), detector_shape=(240, 250))
    with pytest.raises(RequestError, match="240 x 250 pixels does not divide into 2 x 8"):
        make_raw_survey(tmp_path / "new", config=config)
    assert not (tmp_path / "new").exists()
    assert make_survey_sensor(SurveyConfig(), 1).bbox.shape == (240, 256)
