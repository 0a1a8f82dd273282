"""The persisted visit images of the simulated camera, lossless and lossy."""

from __future__ import annotations

import dataclasses
import uuid

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from lsst.images import VisitImage

from lsst.dax.image.errors import OutputError, RequestError
from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._calibration_truth import make_simulated_calibrations
from lsst.dax.image.simulation._electronics import simulate_raw
from lsst.dax.image.simulation._lossy import dither_seed, quantization_step, write_lossy
from lsst.dax.image.simulation._originals import (
    CalibrationProvenance,
    calibrate,
    fill_cosmic_rays,
    make_exposure_fields,
    make_original_visit_image,
    pack_detector_exposure_id,
)
from lsst.dax.image.simulation._reference_planes import Planes
from lsst.dax.image.simulation._scene import make_detector_scene
from lsst.dax.image.simulation._sensor import make_sensor
from lsst.dax.image.simulation._truth import make_truth
from lsst.dax.image.simulation._visit_plan import make_visit_plans
from lsst.dax.image.simulation.reference_isr import ReferenceSettings, run_reference_isr

CONFIG = SurveyConfig()
PLAN = make_visit_plans(CONFIG)[1]
DETECTOR = 1
PEDESTALS = {"C10": 1.25}
SETTINGS = ReferenceSettings(pedestals=PEDESTALS)
PROVENANCE = {"bias": CalibrationProvenance(uuid.UUID(int=7), "MiniCam/calib/bias")}


@pytest.fixture(scope="module")
def parts():
    """Scene, fields, calibrations and raw of one detector."""
    sensor = make_sensor("E2V", data_shape=(120, 64), overscan=(24, 20), columns=4, detector=DETECTOR)
    calibrations = make_simulated_calibrations(sensor)
    scene = make_detector_scene(CONFIG, make_truth(CONFIG), PLAN, DETECTOR)
    fields = make_exposure_fields(CONFIG, PLAN, DETECTOR, scene.bbox)
    raw = simulate_raw(fields.expected_electrons(scene), calibrations, rng=np.random.default_rng(1))
    return scene, fields, calibrations, raw


@pytest.fixture(scope="module")
def original(parts):
    scene, _, calibrations, raw = parts
    return make_original_visit_image(
        CONFIG, PLAN, raw, calibrations=calibrations, scene=scene, settings=SETTINGS, provenance=PROVENANCE
    )


def reduced_electrons(parts):
    _, _, calibrations, raw = parts
    return run_reference_isr(
        raw.counts,
        raw.sensor,
        calibrations,
        detector_exposure_id=pack_detector_exposure_id(
            day_obs=PLAN.day_obs, sequence=PLAN.sequence, detector=DETECTOR
        ),
        dark_time=raw.dark_time_s,
        settings=SETTINGS,
    )


def test_packed_id_is_that_of_a_real_exposure() -> None:
    assert pack_detector_exposure_id(day_obs=20250523, sequence=201, detector=118) == 47152417142
    other = pack_detector_exposure_id(day_obs=20250523, sequence=201, detector=118, controller="C")
    assert other - 47152417142 == 256 * 32768 * 16384


def test_packed_id_has_its_limits() -> None:
    with pytest.raises(RequestError, match="Sequence 40000, detector 1 and controller 'O'"):
        pack_detector_exposure_id(day_obs=20250523, sequence=40000, detector=1)
    with pytest.raises(RequestError, match=r"controller 'X' must be .* one of OCHPQS"):
        pack_detector_exposure_id(day_obs=20250523, sequence=1, detector=1, controller="X")


def test_image_shows_the_scene(parts, original) -> None:
    scene = parts[0]
    wrong = np.any([original.mask.get(p) for p in ("SATURATED", "BAD", "INTERPOLATED")], axis=0)
    # The pedestal is no part of the truth.
    wrong[120:, :64] = True
    pull = ((original.image.array - scene.model) / np.sqrt(original.variance.array))[~wrong]
    assert abs(np.mean(pull)) < 0.03
    assert np.std(pull) == pytest.approx(1.0, abs=0.015)
    assert original.image.unit == u.nJy
    assert original.variance.unit == u.nJy**2


