"""The repository of a mini survey: records, queries, contents, size."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from lsst.daf.butler import Timespan
from lsst.images.psfs import PiffWrapper
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d

from lsst.dax.image.errors import DatasetNotFoundError, OutputError
from lsst.dax.image.repository.skymap import RingsSkyMap
from lsst.dax.image.simulation import MiniSurvey, SurveyConfig, make_mini_survey

WHERE = "visit_detector_region.region OVERLAPS :region"


def circle(sky: SkyCoord, radius_arcsec: float) -> Circle:
    center = UnitVector3d(LonLat.fromDegrees(sky.ra.deg, sky.dec.deg))
    return Circle(center, Angle.fromDegrees(radius_arcsec / 3600))


def find(butler, where="", **arguments) -> set[tuple[int, int]]:
    refs = butler.query_datasets(
        "visit_image", where=where, instrument="MiniCam", limit=None, explain=False, **arguments
    )
    return {(ref.dataId["visit"], ref.dataId["detector"]) for ref in refs}


def images_at(survey, butler, sky, *, grow: float) -> set[tuple[int, int]]:
    """Return the images whose pixels, or those within a distance of them, hold a position."""
    rows, columns = survey.config.detector_shape
    found = set()
    for plan in survey.visits:
        for detector in range(survey.config.detector_count):
            key = {"instrument": "MiniCam", "visit": plan.visit, "detector": detector}
            point = butler.get("visit_image.sky_projection", key).sky_to_pixel(sky)
            if -0.5 - grow <= point.x <= columns - 0.5 + grow and -0.5 - grow <= point.y <= rows - 0.5 + grow:
                found.add((plan.visit, detector))
    return found


@pytest.fixture(scope="module")
def small_survey(tmp_path_factory):
    """Make the smallest survey, on a field that right ascension zero divides."""
    config = SurveyConfig(
        center=(0.0002, -10.0),
        visits_per_band=1,
        detector_grid=(1, 1),
        detector_shape=(80, 96),
        star_density=60.0,
    )
    return make_mini_survey(tmp_path_factory.mktemp("small") / "repo", config=config)


def test_repository_is_small(mini_survey):
    files = [path for path in mini_survey.root.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30e6
    assert not [path for path in files if path.suffix in (".pickle", ".pkl")]


def test_everything_is_there_and_reads_back(mini_survey, mini_butler):
    expected = {"visit_image": 18, "difference_image": 18, "deep_coadd": 6, "template_coadd": 6}
    for name, count in expected.items():
        refs = mini_butler.query_datasets(name)
        assert len(refs) == count
        for ref in refs:
            image = mini_butler.get(ref)
            assert image.unit == u.nJy
            assert image.variance.unit == u.nJy**2
            x, y = image.bbox.x.center, image.bbox.y.center
            assert np.sum(image.psf.compute_kernel_image(x=x, y=y).array) == pytest.approx(1.0)
            assert "base_PsfFlux_instFlux" in image.aperture_corrections
            if "visit" in ref.dataId.mapping:
                assert isinstance(image.psf, PiffWrapper)
                assert len(image.psf.piff_psf.stars) > 3
                assert image.photometric_scaling.unit == u.nJy / u.electron
                assert image.detector.id == image.obs_info.detector_num == ref.dataId["detector"]
    visit = mini_butler.get("visit_image", mini_butler.query_datasets("visit_image")[0].dataId)
    assert visit.backgrounds.subtracted.name == "visit_image_background"


@pytest.mark.parametrize("kind", ["saturated", "variable", "transient", "proper_motion"])
def test_spatial_query_finds_the_images_that_hold_a_star(mini_survey, mini_butler, kind):
    row = int(np.flatnonzero(mini_survey.truth["kind"] == kind)[0])
    sky = mini_survey.truth_positions(mini_survey.visits[0].mid)[row]
    found = find(mini_butler, WHERE, bind={"region": circle(sky, 0.001)})
    assert images_at(mini_survey, mini_butler, sky, grow=0.0) <= found
    # A region exceeds its image by a pixel, and by what its edges are bowed.
    assert found <= images_at(mini_survey, mini_butler, sky, grow=2.0)
    assert len(found) >= 6


def test_spatial_query_misses_where_there_is_nothing(mini_survey, mini_butler):
    away = mini_survey.config.center_position.spherical_offsets_by(0 * u.arcsec, 120 * u.arcsec)
    assert find(mini_butler, WHERE, bind={"region": circle(away, 1.0)}) == set()


def test_temporal_and_band_queries(mini_survey, mini_butler):
    plans = mini_survey.visits
    night = Timespan(plans[3].begin - 1 * u.h, plans[5].end + 1 * u.h)
    found = find(mini_butler, "visit.timespan OVERLAPS :night", bind={"night": night})
    assert found == {(plan.visit, d) for plan in plans[3:6] for d in (0, 1)}
    second = Timespan(plans[4].mid, plans[4].mid + 1 * u.s)
    found = find(mini_butler, "visit.timespan OVERLAPS :second", bind={"second": second})
    assert found == {(plans[4].visit, d) for d in (0, 1)}
    found = find(mini_butler, "band IN ('g', 'i') AND day_obs = 20271101")
    assert found == {(plan.visit, d) for plan in (plans[6], plans[8]) for d in (0, 1)}


def test_patch_join_finds_the_images_of_a_patch(mini_survey, mini_butler):
    key = {"skymap": mini_survey.skymap, "tract": mini_survey.tract}
    assert len(find(mini_butler, patch=60, **key)) > 6
    corner = {"patch": 0, **key}
    assert find(mini_butler, **corner) == set()


def test_sky_map_records_and_parameters(mini_survey, mini_butler):
    sky_map = RingsSkyMap.from_config(mini_butler.get("skyMapConfig", skymap=mini_survey.skymap))
    assert sky_map == mini_survey.config.sky_map
    (record,) = mini_butler.query_dimension_records("skymap")
    assert record.hash == sky_map.sha1()
    (tract,) = mini_butler.query_dimension_records("tract")
    assert tract.id == mini_survey.tract
    assert tract.region == sky_map.tract_region(tract.id)
    patches = mini_butler.query_dimension_records("patch", limit=None)
    assert len(patches) == sky_map.patches_per_side**2
    for patch in patches[::17]:
        assert patch.region == sky_map.patch_region(tract.id, patch.id)
        assert (patch.cell_y, patch.cell_x) == sky_map.patch_index(patch.id)


def test_records_are_those_of_the_images(mini_survey, mini_butler):
    for plan in mini_survey.visits:
        (record,) = mini_butler.query_dimension_records("visit", instrument="MiniCam", visit=plan.visit)
        image = mini_butler.get("visit_image.obs_info", instrument="MiniCam", visit=plan.visit, detector=0)
        assert record.physical_filter == image.physical_filter == plan.physical_filter
        for limit, time in (("begin", image.datetime_begin), ("end", image.datetime_end)):
            assert abs((getattr(record.timespan, limit) - time).to_value(u.s)) < 1e-6
        assert record.day_obs == plan.day_obs


def test_load_gives_the_same_survey(mini_survey):
    again = MiniSurvey.load(mini_survey.root)
    assert again.config == mini_survey.config == SurveyConfig()
    time = again.visits[-1].mid
    separation = again.truth_positions(time).separation(mini_survey.truth_positions(time))
    assert np.max(separation.to_value(u.arcsec)) < 1e-6
    for band in "gri":
        assert np.array_equal(again.truth_fluxes(band, time), mini_survey.truth_fluxes(band, time))


def test_loaded_truth_is_what_was_drawn(small_survey):
    loaded = MiniSurvey.load(small_survey.root)
    assert loaded.config == small_survey.config
    for name in ("ra", "dec", "flux_g", "half_light_radius", "position_angle"):
        assert np.array_equal(loaded.truth[name], small_survey.truth[name])
        assert loaded.truth[name].unit == small_survey.truth[name].unit
    time = loaded.visits[0].mid
    assert np.array_equal(loaded.truth_fluxes("r", time), small_survey.truth_fluxes("r", time))


def test_field_across_right_ascension_zero(small_survey):
    with small_survey.open() as butler:
        for ra in (359.9985, 0.0, 0.0015):
            sky = SkyCoord(ra, -10.0, unit="deg")
            found = find(butler, WHERE, bind={"region": circle(sky, 0.001)})
            assert len(found) == 3
            assert found == images_at(small_survey, butler, sky, grow=0.0)
        away = SkyCoord(180.0, -10.0, unit="deg")
        assert find(butler, WHERE, bind={"region": circle(away, 3600.0)}) == set()


def test_same_configuration_same_files(small_survey, tmp_path):
    again = make_mini_survey(tmp_path / "again", config=small_survey.config)
    with small_survey.open() as first, again.open() as second:
        for name in ("visit_image", "difference_image", "deep_coadd", "template_coadd"):
            for ref in first.query_datasets(name):
                one, two = first.get(ref), second.get(name, ref.dataId)
                assert np.array_equal(one.image.array, two.image.array, equal_nan=True)
                assert np.array_equal(one.variance.array, two.variance.array, equal_nan=True)
                assert np.array_equal(one.mask.array, two.mask.array)


def test_directory_must_be_empty(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"needs an empty directory; .* has \['notes.txt'\]"):
        make_mini_survey(tmp_path)


def test_loading_what_is_not_there(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"it lacks mini_survey\.json or truth\.ecsv"):
        MiniSurvey.load(tmp_path)
