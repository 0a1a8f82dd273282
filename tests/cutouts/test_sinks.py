"""What all sinks promise: every target is recorded once, and no half output has a name."""

from __future__ import annotations

import dataclasses
import io
import json
import resource
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import astropy.io.fits
import numpy as np
import pyarrow.parquet
import pytest
import zarr
from astropy.table import Table
from lsst.daf.butler.progress import Progress, ProgressHandler
from lsst.images import MaskedImage
from tests.support.stamps import CREATED, make_stamp_mix

from lsst.dax.image.cutouts import Stamp
from lsst.dax.image.cutouts.sinks import (
    FitsDirectory,
    MultiExtensionFits,
    StampKey,
    StampList,
    StampSink,
    StampStack,
    StampTable,
    StampZip,
    save_stamps,
    stamp_key,
)
from lsst.dax.image.errors import OutputError, RequestError

SINKS: dict[str, tuple[str, Callable[..., Any]]] = {
    "fits directory": ("folder", lambda path: FitsDirectory(path, created=CREATED)),
    "zip": ("stamps.zip", lambda path, **kw: StampZip(path, created=CREATED, **kw)),
    "multi-extension": ("stamps.fits", lambda path, **kw: MultiExtensionFits(path, created=CREATED, **kw)),
    "fits table": ("table.fits", StampTable),
    "parquet": ("table.parquet", StampTable),
    "npy stack": ("stack", StampStack),
    "zarr stack": ("stack.zarr", StampStack),
}
STAGED = {kind: entry for kind, entry in SINKS.items() if kind != "fits directory"}
each_sink = pytest.mark.parametrize("kind", SINKS)
each_staged_sink = pytest.mark.parametrize("kind", STAGED)


def open_sink(kind: str, folder: Path, **kwargs: Any) -> Any:
    name, make = SINKS[kind]
    return make(folder / name, **kwargs)


def read_targets(kind: str, folder: Path) -> list[dict[str, Any]]:
    """Return index, dataset, status, message and data ID of each row of an output."""
    path = folder / SINKS[kind][0]
    match kind:
        case "fits directory" | "npy stack":
            columns = plain_columns(Table.read(path / "targets.ecsv", format="ascii.ecsv"))
        case "zip":
            with zipfile.ZipFile(path) as archive:
                text = archive.read("targets.ecsv").decode()
            columns = plain_columns(Table.read(text, format="ascii.ecsv"))
        case "multi-extension" | "fits table":
            with astropy.io.fits.open(path) as hdus:
                data = hdus[-1].data
                columns = {name: data[name].tolist() for name in data.names if data[name].ndim == 1}
        case "parquet":
            columns = pyarrow.parquet.read_table(path).to_pydict()
        case _:
            group = zarr.open_group(path, mode="r")["targets"]
            columns = {name: array[:].tolist() for name, array in group.arrays()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def plain_columns(table: Table) -> dict[str, list[Any]]:
    """Return the columns of a table; astropy masks empty strings."""
    return {
        name: ["" if value is None else value for value in table[name].tolist()] for name in table.colnames
    }


def read_planes(path: Path) -> list[np.ndarray]:
    image = MaskedImage.read(str(path))
    return [image.image.array, image.variance.array, image.mask.array]


def read_pixels(kind: str, folder: Path) -> dict[str, Any]:
    """Return all pixels of an output by name."""
    path = folder / SINKS[kind][0]
    match kind:
        case "fits directory":
            return {file.name: read_planes(file) for file in sorted(path.glob("*.fits"))}
        case "zip":
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder / "extracted")
            return {file.name: read_planes(file) for file in sorted((folder / "extracted").glob("*.fits"))}
        case "multi-extension":
            with astropy.io.fits.open(path) as hdus:
                return {f"{hdu.name} {hdu.ver}": hdu.data.copy() for hdu in hdus[1:-1]}
        case "fits table":
            table = Table.read(path, "STAMPS")
            return {name: np.asarray(table[name]) for name in ("image", "mask", "variance")}
        case "parquet":
            table = pyarrow.parquet.read_table(path)
            return {name: table[name].to_pylist() for name in ("image", "mask", "variance")}
        case "npy stack":
            return {name: np.load(path / f"{name}.npy") for name in ("image", "mask", "variance")}
        case _:
            group = zarr.open_group(path, mode="r")
            return {name: group[name][:] for name in ("image", "mask", "variance")}


def failing_after(stamps: list[Stamp], count: int) -> Iterator[Stamp]:
    yield from stamps[:count]
    raise RuntimeError("the power went")