def test_pixels_are_reduction_less_background_times_scaling(parts, original) -> None:
    scene, fields, _, _ = parts
    reduced = reduced_electrons(parts)
    sky = fields.background.render(scene.bbox).array.astype(np.float32)
    scale = fields.photometric_scaling.render(scene.bbox).array
    ordinary = ~original.mask.get("COSMIC_RAY")
    expected = ((reduced.image - sky) * scale).astype(np.float32)
    assert np.array_equal(original.image.array[ordinary], expected[ordinary])
    once = (reduced.variance * scale).astype(np.float32)
    assert np.array_equal(original.variance.array, (once * scale).astype(np.float32))
    assert np.ptp(scale) > 0.005 * np.mean(scale)


def test_cosmic_rays_are_noise(parts, original) -> None:
    raw = parts[3]
    rays = original.mask.get("COSMIC_RAY")
    assert np.count_nonzero(rays) > 10
    assert np.array_equal(rays & original.mask.get("INTERPOLATED"), rays)
    assert not np.any(rays & ~raw.truth.cosmic_rays)
    reduced = reduced_electrons(parts)
    wrong = reduced.mask["BAD"] | reduced.mask["SAT"] | reduced.mask["INTRP"]
    assert np.array_equal(rays, raw.truth.cosmic_rays & ~wrong)
    value = original.image.array[rays] / np.sqrt(original.variance.array[rays])
    assert np.all(np.abs(value) < 5.0)


def test_cosmic_ray_filling_is_about_the_median() -> None:
    image = np.full((200, 200), 40.0, dtype=np.float32)
    where = np.zeros(image.shape, dtype=bool)
    where[50:150, 50:150] = True
    image[where] = 1e4
    image[:10] = -60.0
    sat = np.zeros_like(where)
    sat[50:60] = True
    planes = Planes(image, {"SAT": sat}, np.full(image.shape, 9.0, dtype=np.float32))
    filled = fill_cosmic_rays(planes, where, rng=np.random.default_rng(2))
    rays = where & ~sat
    assert np.array_equal(filled.plane("CR"), rays)
    assert np.array_equal(filled.image[~rays], image[~rays])
    assert np.mean(filled.image[rays]) == pytest.approx(40.0, abs=0.12)
    assert np.std(filled.image[rays]) == pytest.approx(3.0, rel=0.03)


def test_calibration_rounds_the_variance_twice() -> None:
    rng = np.random.default_rng(3)
    planes = Planes(
        rng.normal(size=(50, 50)).astype(np.float32), {}, rng.uniform(1, 2, (50, 50)).astype(np.float32)
    )
    scale = rng.uniform(0.4, 0.6, (50, 50))
    image, variance = calibrate(planes, scale)
    assert np.array_equal(image, (planes.image.astype(float) * scale).astype(np.float32))
    once = (planes.variance.astype(float) * scale**2).astype(np.float32)
    assert not np.array_equal(variance, once)
    np.testing.assert_allclose(variance, once, rtol=2e-7)


def test_named_background_is_right_and_the_marked_one_wrong(parts, original) -> None:
    fields = parts[1]
    assert list(original.backgrounds) == ["subtracted", "skyCorr"]
    assert original.backgrounds["subtracted"].field == fields.background
    assert original.backgrounds.subtracted.name == "skyCorr"
    for name in original.backgrounds:
        assert original.backgrounds[name].field.unit == u.electron


def test_everything_a_re_creation_needs_is_attached(parts, original) -> None:
    scene, fields, calibrations, _ = parts
    sensor = calibrations.sensor
    assert original.photometric_scaling == fields.photometric_scaling
    assert original.photometric_scaling.unit == u.nJy / u.electron
    assert original.detector.id == DETECTOR
    geometry = [a.assembled_raw_geometry.data_bbox for a in original.detector.amplifiers]
    assert geometry == [a.raw_data_bbox for a in sensor.amplifiers]
    assert original.obs_info.visit_id == PLAN.visit
    assert original.psf.compute_kernel_image(x=100.0, y=90.0).array.sum() == pytest.approx(1.0, abs=1e-3)
    assert original.sky_projection == scene.sky_projection
    assert set(original.aperture_corrections) >= {"base_PsfFlux_instFlux"}
    assert original.summary_stats.zeroPoint == pytest.approx(
        31.4 - 2.5 * np.log10(fields.photometric_scaling.render(scene.bbox).array.mean())
    )
    metadata = original.metadata
    assert metadata["id"] == pack_detector_exposure_id(
        day_obs=PLAN.day_obs, sequence=PLAN.sequence, detector=DETECTOR
    )
    assert metadata["LSST CALIB UUID BIAS"] == str(uuid.UUID(int=7))
    assert metadata["LSST CALIB RUN BIAS"] == "MiniCam/calib/bias"
    assert metadata["LSST ISR AMPOFFSET PEDESTAL C10"] == 1.25
    assert metadata["LSST ISR BF CORR METHOD"] == "ASTIER23"


