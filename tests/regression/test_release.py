"""A release test finds what is wrong with each product, and only that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lsst.daf.butler import Butler
from tests.support.release import change_pixel, copy_repository, put_forced_sources, replace_dataset
from tests.support.survey import shared_mini_survey

from lsst.dax.image.coadds import DEEP, fetch_coadd
from lsst.dax.image.errors import DatasetNotFoundError, RequestError
from lsst.dax.image.regression import (
    RELEASE_PRODUCTS,
    Comparison,
    ReleaseItem,
    ReleaseReport,
    ReleaseSettings,
    TableComparison,
    assert_released,
    plan_release,
    verify_release,
)
from lsst.dax.image.repository import find_dataset, find_datasets
from lsst.dax.image.simulation import MiniSurvey


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> MiniSurvey:
    return shared_mini_survey(tmp_path_factory)


def test_the_draw_is_the_same_again_and_another_for_another_seed(survey: MiniSurvey) -> None:
    with survey.open() as butler:
        plans = [
            plan_release(butler, ReleaseSettings(products=products, sample=4, seed=seed))
            for products, seed in (
                (("cutout",), 1),
                (("cutout",), 1),
                (("deep_coadd", "cutout"), 1),
                (("cutout",), 2),
            )
        ]
        everything = plan_release(butler, ReleaseSettings(products=("cutout",), sample=None))
    drawn = [[item.ref.id for item in plan.items if item.product == "cutout"] for plan in plans]
    assert drawn[0] == drawn[1] == drawn[2]
    assert drawn[0] != drawn[3]
    assert len(set(drawn[0])) == 4
    assert len(everything.items) == 18 + 18 + 6


def test_what_cannot_be_checked_is_left_out_unless_it_is_named(survey: MiniSurvey) -> None:
    with survey.open() as butler:
        plan = plan_release(butler)
        assert set(plan.left_out) | {item.product for item in plan.items} == set(RELEASE_PRODUCTS)
        assert "raw" in plan.left_out["visit_image"]
        with pytest.raises(DatasetNotFoundError, match="Query for 'raw' found nothing"):
            plan_release(butler, ReleaseSettings(products=("visit_image",)))
        with pytest.raises(RequestError, match=r"No product is called \['spectra'\]; there are \['visit_im"):
            plan_release(butler, ReleaseSettings(products=("spectra", "cutout")))
        with pytest.raises(RequestError, match="At least 1 dataset must be drawn, not 0"):
            plan_release(butler, ReleaseSettings(sample=0))


def test_a_coadd_that_says_how_it_was_made_is_made_again_to_the_step(
    survey: MiniSurvey, tmp_path: Path
) -> None:
    """No statistics: one quantisation step in one pixel is too much."""
    mine = copy_repository(survey, tmp_path / "repository")
    key = {"skymap": mine.skymap, "tract": mine.tract, "patch": mine.patches[0], "band": "r"}
    with mine.open() as butler:
        old = find_dataset(butler, "deep_coadd", key)
        patch = {name: value for name, value in key.items() if name != "band"}
        coadd = fetch_coadd(butler, DEEP.with_selection(bands=("r",)), patch)
    replace_dataset(mine.root, mine.collections, old, coadd.image)
    with mine.open() as butler:
        item = ReleaseItem("deep_coadd", find_dataset(butler, "deep_coadd", key))
        assert_released(butler, item)
        (check,) = verify_release(butler, plan_release(butler, only(key)))
    assert isinstance(check.reported.comparison, Comparison)
    image = check.reported.comparison.planes[0]
    assert image.step is not None
    good = np.argwhere(np.isfinite(coadd.image.image.array))[20_000]
    y, x = (int(at) for at in good + np.array(coadd.image.bbox.start))
    change_pixel(mine.root, mine.collections, "deep_coadd", key, x=x, y=y, sigma=0.5)
    with mine.open() as butler:
        item = ReleaseItem("deep_coadd", find_dataset(butler, "deep_coadd", key))
        with pytest.raises(AssertionError, match=rf"(?s)not equal within.*\(largest at pixel \({x}, {y}\)\)"):
            assert_released(butler, item)


def only(key: dict[str, object]) -> ReleaseSettings:
    where = f"patch = {key['patch']} AND band = '{key['band']}'"
    return ReleaseSettings(products=("deep_coadd",), where={"deep_coadd": where})


@pytest.mark.parametrize("id_name", ["objectId", "diaObjectId"])
def test_one_flux_of_a_table_is_noticed(id_name: str, survey: MiniSurvey, tmp_path: Path) -> None:
    """It is wrong by a tenth of its error; the other 107 rows are measured again as they are."""
    mine = copy_repository(survey, tmp_path / "repository")
    put_forced_sources(mine, id_name=id_name)
    product = "object_forced_source" if id_name == "objectId" else "dia_object_forced_source"
    settings = ReleaseSettings(products=(product,), images_per_table=100)
    with mine.open() as butler:
        (check,) = verify_release(butler, plan_release(butler, settings))
        (ref,) = find_datasets(butler, product)
        table = butler.get(ref)
    assert check.reported.failures == ()
    assert isinstance(check.reported.comparison, TableComparison)
    assert check.reported.comparison.n_rows == 6 * 18 == len(table)
    row = np.flatnonzero(np.isfinite(table["psfDiffFlux"]))[7]
    table["psfDiffFlux"][row] += 0.1 * table["psfDiffFluxErr"][row]
    replace_dataset(mine.root, mine.collections, ref, table)
    with mine.open() as butler:
        plan = plan_release(butler, settings)
        with pytest.raises(AssertionError, match=r"psfDiffFlux: largest difference is 0\.1 standard dev"):
            assert_released(butler, plan.items[0], settings)


def test_a_product_that_cannot_be_made_is_a_failure_and_the_rest_goes_on(
    survey: MiniSurvey, tmp_path: Path
) -> None:
    mine = copy_repository(survey, tmp_path / "repository")
    with mine.open() as butler:
        plan = plan_release(butler, ReleaseSettings(products=("cutout",), sample=3))
        path = Path(butler.getURI(plan.items[1].ref).ospath)
        path.write_bytes(path.read_bytes()[:5000])
        checks = list(verify_release(butler, plan))
    assert [check.passed for check in checks] == [True, False, True]
    assert "InputDataError" in checks[1].reported.failures[0]
    report = ReleaseReport(
        repository="here", collections=("all",), left_out={}, checks=tuple(check.reported for check in checks)
    )
    assert not report.passed
    assert report.counts == {"cutout": (3, 1)}
    assert ReleaseReport.model_validate_json(report.model_dump_json()) == report


def test_a_mosaic_across_a_seam_has_the_pixels_of_both_patches(survey: MiniSurvey) -> None:
    """The middle of two patches of 200 pixels side by side, and the same from either."""
    with survey.open() as butler:
        checks = list(verify_release(butler, plan_release(butler, ReleaseSettings(products=("mosaic",)))))
    assert len(checks) == 6
    for check in checks:
        assert isinstance(check.reported.comparison, Comparison)
        assert check.reported.comparison.planes[0].n_compared == 400 * 200
        assert check.reported.comparison.planes[0].identical == 1.0


def test_a_closeup_is_around_the_largest_difference(survey: MiniSurvey, tmp_path: Path) -> None:
    mine = copy_repository(survey, tmp_path / "repository")
    key = {"skymap": mine.skymap, "tract": mine.tract, "patch": mine.patches[0], "band": "r"}
    change_pixel(mine.root, mine.collections, "deep_coadd", key, x=1110, y=1037, sigma=50.0)
    with Butler.from_config(str(mine.root), collections=mine.collections) as butler:
        (check,) = verify_release(butler, plan_release(butler, only(key)))
    closeup = check.closeup
    assert closeup is not None
    assert closeup.center == (1110, 1037)
    row, column = 1037 - closeup.origin[1], 1110 - closeup.origin[0]
    assert (row, column) == (32, 32)
    wrong = (closeup.reference - closeup.candidate) / closeup.sigma
    assert np.nanargmax(wrong) == row * closeup.reference.shape[1] + column
    assert wrong[row, column] == pytest.approx(50.0, abs=6.0)