@each_sink
def test_every_target_is_a_row_with_its_status(kind: str, tmp_path: Path) -> None:
    stamps = make_stamp_mix(visits=2)
    with open_sink(kind, tmp_path) as sink:
        assert isinstance(sink, StampSink)
        summary = save_stamps(stamps, sink)
    assert summary.counts == {"OK": 12, "EDGE": 4, "NO_COVERAGE": 4, "BAD_POSITION": 2, "READ_FAILED": 2}
    assert (summary.added, summary.skipped) == (24, 0)
    rows = read_targets(kind, tmp_path)
    assert [(row["dataset"], row["index"], row["status"]) for row in rows] == [
        (stamp.ref.id.hex, stamp.index, stamp.status) for stamp in stamps
    ]
    assert rows[3]["message"] == "The image has no pixel of the target's box."
    assert rows[5]["message"] == 'no "file", at /\\xe9'  # one line of ASCII
    assert rows[0]["message"] == ""
    assert json.loads(rows[20]["data_id"]) == {"instrument": "Cam", "detector": 3, "visit": 101}
    assert [row["time"] for row in rows] == [61000.0] * 12 + [61001.0] * 12
    assert rows[1]["ra"] == stamps[1].position.ra.deg
    assert np.isnan(rows[4]["ra"])


@each_sink
@pytest.mark.parametrize("count", [1, 11])
def test_an_interrupted_run_goes_on_where_it_ended(kind: str, count: int, tmp_path: Path) -> None:
    stamps = make_stamp_mix(visits=2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with open_sink(kind, whole) as sink:
        save_stamps(stamps, sink)
    with pytest.raises(RuntimeError, match="the power went"), open_sink(kind, parts) as sink:
        save_stamps(failing_after(stamps, count), sink)
    assert kind == "fits directory" or not (parts / SINKS[kind][0]).exists()
    with open_sink(kind, parts) as sink:
        failed = {stamp_key(stamp) for stamp in stamps if stamp.status == "READ_FAILED"}
        assert sink.finished() == {stamp_key(stamp) for stamp in stamps[:count]} - failed
        summary = save_stamps(stamps, sink)
    assert summary.skipped == count - sum(stamp.status == "READ_FAILED" for stamp in stamps[:count])
    order = [(row["dataset"], row["index"]) for row in read_targets(kind, parts)]
    assert sorted(order) == [(stamp.ref.id.hex, stamp.index) for stamp in stamps]  # nothing twice or lost
    np.testing.assert_equal(read_pixels(kind, parts), read_pixels(kind, whole))
    assert [file for file in parts.iterdir() if file.name.startswith(".")] == []


@each_sink
def test_a_target_that_could_not_be_read_gets_another_chance(kind: str, tmp_path: Path) -> None:
    stamps = make_stamp_mix(6)
    with pytest.raises(RuntimeError, match="the power went"), open_sink(kind, tmp_path) as sink:
        save_stamps(failing_after(stamps, 6), sink)
    better = dataclasses.replace(stamps[0], index=5)
    with open_sink(kind, tmp_path) as sink:
        assert StampKey(stamps[5].ref.id.hex, 5) not in sink.finished()
        assert save_stamps([*stamps[:5], better], sink).counts == {"OK": 1}
    rows = read_targets(kind, tmp_path)
    assert [row["status"] for row in rows] == ["OK", "OK", "EDGE", "NO_COVERAGE", "BAD_POSITION", "OK"]
    with open_sink(kind, tmp_path / "at once") as sink:
        save_stamps([*stamps[:5], better], sink)
    np.testing.assert_equal(read_pixels(kind, tmp_path), read_pixels(kind, tmp_path / "at once"))


@each_sink
def test_a_stamp_is_taken_once(kind: str, tmp_path: Path) -> None:
    stamps = make_stamp_mix(2)
    with open_sink(kind, tmp_path) as sink:
        sink.add(stamps[0])
        with pytest.raises(RequestError, match=r"has StampKey\(dataset='0{32}', index=0\) already"):
            sink.add(stamps[0])
        sink.add(stamps[1])
    with pytest.raises(RequestError, match="is closed and does not take StampKey"):
        sink.add(stamps[0])
    sink.close()  # does nothing more
    assert len(read_targets(kind, tmp_path)) == 2


@each_sink
def test_one_run_at_a_time(kind: str, tmp_path: Path) -> None:
    with open_sink(kind, tmp_path) as sink:
        with pytest.raises(OutputError, match="Another run is writing to"):
            open_sink(kind, tmp_path)
        save_stamps(make_stamp_mix(3), sink)
    assert len(read_targets(kind, tmp_path)) == 3


@each_staged_sink
def test_an_output_is_replaced_on_request_only(kind: str, tmp_path: Path) -> None:
    with open_sink(kind, tmp_path) as sink:
        save_stamps(make_stamp_mix(4), sink)
    with pytest.raises(OutputError, match="exists already, and overwrite is False"):
        open_sink(kind, tmp_path)
    with open_sink(kind, tmp_path, overwrite=True) as sink:
        save_stamps(make_stamp_mix(2), sink)
        assert len(read_targets(kind, tmp_path)) == 4  # until it is closed
    assert len(read_targets(kind, tmp_path)) == 2


def test_a_folder_of_the_user_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="no output of a sink and is not replaced"):
        StampStack(tmp_path / "stack", overwrite=True)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse larger files, as if the disk were full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@each_sink
