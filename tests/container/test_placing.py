"""Files get their names whole, or not at all, in folders and in stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from lsst.resources import ResourcePath

from lsst.dax.image.container import placed_whole, upload_errors_reported
from lsst.dax.image.errors import OutputError


def put(path: Path, text: str, *, overwrite: bool = False) -> None:
    with placed_whole(ResourcePath(path), overwrite=overwrite) as staged:
        assert staged.suffix == path.suffix
        staged.write_text(text)


def test_a_file_is_there_when_it_is_finished_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.ecsv"
    with placed_whole(ResourcePath(path), overwrite=False) as staged:
        staged.write_text("half")
        assert not path.exists()
        staged.write_text("whole")
    assert path.read_text() == "whole"
    assert [found.name for found in path.parent.iterdir()] == ["table.ecsv"]


def test_a_writer_that_fails_leaves_nothing_and_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "table.ecsv"
    put(path, "old")
    with pytest.raises(ZeroDivisionError), placed_whole(ResourcePath(path), overwrite=True) as staged:
        staged.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "table.ecsv"
    put(path, "old")
    with pytest.raises(OutputError, match=r"table\.ecsv cannot be written: FileExistsError"):
        put(path, "new")
    put(path, "new", overwrite=True)
    assert path.read_text() == "new"


def test_a_file_that_another_process_makes_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "table.ecsv"
    with (
        pytest.raises(OutputError, match="FileExistsError"),
        placed_whole(ResourcePath(path), overwrite=False) as staged,
    ):
        staged.write_text("ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"


def test_a_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        put(tmp_path / "file" / "table.ecsv", "x")


@pytest.mark.parametrize(
    "error",
    [ClientError({"Error": {"Code": "NoSuchBucket", "Message": "none"}}, "PutObject"), ValueError("403")],
)
def test_what_a_store_raises_is_an_output_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise error

    target = ResourcePath("s3://bucket/name.fits")
    monkeypatch.setattr(type(target), "transfer_from", refuse)
    with pytest.raises(OutputError, match=type(error).__name__):  # noqa: SIM117  # one statement each
        with placed_whole(target, overwrite=False) as staged:
            staged.write_text("x")
    with pytest.raises(OSError, match=type(error).__name__), upload_errors_reported():
        raise error
