"""The command that verifies a repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.raw_survey import shared_raw_survey

from lsst.dax.image.cli import main
from lsst.dax.image.regression import Comparison
from lsst.dax.image.simulation import RawSurvey


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> RawSurvey:
    return shared_raw_survey(tmp_path_factory)


def run(survey: RawSurvey, *arguments: str) -> int:
    return main(["verify-recreation", str(survey.root), *arguments])


def test_a_good_repository_passes(
    survey: RawSurvey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"visit = {survey.visits[0].visit}"
    out = tmp_path / "result.json"
    status = run(survey, "MiniCam/defaults", "--where", where, "--tolerance", "identical", "--json", str(out))
    printed = capsys.readouterr().out
    assert status == 0
    assert "2 of 2 visit images are identical to the bit; 0 are not." in printed
    first, second = json.loads(out.read_text())
    assert (first["dataset"]["detector"], second["dataset"]["detector"]) == (0, 1)
    assert first["failures"] == []
    Comparison.model_validate(first["comparison"])


def test_processes_give_the_same_answer(survey: RawSurvey, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"visit = {survey.visits[0].visit}"
    assert run(survey, "MiniCam/defaults_lossy", "--where", where, "--processes", "2") == 0
    assert "2 of 2 visit images are equal within the quantisation; 0 are not." in capsys.readouterr().out


def test_what_fails_is_in_the_table(survey: RawSurvey, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"visit = {survey.visits[0].visit} AND detector = 0"
    status = run(
        survey,
        "MiniCam/defaults_lossy",
        "--where",
        where,
        "--tolerance",
        "identical",
        "--sequence",
        "LSSTCam DP2",
    )
    printed = capsys.readouterr().out
    assert status == 1
    (row,) = [line for line in printed.splitlines() if str(survey.visits[0].visit) in line]
    assert "image: fraction identical to the bit is" in row
    assert row.split()[2] == "0.5000", "the largest difference in steps"
    assert "0 of 1 visit images are identical to the bit; 1 are not." in printed


def test_nothing_to_verify_is_no_success(survey: RawSurvey, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(survey, "MiniCam/defaults", "--where", "visit = 7") == 1
    assert "0 of 0 visit images" in capsys.readouterr().out


def test_an_unknown_sequence(survey: RawSurvey, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(survey, "MiniCam/defaults", "--sequence", "HSC") == 1
    assert "No sequence is called 'HSC'" in capsys.readouterr().err


def test_no_repository_and_no_processes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["verify-recreation", str(tmp_path / "nowhere"), "collection"]) == 1
    assert "RequestError: There is no repository" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["verify-recreation", str(tmp_path), "collection", "--processes", "0"])
    assert "'0' is no positive number" in capsys.readouterr().err