def test_a_full_disk_ends_the_run_and_loses_nothing(kind: str, tmp_path: Path) -> None:
    stamps = [stamp for stamp in make_stamp_mix(16, size=15) if stamp.status != "READ_FAILED"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with open_sink(kind, whole) as sink:
        save_stamps(stamps, sink)
    size = 6500  # more than the head of the table of targets, less than all
    with (
        largest_file(size),
        pytest.raises(OutputError, match=r"cannot be written: .*File too large"),
        open_sink(kind, parts) as sink,
    ):
        save_stamps(stamps, sink)
    assert kind == "fits directory" or not (parts / SINKS[kind][0]).exists()
    with open_sink(kind, parts) as sink:
        save_stamps(stamps, sink)
    np.testing.assert_equal(read_pixels(kind, parts), read_pixels(kind, whole))
    assert [row["index"] for row in read_targets(kind, parts)] == [stamp.index for stamp in stamps]


@each_sink
def test_half_a_row_of_a_killed_run_is_dropped(kind: str, tmp_path: Path) -> None:
    stamps = make_stamp_mix(8)
    with pytest.raises(RuntimeError, match="the power went"), open_sink(kind, tmp_path) as sink:
        save_stamps(failing_after(stamps, 3), sink)
    (log,) = (path for path in tmp_path.rglob("targets.ecsv"))
    with log.open("a") as file:
        file.write("7,0000")
    with open_sink(kind, tmp_path) as sink:
        assert len(sink.finished()) == 3
        save_stamps(stamps, sink)
    assert [row["index"] for row in read_targets(kind, tmp_path)] == list(range(8))


def test_a_run_killed_before_the_table_had_its_head(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "targets.ecsv").write_text("# %ECSV 1.0\n# ---\n# data")
    with FitsDirectory(tmp_path / "folder") as sink:
        save_stamps(make_stamp_mix(2), sink)
    assert len(Table.read(tmp_path / "folder" / "targets.ecsv", format="ascii.ecsv")) == 2


def test_the_folder_of_another_kind_of_sink_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power"), StampStack(tmp_path / "a") as sink:
        save_stamps(failing_after(make_stamp_mix(2), 1), sink)
    with pytest.raises(
        OutputError, match=r"the table of something else: its columns are index,.*,row, .*,file"
    ):
        StampZip(tmp_path / "a")


def test_an_impossible_place_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written: NotADirectoryError"):
        StampStack(tmp_path / "file" / "stack")


@each_sink
def test_nothing_to_save_is_an_empty_output(kind: str, tmp_path: Path) -> None:
    with open_sink(kind, tmp_path) as sink:
        summary = save_stamps([], sink)
    assert (summary.counts, summary.added) == ({}, 0)
    assert read_targets(kind, tmp_path) == []


@each_sink
def test_targets_without_pixels_alone_are_recorded(kind: str, tmp_path: Path) -> None:
    stamps = [stamp for stamp in make_stamp_mix(8) if not stamp.is_good]
    with open_sink(kind, tmp_path) as sink:
        save_stamps(stamps, sink)
    statuses = [row["status"] for row in read_targets(kind, tmp_path)]
    assert statuses == ["NO_COVERAGE", "BAD_POSITION", "READ_FAILED"]


class CountingHandler(ProgressHandler):
    """Counts what passes its bars."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    @contextmanager
    def get_progress_bar(self, iterable: Any, desc: str | None, **_: Any) -> Iterator[Iterator[Any]]:
        def count() -> Iterator[Any]:
            for item in iterable:
                self.seen[str(desc)] = self.seen.get(str(desc), 0) + 1
                yield item

        yield count()


def test_saving_reports_its_progress(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="lsst.dax.image.cutouts")
    handler = CountingHandler()
    Progress.set_handler(handler)
    try:
        save_stamps(iter(make_stamp_mix(7)), StampList())
    finally:
        Progress.set_handler(None)
    assert handler.seen == {"Saving stamps": 7}


def test_a_list_keeps_the_stamps_themselves() -> None:
    stamps = make_stamp_mix(6)
    with StampList() as sink:
        assert isinstance(sink, StampSink)
        save_stamps(stamps, sink)
    assert all(found is stamp for found, stamp in zip(sink.stamps, stamps, strict=True))
    with pytest.raises(RequestError, match=r"has StampKey.*index=0.* already"):
        sink.add(stamps[0])
    assert len(sink.finished()) == 5
    sink.add(dataclasses.replace(stamps[0], index=5))
    assert [stamp.index for stamp in sink.stamps] == [0, 1, 2, 3, 4, 5]
    assert sink.stamps[5].is_good


def test_no_array_needs_pickle(tmp_path: Path) -> None:
    with StampStack(tmp_path / "stack") as sink:
        save_stamps(make_stamp_mix(3), sink)
    for file in (tmp_path / "stack").glob("*.npy"):
        content = io.BytesIO(file.read_bytes())
        assert np.load(content, allow_pickle=False).dtype.kind in "fi"
