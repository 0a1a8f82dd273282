"""Folders and files of fluxes; a run that is killed loses nothing, and goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import astropy.units as u
import boto3
import numpy as np
import pytest
from astropy.table import QTable
from lsst.daf.butler import Butler
from moto import mock_aws
from numpy.testing import assert_array_equal
from tests.support.light_curves import assert_same_table

from lsst.dax.image.errors import InputDataError, OutputError, RequestError
from lsst.dax.image.forced import (
    ForcedOptions,
    ImageSearch,
    LightCurveStore,
    fetch_light_curves,
    plan_light_curves,
    read_light_curves,
    write_light_curves,
)
from lsst.dax.image.forced import _light_curves_from_butler as bulk
from lsst.dax.image.forced import light_curve_store as stores
from lsst.dax.image.forced.schema import Column
from lsst.dax.image.simulation import MiniSurvey

ROOT = Path(__file__).resolve().parents[2]
BOTH = ImageSearch(dataset_types=["visit_image", "difference_image"])

# Measures on one image after the other, slowly, until it is killed.
RUN = """
import sys, time
from lsst.dax.image.forced import _light_curves_from_butler as bulk, light_curve_store as stores
from lsst.dax.image.simulation import MiniSurvey
from tests.forced.test_light_curve_store import BOTH
survey = MiniSurvey.load(sys.argv[1])
stores._MAX_IMAGES = 2
measure = bulk.measure_dataset
def slow(*arguments):
    print(arguments[1].id.hex, flush=True)
    if len(seen) == 7:
        time.sleep(600)
    seen.append(1)
    return measure(*arguments)
