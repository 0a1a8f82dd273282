"""Coadds of a repository: the same bits whatever is asked for, whoever works, and however often."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from lsst.daf.butler import Butler
from lsst.images import Box
from lsst.images.cells import CellCoadd
from lsst.images.serialization import open_archive

import lsst.dax.image
from lsst.dax.image.coadds import (
    READY_MADE,
    CellRules,
    Coadd,
    PsfMatching,
    PsfTarget,
    Recipe,
    Statistic,
    _from_butler,
    fetch_coadd,
    make_nightly_recipe,
    make_template_recipe,
    make_weekly_recipe,
    recreate_from,
    subtract_coadds,
)
from lsst.dax.image.errors import (
    NoCoverageError,
    OutputError,
    RequestError,
    RequestTooLargeError,
    UnsupportedProductError,
)
from lsst.dax.image.geometry import CircleStencil, TargetGrid
from lsst.dax.image.simulation import MiniSurvey

MEAN = Recipe(name="mean", statistic=Statistic.MEAN, selection={"bands": ("r",)}, noise_realizations=1)
PLANES = ("image", "variance", "mask")


def list_recipes(survey: MiniSurvey) -> list[Recipe]:
    """Return the ready-made recipes, those with dates for a night that there is, and others.

    Four visits are enough to choose the best from, and to find artifacts.
    """
    plans = [plan for plan in survey.visits if plan.band == "r"][:4]
    few = {"visits": tuple(plan.visit for plan in plans)}
    night, bands = plans[0].day_obs, {"bands": ("r",)}
    both = tuple(plan.visit for band in "gr" for plan in [p for p in survey.visits if p.band == band][:3])
    fixed = [
        recipe.with_selection(visits=both)
        if recipe.statistic is Statistic.CHI_SQUARED
        else recipe.with_selection(**few, **bands)
        for recipe in READY_MADE.values()
    ]
    dated = [
        recipe.with_selection(**bands) for recipe in (make_nightly_recipe(night), make_weekly_recipe(night))
    ]
    template = make_template_recipe(None, None, at_least=2).with_selection(**few, **bands)
    loose = MEAN.with_(name="loose", cells=CellRules(is_edge_free=False, inner_px=50)).with_selection(**few)
    median = MEAN.with_(name="median", statistic=Statistic.MEDIAN, noise_realizations=0).with_selection(**few)
    return [*fixed, *dated, template, MEAN.with_selection(**few), loose, median]


def make_grid(survey: MiniSurvey, box: Box) -> TargetGrid:
    config = survey.config
    return TargetGrid(config.sky_map.tract_sky_projection(config.tract), box)


def find_middle(survey: MiniSurvey) -> tuple[int, int]:
    """Return row and column of the pixel in the middle of the survey."""
    grid = make_grid(survey, Box.factory[0:1, 0:1])
    place = grid.sky_projection.sky_to_pixel(survey.config.center_position)
    return round(float(place.y)), round(float(place.x))


def whole_box(survey: MiniSurvey) -> Box:
    """Return whole cells around the middle."""
    y, x = (value // 50 * 50 for value in find_middle(survey))
    return Box.factory[y - 100 : y + 150, x - 100 : x + 150]


def assert_same_coadd(one: Coadd, two: Coadd) -> None:
    """Check that pixels, planes and PSFs have the same bits where both have them."""
    box = one.bbox
    for name in PLANES:
        first, second = (getattr(coadd.image, name)[box].array for coadd in (one, two))
        np.testing.assert_array_equal(
            first.view(f"u{first.itemsize}"), second.view(f"u{second.itemsize}"), name
        )
    for name in ("n_inputs", "effective_time", "rejected"):
        np.testing.assert_array_equal(getattr(one, name)[box].array, getattr(two, name)[box].array, name)
    for first, second in zip(one.noise_realizations, two.noise_realizations, strict=True):
        np.testing.assert_array_equal(first[box].array, second[box].array)
    for cell in one.psf.bounds.cell_indices():
        center = one.psf.grid.bbox_of(cell)
        place = {"x": center.x.center, "y": center.y.center}
        kernels = [coadd.psf.compute_kernel_image(**place).array for coadd in (one, two)]
        np.testing.assert_array_equal(*kernels)
        cells = [coadd.psf.grid.index_of(y=center.y.start, x=center.x.start) for coadd in (one, two)]
        for pair in (
            (one.noise_correlation, two.noise_correlation),
            *((field, two.aperture_corrections[name]) for name, field in one.aperture_corrections.items()),
        ):
            values = [each.value_in_cell(index) for each, index in zip(pair, cells, strict=True)]
            assert values[0] == values[1]
            assert values[0] > 0.0


def test_regions_have_the_bits_of_the_whole(field: MiniSurvey, field_butler: Butler) -> None:
    rng = np.random.default_rng(5)
    box = whole_box(field)
    for recipe in list_recipes(field):
        whole = fetch_coadd(field_butler, recipe, make_grid(field, box))
        assert np.isfinite(whole.image.image.array).mean() > 0.2, recipe.name
        sizes = np.resize([(9, 14), (45, 31), (110, 90)], (20, 2))
        for height, width in sizes.tolist():
            y = int(rng.integers(box.y.start, box.y.stop - height))
            x = int(rng.integers(box.x.start, box.x.stop - width))
            part_box = Box.factory[y : y + height, x : x + width]
            try:
                part = fetch_coadd(field_butler, recipe, make_grid(field, part_box))
            except NoCoverageError:
                assert np.isnan(whole.image.image[part_box].array).all()
                continue
            assert_same_coadd(part, whole)


@contextmanager
def dask_executor() -> Iterator[Executor]:
    """Yield the executor of a dask cluster of one process."""
    with warnings.catch_warnings():
        # Of its own ports, loops and old names; ours stay errors in the calling thread.
        warnings.simplefilter("ignore")
        distributed = pytest.importorskip("distributed")
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client.get_executor()


@contextmanager
def process_executor() -> Iterator[Executor]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@contextmanager
def thread_executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.mark.parametrize("make_executor", [thread_executor, process_executor, dask_executor])
def test_any_executor_gives_the_same(
    field: MiniSurvey, field_butler: Butler, make_executor: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = make_grid(field, whole_box(field))
    alone = fetch_coadd(field_butler, MEAN, grid)
    # Small tiles, so that there are several, of several inputs each.
    monkeypatch.setattr(_from_butler, "TILE_BYTES", 2**21)
    with make_executor() as executor:  # type: ignore[operator]
        found = fetch_coadd(field_butler, MEAN, grid, executor=executor)
    assert_same_coadd(found, alone)
    assert found.inputs["share"].tolist() == alone.inputs["share"].tolist()


def test_a_patch_is_a_cell_coadd_that_lsst_images_reads(
    field: MiniSurvey, field_butler: Butler, tmp_path: Path
) -> None:
    sky_map, tract = field.config.sky_map, field.tract
    patch = sky_map.find_patch(field.config.center_position, tract=tract)
    recipe = MEAN.with_(name="patch")
    coadd = fetch_coadd(field_butler, recipe, {"tract": tract, "patch": patch})
    assert isinstance(coadd.image, CellCoadd)
    assert coadd.bbox == sky_map.patch_bbox(patch)
    assert coadd.image.band == "r"
    uri = coadd.write(tmp_path / "coadd.fits")
    with open_archive(uri) as archive:
        stored = archive.read()
    for name in PLANES:
        np.testing.assert_array_equal(getattr(stored, name).array, getattr(coadd.image, name).array)
    assert stored.patch.id == patch
    assert stored.bounds == coadd.image.bounds
    rows = stored.provenance.contributions
    one = rows[(rows["cell_i"] == rows["cell_i"][0]) & (rows["cell_j"] == rows["cell_j"][0])]
    counted = coadd.n_inputs[coadd.image.grid.bbox_of(next(coadd.image.bounds.cell_indices()))].array.max()
    assert len(one) == counted
    assert (rows["overlap_fraction"] == 1.0).all()
    assert rows["overlaps_center"].all()
    assert set(stored.provenance.inputs["visit"]) <= set(coadd.inputs["visit"])
    assert stored.aperture_corrections.keys() == coadd.aperture_corrections.keys()
    with astropy.io.fits.open(str(uri.ospath)) as hdus:
        np.testing.assert_array_equal(hdus["N_INPUTS"].data, coadd.n_inputs.array)
        np.testing.assert_array_equal(hdus["EFFECTIVE_TIME"].data, coadd.effective_time.array)
        assert hdus["INPUTS"].data["uuid"].tolist() == coadd.inputs["uuid"].tolist()
        np.testing.assert_allclose(hdus["CELLS"].data["psf"].sum(axis=(1, 2)), 1.0, atol=1e-6)
    assert hdus[0].header["COADHASH"] == recipe.fingerprint


def test_a_file_is_made_again_to_the_bit(
    field: MiniSurvey, field_butler: Butler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    y, x = find_middle(field)
    recipe = READY_MADE["good_seeing"].with_selection(bands=("r",))
    coadd = fetch_coadd(field_butler, recipe, make_grid(field, Box.factory[y - 60 : y + 50, x - 40 : x + 30]))
    uri = coadd.write(tmp_path / "coadd.fits")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("what the file says needs no search")

    monkeypatch.setattr(_from_butler, "find_inputs", refuse)
    for again in (recreate_from(uri, field_butler), lsst.dax.image.recreate_from(uri, field_butler)):
        assert isinstance(again, Coadd)
        assert again.record == coadd.record
        assert_same_coadd(again, coadd)
    with pytest.raises(RequestTooLargeError, match="70 x 110 = 7700 pixels; 7699 are allowed"):
        lsst.dax.image.recreate_from(uri, field_butler, max_pixels=7699)
    with pytest.raises(OutputError, match="exists"):
        coadd.write(uri)
    with pytest.raises(RequestError, match=r"'\.fits' files, not as 'coadd\.png'"):
        coadd.write(tmp_path / "coadd.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coadd.fits"]


def test_other_files_are_no_coadds(field: MiniSurvey, field_butler: Butler) -> None:
    ref = field_butler.query_datasets("visit_image", limit=1)[0]
    uri = field_butler.getURI(ref)
    with pytest.raises(UnsupportedProductError, match="no coadd of this library"):
        recreate_from(uri, field_butler)
    with pytest.raises(UnsupportedProductError, match="no product of this library"):
        lsst.dax.image.recreate_from(uri, field_butler)


def test_a_difference_is_the_first_minus_the_second(field: MiniSurvey, field_butler: Butler) -> None:
    y, x = find_middle(field)
    visits = sorted(plan.visit for plan in field.visits if plan.band == "r")
    early, late = (MEAN.with_selection(visits=tuple(half)) for half in (visits[:5], visits[5:]))
    box = Box.factory[y - 40 : y + 40, x - 40 : x + 40]
    found = subtract_coadds(field_butler, late, early, make_grid(field, box))
    expected = found.first.image.image.array - found.second.image.image.array
    np.testing.assert_array_equal(found.image.image.array, expected)
    assert np.isfinite(expected).any()
    both = found.first.image.variance.array + found.second.image.variance.array
    np.testing.assert_array_equal(found.image.variance.array, both)
    assert set(found.first.inputs["visit"]) <= set(visits[5:])
    assert set(found.second.inputs["visit"]) <= set(visits[:5])


def test_only_what_is_needed_is_read(
    field: MiniSurvey, field_butler: Butler, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lsst.dax.image.repository import DatasetReader

    boxes = []
    read = DatasetReader.read_masked_image

    def note(self: DatasetReader, bbox: Box) -> object:
        boxes.append((self.ref.id, bbox))
        return read(self, bbox)

    monkeypatch.setattr(DatasetReader, "read_masked_image", note)
    y, x = find_middle(field)
    coadd = fetch_coadd(field_butler, MEAN, make_grid(field, Box.factory[y : y + 8, x : x + 8]))
    # Each input once, and of it a cell of 50 pixels at any angle, with the kernel's reach.
    assert len({key for key, _ in boxes}) == len(boxes)
    assert {str(key) for key, _ in boxes} == set(coadd.inputs["uuid"][coadd.inputs["n_cells"] > 0])
    assert max(max(box.shape) for _, box in boxes) < 150


def test_a_shape_on_the_sky_gives_its_box(field: MiniSurvey, field_butler: Butler) -> None:
    circle = CircleStencil(field.config.center_position, 6 * u.arcsec)
    coadd = fetch_coadd(field_butler, MEAN, circle)
    assert abs(coadd.bbox.x.size - 60) <= 2
    assert_same_coadd(coadd, fetch_coadd(field_butler, MEAN.to_json(), make_grid(field, coadd.bbox)))


def test_what_cannot_be_done_is_refused(field: MiniSurvey, field_butler: Butler) -> None:
    y, x = find_middle(field)
    here = make_grid(field, Box.factory[y : y + 20, x : x + 20])
    with pytest.raises(RequestTooLargeError, match="20 x 20 = 400 pixels; 399 are allowed"):
        fetch_coadd(field_butler, MEAN, here, max_pixels=399)
    far = make_grid(field, Box.factory[0:20, 0:20])
    with pytest.raises(NoCoverageError, match="outside of the survey"):
        fetch_coadd(field_butler, MEAN, far)
    with pytest.raises(NoCoverageError, match="mean"):
        fetch_coadd(field_butler, MEAN.with_selection(max_fwhm_arcsec=0.1), here)
    with pytest.raises(RequestError, match="no Recipe: patience is no field"):
        fetch_coadd(field_butler, MEAN.to_json().replace('"seed"', '"patience"'), here)
    with pytest.raises(RequestError, match="schema version 2"):
        fetch_coadd(field_butler, MEAN.to_json().replace('"schema_version":1', '"schema_version":2'), here)
    sharp = READY_MADE["psf_matched"].with_selection(bands=("r",), max_fwhm_arcsec=None)
    sharp = sharp.with_(psf_matching=PsfMatching(target=PsfTarget(fwhm_arcsec=0.3)))
    with pytest.raises(RequestError, match="cannot be brought to one of"):
        fetch_coadd(field_butler, sharp, here)