def test_scene_of_another_size_is_refused(parts) -> None:
    scene, _, calibrations, raw = parts
    other = dataclasses.replace(raw, sensor=make_sensor("ITL", data_shape=(50, 40), columns=2))
    with pytest.raises(RequestError, match=r"scene has shape .*240.*256.*, detector R00_S00 .*100.*80"):
        make_original_visit_image(CONFIG, PLAN, other, calibrations=calibrations, scene=scene)


def test_dither_seed_is_that_of_a_real_exposure() -> None:
    assert dither_seed(instrument="LSSTCam", detector=118, visit=2025052300201) == 8912


def test_quantization_step_is_a_sixteenth_of_the_robust_sigma() -> None:
    values = np.random.default_rng(4).normal(10.0, 32.0, (300, 300)).astype(np.float32)
    excluded = np.zeros(values.shape, dtype=bool)
    excluded[:50] = True
    values[:50] = 1e6
    values[60, :10] = np.nan
    assert quantization_step(values, excluded) == pytest.approx(2.0, rel=0.02)
    # Elements of the sorted pixels: 1 and 4 of 0 to 5, or 1 and 3 of 0 to 4.
    for count, width in ((6, 3.0), (5, 2.0)):
        row = np.arange(count, dtype=np.float32)[np.newaxis]
        assert quantization_step(row, row < 0) == float(np.float32(0.741 * width)) / 16.0
    assert quantization_step(values, np.ones_like(excluded)) == 0.0


def test_lossy_file_is_within_half_a_step(original, tmp_path) -> None:
    path = tmp_path / "lossy.fits"
    steps = write_lossy(original, path)
    back = VisitImage.read(str(path))
    for name in ("image", "variance"):
        plane, stored = getattr(original, name).array, getattr(back, name).array
        error = (stored.astype(np.float64) - plane) / steps[name]
        # The stored values are single precision themselves.
        assert np.abs(error).max() <= 0.5 + 1e-6 + np.abs(plane).max() * 6e-8 / steps[name]
        assert np.sqrt(np.mean(error**2)) == pytest.approx(1.0 / np.sqrt(12.0), rel=0.02)
    assert np.array_equal(back.mask.array, original.mask.array)
    assert back.backgrounds["subtracted"].field == original.backgrounds["subtracted"].field
    assert back.photometric_scaling == original.photometric_scaling
    assert dict(back.metadata) == dict(original.metadata)


def test_lossy_header_says_how(original, tmp_path) -> None:
    path = tmp_path / "lossy.fits"
    steps = write_lossy(original, path)
    seed = dither_seed(instrument="MiniCam", detector=DETECTOR, visit=PLAN.visit)
    with astropy.io.fits.open(path, disable_image_compression=True) as hdus:
        for name in ("IMAGE", "VARIANCE"):
            header = hdus[name].header
            assert header["UZSCALE"] == steps[name.lower()]
            assert header["ZDITHER0"] == seed
            assert (header["ZCMPTYPE"], header["ZQUANTIZ"]) == ("RICE_1", "SUBTRACTIVE_DITHER_2")
            assert (header["ZTILE1"], header["ZTILE2"]) == (256, 1)
            assert set(hdus[name].data["ZSCALE"].tolist()) == {steps[name.lower()]}
        assert hdus["MASK"].header["ZCMPTYPE"] == "GZIP_2"
    with pytest.raises(OutputError, match=r"lossy\.fits exists"):
        write_lossy(original, path)


def test_zeros_and_nan_are_kept_and_a_constant_plane_is_lossless(original, tmp_path) -> None:
    image = original.copy()
    image.image.array[5, 5:9] = 0.0
    image.image.array[6, 7] = np.nan
    image.variance.array[:] = 3.25
    steps = write_lossy(image, tmp_path / "lossy.fits")
    back = VisitImage.read(str(tmp_path / "lossy.fits"))
    assert np.array_equal(back.image.array[5, 5:9], np.zeros(4))
    assert np.array_equal(np.argwhere(np.isnan(back.image.array)), [[6, 7]])
    assert steps["variance"] == 0.0
    assert np.all(back.variance.array == np.float32(3.25))
