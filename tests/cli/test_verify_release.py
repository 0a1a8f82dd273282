"""The command that verifies a release: it passes what is right, and notices one pixel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.raw_survey import shared_raw_survey
from tests.support.release import change_pixel, copy_repository
from tests.support.survey import shared_mini_survey

from lsst.dax.image.cli import main
from lsst.dax.image.regression import Comparison, ReleaseReport, StatisticalComparison
from lsst.dax.image.simulation import MiniSurvey, RawSurvey

DEFAULTS = "MiniCam/defaults"
LOSSY = "MiniCam/defaults_lossy"


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> MiniSurvey:
    return shared_mini_survey(tmp_path_factory)


@pytest.fixture(scope="module")
def raws(tmp_path_factory: pytest.TempPathFactory) -> RawSurvey:
    return shared_raw_survey(tmp_path_factory)


def run(survey: MiniSurvey, *arguments: str, collection: str = DEFAULTS) -> int:
    return main(["verify-release", str(survey.root), collection, *arguments])


def run_product(survey: MiniSurvey, product: str, where: str, collection: str = DEFAULTS) -> int:
    return run(survey, "--products", product, "--all", "--where", product, where, collection=collection)


def test_the_repositories_of_the_demo_pass(
    survey: MiniSurvey, raws: RawSurvey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every product that a repository can be checked for is checked, and what is left out is said."""
    out, page = tmp_path / "report.json", tmp_path / "report.html"
    assert run(survey, "--sample", "2", "--json", str(out), "--html", str(page)) == 0
    printed = capsys.readouterr().out
    assert "visit_image               left out: Query for 'raw' found nothing" in printed
    report = ReleaseReport.model_validate_json(out.read_text())
    assert report.passed
    assert {"deep_coadd": (2, 0), "mosaic": (2, 0), "cutout": (2, 0)}.items() <= report.counts.items()
    kinds = {check.product: type(check.comparison) for check in report.checks}
    assert kinds["deep_coadd"] is StatisticalComparison
    assert kinds["mosaic"] is Comparison
    assert page.read_text().count("data:image/png;base64,") == len(report.checks)
    assert run(raws, "--sample", "1") == 0
    assert "visit_image                   1 checked,     0 failed" in capsys.readouterr().out


@pytest.mark.parametrize("collection", [DEFAULTS, LOSSY])
def test_verify_release_notices_one_pixel_of_a_visit_image(
    collection: str, raws: RawSurvey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = copy_repository(raws, tmp_path / "repository")
    visit = mine.visits[0].visit
    where = f"visit = {visit} AND detector = 0"
    key = {"instrument": "MiniCam", "visit": visit, "detector": 0}
    assert run_product(mine, "visit_image", where, collection) == 0
    change_pixel(mine.root, collection, "visit_image", key, x=31, y=57, sigma=1.0)
    assert run_product(mine, "visit_image", where, collection) == 1
    assert "(31, 57)" in capsys.readouterr().out


def test_verify_release_notices_one_pixel(
    survey: MiniSurvey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A coadd that is drawn from the truth has other noise: a pixel must stand out of it."""
    mine = copy_repository(survey, tmp_path / "repository")
    patch = mine.patches[0]
    where = f"patch = {patch} AND band = 'r'"
    key = {"skymap": mine.skymap, "tract": mine.tract, "patch": patch, "band": "r"}
    out, page = tmp_path / "report.json", tmp_path / "report.html"
    assert run_product(mine, "deep_coadd", where) == 0
    change_pixel(mine.root, DEFAULTS, "deep_coadd", key, x=1110, y=1037, sigma=15.0)
    capsys.readouterr()
    arguments = ("--products", "deep_coadd", "--where", "deep_coadd", where)
    assert run(mine, *arguments, "--json", str(out), "--html", str(page)) == 1
    printed = capsys.readouterr().out
    assert "0 of 1 checks passed; 1 did not." in printed
    assert "(at pixel (1110, 1037))" in printed
    (check,) = json.loads(out.read_text())["checks"]
    assert check["comparison"]["max_at"] == [1110, 1037]
    text = page.read_text()
    assert '<span class="failed">failed</span>' in text
    assert "around pixel (1110, 1037)" in text


def test_verify_release_notices_one_pixel_of_a_difference_image(
    survey: MiniSurvey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = copy_repository(survey, tmp_path / "repository")
    visit = mine.visits[0].visit
    where = f"visit = {visit} AND detector = 0"
    key = {"instrument": "MiniCam", "visit": visit, "detector": 0}
    assert run_product(mine, "difference_image", where) == 0
    change_pixel(mine.root, DEFAULTS, "difference_image", key, x=131, y=57, sigma=1.0)
    assert run_product(mine, "difference_image", where) == 1
    assert "(131, 57)" in capsys.readouterr().out


def test_processes_find_the_same(survey: MiniSurvey, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--products", "deep_coadd,cutout", "--sample", "2", "--seed", "5")
    assert run(survey, *arguments) == 0
    alone = capsys.readouterr().out
    assert run(survey, *arguments, "--processes", "2") == 0
    assert capsys.readouterr().out == alone


def test_nothing_to_check_is_no_success(survey: MiniSurvey, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_product(survey, "deep_coadd", "patch = 3") == 1
    printed = capsys.readouterr().out
    assert "deep_coadd                left out: There are no such datasets." in printed
    assert "0 of 0 checks passed" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--products", "spectra"), r"RequestError: No product is called ['spectra']"),
        (("--products", "visit_image"), "DatasetNotFoundError: Query for 'raw' found nothing"),
        (("--where", "spectra", "visit = 1"), r"RequestError: No product is called ['spectra']"),
        (("--recipe", "nowhere.json"), "RequestError: The recipe nowhere.json cannot be read"),
        (("--sequence", "HSC"), "No sequence is called 'HSC'"),
    ],
)
def test_what_cannot_be_asked_for(
    arguments: tuple[str, ...], message: str, survey: MiniSurvey, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(survey, *arguments) == 1
    assert message in capsys.readouterr().err


def test_no_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-release", str(tmp_path / "nowhere"), "collection"]) == 1
    assert "RequestError: There is no repository" in capsys.readouterr().err


def test_a_report_that_cannot_be_written(
    survey: MiniSurvey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "absent" / "report.json"
    assert run(survey, "--products", "cutout", "--sample", "1", "--json", str(out)) == 1
    assert "OutputError" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
