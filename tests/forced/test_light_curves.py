"""Light curves through the Butler, against the truth of the mini survey."""

from __future__ import annotations

import multiprocessing
import shutil
import tracemalloc
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table
from astropy.time import Time
from lsst.daf.butler import Butler
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chi2
from tests.support.light_curves import assert_same_table, find_truth, to_array

from lsst.dax.image.container.sources import LocalSource
from lsst.dax.image.errors import (
    DatasetNotFoundError,
    RequestError,
    RequestTooLargeError,
    UnsupportedProductError,
)
from lsst.dax.image.flags import FLAGS
from lsst.dax.image.forced import (
    Background,
    ForcedOptions,
    ImageSearch,
    fetch_light_curves,
    find_mid_time,
    measure,
    plan_light_curves,
    to_sdm,
)
from lsst.dax.image.repository import find_datasets
from lsst.dax.image.simulation import MiniSurvey

BOTH = ImageSearch(dataset_types=["visit_image", "difference_image"])
DIFFERENCE = ImageSearch(dataset_types=["difference_image"])


def assert_consistent(pulls: np.ndarray) -> None:
    """Assert that pulls are those of a normal distribution, as far as so few can tell."""
    assert 0.001 < chi2.sf((pulls**2).sum(), pulls.size) < 0.9999
    assert np.abs(pulls).max() < 4.0