seen = []
bulk.measure_dataset = slow
stars = survey.truth_positions(survey.template_time)
bulk.plan_light_curves(survey.open(), stars, images=BOTH).save(sys.argv[2])
"""


def test_a_killed_run_goes_on_and_measures_nothing_twice(
    mini_butler: Butler, mini_survey: MiniSurvey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "fluxes"
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(mini_survey.root), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    begun = []
    with run:
        assert run.stdout is not None
        for line in run.stdout:
            begun.append(line.strip())
            if len(begun) == 8:
                break
        run.send_signal(signal.SIGKILL)
    (folder / ".part-half.parquet").write_bytes(b"PAR1")
    measured: list[str] = []
    measure = bulk.measure_dataset

    def note(butler, ref, asked, request):
        measured.append(ref.id.hex)
        return measure(butler, ref, asked, request)

    monkeypatch.setattr(bulk, "measure_dataset", note)
    stars = mini_survey.truth_positions(mini_survey.template_time)
    resumed = fetch_light_curves(mini_butler, stars, images=BOTH, resume_from=folder)
    # Three files of two images were complete; the seventh image was lost with the run.
    batch = plan_light_curves(mini_butler, stars, images=BOTH)
    assert measured == [ref.id.hex for ref in batch.refs][6:]
    assert begun[:6] == [ref.id.hex for ref in batch.refs][:6]
    assert not list(folder.glob(".part-*"))
    measured.clear()
    again = batch.fetch(resume_from=folder)
    assert measured == []
    monkeypatch.undo()
    whole = batch.fetch()
    assert_same_table(resumed, whole)
    assert_same_table(again, whole)


def test_new_images_join_the_folder_and_smaller_searches_get_theirs(
    mini_butler: Butler, mini_survey: MiniSurvey, tmp_path: Path
) -> None:
    star = mini_survey.find_target("star")
    red, all_bands = ImageSearch(bands=["r"]), ImageSearch()
    first = fetch_light_curves(mini_butler, star, images=red, resume_from=tmp_path)
    everything = fetch_light_curves(mini_butler, star, images=all_bands, resume_from=tmp_path)
    assert len(everything) == 3 * len(first)
    assert_same_table(fetch_light_curves(mini_butler, star, images=red, resume_from=tmp_path), first)


def test_folder_of_another_request_is_refused(
    mini_butler: Butler, mini_survey: MiniSurvey, tmp_path: Path
) -> None:
    star, other = mini_survey.find_target("star"), mini_survey.find_target("variable")
    search = ImageSearch(bands=["r"])
    fetch_light_curves(mini_butler, star, images=search, resume_from=tmp_path)
    with pytest.raises(OutputError, match="another request: positions differ"):
        fetch_light_curves(mini_butler, other, images=search, resume_from=tmp_path)
    with pytest.raises(OutputError, match="another request: columns, options differ"):
        options = ForcedOptions(radii=(5.0,))
        fetch_light_curves(mini_butler, star, images=search, options=options, resume_from=tmp_path)
    with pytest.raises(RequestError, match="local folder"):
        fetch_light_curves(mini_butler, star, images=search, resume_from="s3://bucket/fluxes/")


COLUMNS = (
    Column("id", np.int64, None, "number", -1),
    Column("flux", np.float64, u.nJy, "flux"),
    Column("dataset", "U32", None, "UUID", ""),
)


def make_rows(name: str, n: int = 3) -> dict[str, np.ndarray]:
    """Return the rows of an image."""
    return {"id": np.arange(n), "flux": np.array([1.5, np.nan, -2.0])[:n], "dataset": np.full(n, name)}


def test_store_takes_an_image_once_from_one_run(tmp_path: Path) -> None:
    with LightCurveStore(tmp_path, COLUMNS, {"of": "tests"}) as store:
        store.add("a", make_rows("a"))
        with pytest.raises(RequestError, match="image a already"):
            store.add("a", make_rows("a"))
        with pytest.raises(OutputError, match="Another run writes"):
            LightCurveStore(tmp_path, COLUMNS, {"of": "tests"})
        store.flush()
        store.add("b", make_rows("b"))
        columns = store.read()
        assert sorted(columns["dataset"].tolist()) == ["a"] * 3 + ["b"] * 3
    with LightCurveStore(tmp_path, COLUMNS, {"of": "tests"}) as store:
        assert store.finished == {"a", "b"}
        for name, values in make_rows("a").items():
            assert_array_equal(store.read()[name][store.read()["dataset"] == "a"], values)
    (part, *_) = tmp_path.glob("part-*.parquet")
    part.write_bytes(b"no parquet")
    with pytest.raises(InputDataError, match="no file of fluxes"):
        LightCurveStore(tmp_path, COLUMNS, {"of": "tests"})


def test_failed_write_keeps_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LightCurveStore(tmp_path, COLUMNS, {})
    store.add("a", make_rows("a"))
    store.flush()
    store.add("b", make_rows("b"))

    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stores, "_to_arrow", fail)
        with pytest.raises(OutputError, match="No space left"):
            store.flush()
    store.close()
    with LightCurveStore(tmp_path, COLUMNS, {}) as again:
        assert again.finished == {"a", "b"}


@pytest.mark.parametrize("name", ["fluxes.parquet", "fluxes.ecsv"])
def test_files_give_the_table_back(
    name: str, mini_butler: Butler, mini_survey: MiniSurvey, tmp_path: Path
) -> None:
    table = fetch_light_curves(mini_butler, mini_survey.find_target("variable"))
    table.meta["failures"] = {"a": "its file is gone"}
    path = tmp_path / "deep" / name
    assert write_light_curves(table, path).ospath == str(path)
    back = read_light_curves(path)
    assert_same_table(back, table)
    assert back.meta["failures"] == table.meta["failures"]
    assert back["flux"].info.description == table["flux"].info.description
    with pytest.raises(OutputError, match="exists"):
        write_light_curves(table, path)
    write_light_curves(table[:2], path, overwrite=True)
    assert len(read_light_curves(path)) == 2
    assert [file.name for file in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["fluxes.parquet", "fluxes.ecsv"])
def test_tables_go_to_stores_of_objects(name: str, mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    table = fetch_light_curves(mini_butler, mini_survey.find_target("star"))
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="fluxes")
        uri = write_light_curves(table, f"s3://fluxes/folder/{name}")
        assert uri.geturl() == f"s3://fluxes/folder/{name}"
        assert_same_table(read_light_curves(uri), table)
        with pytest.raises(OutputError, match=f"{name} cannot be written: FileExistsError"):
            write_light_curves(table[:1], uri)
        assert len(read_light_curves(uri)) == len(table)
        write_light_curves(table[:1], uri, overwrite=True)
        assert len(read_light_curves(uri)) == 1
        found = boto3.client("s3").list_objects_v2(Bucket="fluxes")["Contents"]
        assert [entry["Key"] for entry in found] == [f"folder/{name}"]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what clients of a mocked S3 ask for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def test_bad_names_and_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = QTable({"flux": [1.0] * u.nJy})
    with pytest.raises(RequestError, match=r"\.parquet or \.ecsv"):
        write_light_curves(table, tmp_path / "fluxes.csv")
    for name in ("missing.parquet", "missing.ecsv"):
        with pytest.raises(InputDataError, match="no table of fluxes"):
            read_light_curves(tmp_path / name)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_light_curves(table, tmp_path / "file" / "fluxes.ecsv")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(RequestError, match="need pyarrow"):
        write_light_curves(table, tmp_path / "fluxes.parquet")
    with pytest.raises(RequestError, match="need pyarrow"):
        LightCurveStore(tmp_path / "folder", COLUMNS, {})