def test_variable_transient_and_moving_star_have_their_true_fluxes(
    mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    for kind in ("variable", "transient", "proper_motion"):
        table = fetch_light_curves(mini_butler, mini_survey.find_target(kind))
        assert len(table) == len(mini_survey.visits)
        assert not table["flags"].any()
        truth = find_truth(mini_survey, table, kind)
        assert_consistent((table["flux"].value - truth) / table["flux_err"].value)
    assert (np.diff(table["mjd"].value) > 0).all()


@pytest.mark.parametrize("kind", ["variable", "transient"])
def test_difference_fluxes_are_those_since_the_template(
    kind: str, mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    table = fetch_light_curves(mini_butler, mini_survey.find_target(kind), images=DIFFERENCE)
    row = mini_survey.truth["kind"].tolist().index(kind)
    before = [
        mini_survey.truth_fluxes(band, mini_survey.template_time)[row].to_value(u.nJy)
        for band in table["band"]
    ]
    truth = find_truth(mini_survey, table, kind) - before
    assert_consistent((table["flux"].value - truth) / table["flux_err"].value)


def test_moving_star_on_difference_images_once_it_has_left_the_template(
    mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    star = mini_survey.find_target("proper_motion")
    table = fetch_light_curves(mini_butler, star, images=DIFFERENCE)
    row = mini_survey.truth["kind"].tolist().index("proper_motion")
    old = mini_survey.truth_positions(mini_survey.template_time)[row]
    far = SkyCoord(table["ra"], table["dec"]).separation(old) > 3 * u.arcsec
    assert far.sum() >= 3
    truth = find_truth(mini_survey, table, "proper_motion")
    assert_consistent(((table["flux"].value - truth) / table["flux_err"].value)[far])


def test_ephemeris_and_proper_motion_agree(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    star = mini_survey.find_target("proper_motion")
    row = mini_survey.truth["kind"].tolist().index("proper_motion")
    times = Time(star.obstime.tai.mjd + np.linspace(-30.0, 800.0, 60), format="mjd", scale="tai")
    track = SkyCoord([mini_survey.truth_positions(time)[row] for time in times])
    ephemeris = QTable({"id": np.full(60, 7), "time": times, "ra": track.ra, "dec": track.dec})
    by_track, by_motion = (fetch_light_curves(mini_butler, given) for given in (ephemeris, star))
    assert set(by_track["id"]) == {7}
    assert_array_equal(by_track["dataset"], by_motion["dataset"])
    assert_allclose(by_track["flux"].value, by_motion["flux"].value, rtol=1e-6)
    stars = Table({"id": [5], "ra": [star.ra.deg], "dec": [star.dec.deg]})
    stars["pmra"], stars["pmdec"] = star.pm_ra_cosdec.reshape(1), star.pm_dec.reshape(1)
    stars["ref_epoch"] = [star.obstime.tdb.jyear]
    by_table = fetch_light_curves(mini_butler, stars)
    assert_allclose(by_table["flux"].value, by_motion["flux"].value, rtol=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        ForcedOptions(),
        ForcedOptions(radii=(3.0, 4.5, 9.0, 12.0), background=Background.ANNULUS, bad_planes=("SATURATED",)),
        ForcedOptions(background=Background.FIT, stamp_size=15, footprint_scaling=6.0),
    ],
)
def test_fluxes_are_those_of_the_whole_image_to_the_bit(
    options: ForcedOptions, mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    names = ("visit_image", "difference_image", "deep_coadd")
    for ref in [find_datasets(mini_butler, name)[1] for name in names]:
        image = mini_butler.get(ref)
        # On the image, over its edges, far off, and behind the sky.
        x = np.r_[image.bbox.x.start - 20.0 : image.bbox.x.stop + 20.0 : 23.7]
        y = np.r_[image.bbox.y.start - 20.0 : image.bbox.y.stop + 20.0 : 31.3]
        grid = image.sky_projection.pixel_to_sky(x=np.repeat(x, y.size), y=np.tile(y, x.size))
        off = SkyCoord([image.sky_projection.pixel_to_sky(x=0, y=0).directional_offset_by(0, 30 * u.deg)])
        positions = SkyCoord(np.append(grid.ra, off.ra), np.append(grid.dec, off.dec))
        for some in (slice(None), slice(0, None, 29), slice(40, 41)):
            whole = measure(image, positions[some], options=options)
            part = fetch_light_curves(mini_butler, positions[some], images=[ref], options=options)
            assert set(part["dataset"]) == {ref.id.hex}
            part = part[np.argsort(part["id"])][whole.colnames]
            if "visit" not in ref.dataId.dimensions.names:
                part["band"] = whole["band"]
            assert_same_table(part, whole)


def test_joint_fit_is_that_of_the_whole_image_to_the_bit(
    mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    ref = find_datasets(mini_butler, "visit_image", region=mini_survey.find_target("pair"))[0]
    image = mini_butler.get(ref)
    stars = mini_survey.truth_positions(find_mid_time(image))
    pair = stars[mini_survey.truth["kind"] == "pair"][:1]
    whole = measure(image, pair, neighbours=stars)
    part = fetch_light_curves(mini_butler, pair, images=[ref], neighbours=stars)
    assert part["joint_n_neighbours"][0] >= 1
    assert_same_table(part[whole.colnames], whole)


def test_only_needed_bytes_are_read(
    mini_butler: Butler, mini_survey: MiniSurvey, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = find_datasets(mini_butler, "visit_image")[0]
    image = mini_butler.get(ref)
    edge = image.sky_projection.pixel_to_sky(x=np.array([60.0]), y=np.array([20.0]))
    counted: list[int] = []
    read_ranges = LocalSource.read_ranges

    def count(source: LocalSource, ranges: list[tuple[int, int]]) -> list[bytes]:
        counted.extend(end - begin for begin, end in ranges)
        return read_ranges(source, ranges)

    batch = plan_light_curves(mini_butler, edge, images=[ref])
    plan = batch.plan()
    monkeypatch.setattr(LocalSource, "read_ranges", count)
    opened: list[Path] = []
    init = LocalSource.__init__

    def note(source: LocalSource, path: str) -> None:
        opened.append(Path(path))
        init(source, path)

    monkeypatch.setattr(LocalSource, "__init__", note)
    batch.fetch()
    size = Path(mini_butler.getURI(ref).ospath).stat().st_size
    assert plan["bytes"][0] > 0 * u.byte
    # 33 of 240 rows, and the table of the PSF's coefficients.
    assert sum(counted) < plan["bytes"][0].value * 1.1 + 40_000
    assert plan["bytes"][0].value < 0.2 * size
    assert len(opened) == 1


def test_result_does_not_depend_on_executor_or_order(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    stars = mini_survey.truth_positions(mini_survey.template_time)
    serial = fetch_light_curves(mini_butler, stars, images=BOTH)
    refs = plan_light_curves(mini_butler, stars, images=BOTH).refs
    context = multiprocessing.get_context("spawn")
    executors: list[Executor] = [ThreadPoolExecutor(3), ProcessPoolExecutor(1, mp_context=context)]
    for executor in executors:
        with executor:
            assert_same_table(fetch_light_curves(mini_butler, stars, images=BOTH, executor=executor), serial)
    backwards, forwards = (
        fetch_light_curves(mini_butler, stars[:3], images=some) for some in (refs[::-1], refs)
    )
    assert_same_table(backwards, forwards)


def test_images_found_are_asked_for_what_lies_on_them(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    stars = mini_survey.truth_positions(mini_survey.template_time)
    far = SkyCoord([10.0], [-80.0], unit=u.deg)
    positions = SkyCoord(np.append(stars.ra, far.ra), np.append(stars.dec, far.dec))
    batch = plan_light_curves(mini_butler, positions)
    table = batch.fetch()
    assert len(table) == batch.n_pairs
    assert len(stars) not in table["id"]
    inside = (table["flags"] & FLAGS["NO_COVERAGE"].value) == 0
    assert inside.all()
    named = fetch_light_curves(mini_butler, positions, images=batch.refs)
    assert len(named) == len(positions) * len(batch.refs)
    lost = named[named["id"] == len(stars)]
    assert ((lost["flags"] & (FLAGS["NO_COVERAGE"].value | FLAGS["BAD_POSITION"].value)) != 0).all()
    assert np.isnan(lost["flux"]).all()
    one_band = plan_light_curves(mini_butler, positions, images=ImageSearch(bands=["r"]))
    assert {ref.dataId["band"] for ref in one_band.refs} == {"r"}
    begin = Time(table["mjd"].value.max() - 1, format="mjd", scale="tai")
    late = fetch_light_curves(mini_butler, positions, images=ImageSearch(time=(begin, None)))
    assert 0 < len(late) < len(table)
    assert (late["mjd"].value >= begin.mjd).all()
    nothing = fetch_light_curves(mini_butler, far)
    assert len(nothing) == 0
    assert nothing["flux"].unit == u.nJy


def test_rows_of_the_truth_follow_their_star(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    moving = mini_survey.truth[mini_survey.truth["kind"] == "proper_motion"][:1]
    table = fetch_light_curves(mini_butler, moving)
    by_motion = fetch_light_curves(mini_butler, mini_survey.find_target("proper_motion"))
    assert_array_equal(table["dataset"], by_motion["dataset"])
    assert_allclose(table["flux"].value, by_motion["flux"].value, rtol=1e-8)
    assert set(table["id"]) == set(moving["id"])
    red = table["flux"][table["band"] == "r"].value
    assert_allclose(red, find_truth(mini_survey, table[table["band"] == "r"], "proper_motion"), rtol=0.02)
    assert (moving["pm_ra_cosdec"] != 0).all()


def test_positions_off_the_sky_have_rows_on_each_image_found(
    mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    star = mini_survey.find_target("star")
    good = fetch_light_curves(mini_butler, SkyCoord([star.ra], [star.dec]))
    positions = SkyCoord([np.nan, star.ra.deg] * u.deg, [0.0, star.dec.deg] * u.deg)
    columns = {"id": [0, 1], "ra": [10.0, star.ra.deg], "dec": [-91.0, star.dec.deg]}
    moving = {"pmra": [1.0, 1.0], "ref_epoch": [2025.0, 2025.0]}
    for given in (positions, Table(columns), Table(columns | moving)):
        batch = plan_light_curves(mini_butler, given)
        table = batch.fetch()
        assert len(table) == batch.n_pairs == 2 * len(good)
        lost, found = (table[table["id"] == k] for k in (0, 1))
        assert_array_equal(lost["dataset"], good["dataset"])
        assert set(lost["flags"]) == {FLAGS["BAD_POSITION"].value}
        assert np.isnan(lost["flux"]).all()
        assert_allclose(found["flux"].value, good["flux"].value, rtol=1e-3)
    with pytest.raises(RequestError, match="1 of 2 positions are not on the sky, and no image was found"):
        fetch_light_curves(mini_butler, SkyCoord([np.nan, 10.0] * u.deg, [0.0, -80.0] * u.deg))


def test_an_object_of_an_ephemeris_without_a_position_has_rows(
    mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    star = mini_survey.find_target("star")
    span = 61000.0 + np.array([-4000.0, 4000.0])
    rows = {"id": [4, 4, 9, 9], "time": [*span, *span], "ra": [np.nan] * 2 + [star.ra.deg] * 2}
    table = fetch_light_curves(mini_butler, Table({**rows, "dec": [star.dec.deg] * 4}))
    assert (table["id"] == 4).sum() == (table["id"] == 9).sum() > 0
    assert set(table["flags"][table["id"] == 4]) == {FLAGS["BAD_POSITION"].value}
    assert not table["flags"][table["id"] == 9].any()


def test_direct_and_difference_fluxes_share_a_row(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    search = ImageSearch(dataset_types=["visit_image", "difference_image", "deep_coadd"])
    star = mini_survey.find_target("variable")
    table = fetch_light_curves(mini_butler, star, images=search)  # its motion is zero
    assert "deep_coadd" in table["dataset_type"]
    with pytest.raises(RequestError, match="time of the image is not known"):
        # It moves, and a coadd has no time.
        fetch_light_curves(mini_butler, mini_survey.find_target("proper_motion"), images=search)
    sdm = to_sdm(table, id_name="diaObjectId")
    assert len(sdm) == len(mini_survey.visits)
    assert not (sdm["psfFlux_flag"] | sdm["psfDiffFlux_flag"]).any()
    for name, kind in (("psfFlux", "visit_image"), ("psfDiffFlux", "difference_image")):
        rows = table[table["dataset_type"] == kind]
        assert_array_equal(rows["visit"], sdm["visit"])
        assert_array_equal(to_array(sdm[name]), to_array(rows["flux"]).astype(np.float32))


def test_bad_requests_are_refused_before_work(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    star = mini_survey.find_target("star")
    with pytest.raises(RequestTooLargeError, match=r"9 images .* make 9 pairs; 8 are allowed"):
        plan_light_curves(mini_butler, SkyCoord([star.ra], [star.dec]), max_pairs=8)
    with pytest.raises(RequestError, match="some are the same"):
        plan_light_curves(mini_butler, star, images=[find_datasets(mini_butler, "visit_image")[0]] * 2)
    with pytest.raises(RequestError, match="'visit_image'"):
        ImageSearch(dataset_types="visit_image")
    with pytest.raises(DatasetNotFoundError, match="nonsense"):
        fetch_light_curves(mini_butler, star, images=ImageSearch(dataset_types=["nonsense"]))
    with pytest.raises(RequestError, match="occur more often"):
        fetch_light_curves(mini_butler, Table({"id": [1, 1], "ra": [150.0, 150.0], "dec": [2.0, 2.0]}))
    with pytest.raises(RequestError, match="ra and dec"):
        fetch_light_curves(mini_butler, Table({"ra": [150.0], "time": [61000.0]}))
    mask = find_datasets(mini_butler, "visit_image.mask")[:1]
    with pytest.raises(UnsupportedProductError, match="no variance and mask"):
        fetch_light_curves(mini_butler, star, images=mask)


def test_damaged_and_missing_files_have_rows_with_flags(mini_survey: MiniSurvey, tmp_path: Path) -> None:
    root = tmp_path / "damaged"
    shutil.copytree(mini_survey.root, root)
    butler = Butler.from_config(str(root), collections=mini_survey.collections)
    star = mini_survey.find_target("star")
    batch = plan_light_curves(butler, SkyCoord([star.ra], [star.dec]))
    good = batch.fetch()
    gone, cut, holed = (Path(butler.getURI(ref).ospath) for ref in batch.refs[:3])
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:20_000])
    content = bytearray(holed.read_bytes())
    content[60_000:180_000] = bytes(120_000)
    holed.write_bytes(content)
    table = batch.fetch()
    failed = np.array([name in {ref.id.hex for ref in batch.refs[:3]} for name in table["dataset"]])
    assert ((table["flags"][failed] & FLAGS["READ_FAILED"].value) != 0).all()
    assert np.isnan(table["flux"][failed]).all()
    assert_array_equal(table["mjd"], good["mjd"])
    assert_array_equal(table["visit"], good["visit"])
    assert_same_table(table[~failed], good[~failed])
    assert set(table.meta["failures"]) == {ref.id.hex for ref in batch.refs[:3]}
    assert "its file is gone" in table.meta["failures"][batch.refs[0].id.hex]
    butler.close()


def test_stream_yields_one_table_per_image(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    batch = plan_light_curves(mini_butler, mini_survey.find_target("star"))
    tables = list(batch.stream())
    assert [str(table["dataset"][0]) for table in tables] == [ref.id.hex for ref in batch.refs]
    assert_array_equal(np.concatenate([table["flux"].value for table in tables]), batch.fetch()["flux"].value)


def test_memory_does_not_grow_with_the_pictures_of_stars(
    mini_butler: Butler, mini_survey: MiniSurvey
) -> None:
    ref = find_datasets(mini_butler, "visit_image")[0]
    image = mini_butler.get(ref)
    rng = np.random.default_rng(5)
    peaks = []
    fetch_light_curves(mini_butler, image.sky_projection.pixel_to_sky(x=[9.0], y=[9.0]), images=[ref])
    for n in (20_000, 60_000):
        x, y = rng.uniform(0, 240, (2, n))
        positions = image.sky_projection.pixel_to_sky(x=x, y=y)
        tracemalloc.start()
        fetch_light_curves(mini_butler, positions, images=[ref])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A picture alone has 5800 bytes, a row of the table 600 with its texts.
    assert (peaks[1] - peaks[0]) / 40_000 < 2500
