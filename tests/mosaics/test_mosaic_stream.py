"""Mosaics that are written tile by tile."""

from __future__ import annotations

import signal
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable
from astropy.time import Time
from astropy.wcs import WCS
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Box, MaskedImage
from lsst.resources import ResourcePath
from tests.support.mosaics import assert_same_bits

from lsst.dax.image.container import ContainerReader, open_source, read_layout
from lsst.dax.image.errors import OutputError, RequestError, RequestTooLargeError
from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import (
    BackgroundMatch,
    MosaicRules,
    fetch_mosaic,
    find_mosaic_grid,
    make_preview,
    write_mosaic,
)
from lsst.dax.image.mosaics import _stream_from_butler as stream
from lsst.dax.image.repository import fetch_geometry, find_datasets
from lsst.dax.image.simulation import MiniSurvey

ROOT = Path(__file__).resolve().parents[2]
CREATED = Time("2026-03-01T00:00:00", scale="utc")
RULES = MosaicRules(background=BackgroundMatch.LEVEL, feather_px=12)


@pytest.fixture
def visits(mini_butler: Butler) -> list[DatasetRef]:
    return find_datasets(mini_butler, "visit_image", bands=["r"])


def make_fine_grid(butler: Butler, visits: list[DatasetRef]) -> TargetGrid:
    """Return a grid of six blocks."""
    return find_mosaic_grid([fetch_geometry(butler, ref) for ref in visits], pixel_scale=0.1 * u.arcsec)


def test_the_file_is_what_is_fetched_whatever_the_tiles(
    mini_butler: Butler, visits: list[DatasetRef], tmp_path: Path
) -> None:
    grid = make_fine_grid(mini_butler, visits)
    whole = fetch_mosaic(mini_butler, visits, grid, rules=RULES)
    with ThreadPoolExecutor(2) as executor:
        for size, pool in ((512, None), (1024, executor), (2048, None)):
            path = tmp_path / f"{size}.fits"
            written = write_mosaic(
                mini_butler, visits, grid, path, rules=RULES, tile_size=size, executor=pool, created=CREATED
            )
            assert_same_bits(MaskedImage.read(str(path)), whole.masked_image)
            for name in whole.inputs.colnames:
                np.testing.assert_array_equal(written.inputs[name], whole.inputs[name], err_msg=name)
            assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    np.testing.assert_array_equal(written.preview, whole.masked_image.image.array)
    copy = whole.write(tmp_path / "copy.fits", created=CREATED)
    # The tiles of both files are in another order, no more.
    assert Path(copy.ospath).stat().st_size == path.stat().st_size


def test_every_reader_reads_it(mini_butler: Butler, visits: list[DatasetRef], tmp_path: Path) -> None:
    grid = make_fine_grid(mini_butler, visits)
    path = tmp_path / "mosaic.fits"
    write_mosaic(mini_butler, visits, grid, path, tile_size=512, created=CREATED)
    image = MaskedImage.read(str(path))
    assert image.unit == u.nJy
    with astropy.io.fits.open(path) as hdus:
        hdus.verify("exception")
        np.testing.assert_array_equal(hdus["IMAGE"].data, image.image.array)
        np.testing.assert_array_equal(hdus["VARIANCE"].data, image.variance.array)
        assert set(np.unique(hdus["COVERAGE"].data)) <= set(range(7))
        np.testing.assert_array_equal(hdus["COVERAGE"].data == 0, np.isnan(image.image.array))
        wcs = WCS(hdus["IMAGE"].header)
        there = wcs.pixel_to_world(100, 50).separation(grid.sky_projection.pixel_to_sky(x=100, y=50))
        assert there < 1e-6 * u.arcsec
        inputs = QTable.read(hdus["INPUTS"])
        assert hdus[0].header["MOSCOMB"] == "inverse_variance"
        assert hdus[0].header["DATE"].startswith("2026-03-01")
    assert [name.strip() for name in inputs["dataset"]] == [ref.id.hex for ref in visits]
    assert inputs["weight"].sum() == pytest.approx(np.isfinite(image.image.array).sum(), rel=1e-6)
    box = Box.factory[250:270, 500:1000]
    assert_same_bits(MaskedImage.read(str(path), bbox=box), image[box])
    source = open_source(ResourcePath(path))
    try:
        assert_same_bits(ContainerReader(source, read_layout(source)).read_masked_image(box), image[box])
    finally:
        source.close()


# Writes a mosaic, and says of each tile that it is done.
RUN = """
import sys, time
from lsst.daf.butler import Butler
from lsst.dax.image.mosaics import write_mosaic
from lsst.dax.image.mosaics._spool import Spool
from lsst.dax.image.repository import find_datasets
from lsst.dax.image.simulation import MiniSurvey
from tests.mosaics.test_mosaic_stream import CREATED, RULES, make_fine_grid
root, path = sys.argv[1:]
survey = MiniSurvey.load(root)
butler = survey.open().clone(collections=survey.collections)
visits = find_datasets(butler, "visit_image", bands=["r"])
add = Spool.add
def add_and_tell(self, content):
    add(self, content)
    print("done", flush=True)
Spool.add = add_and_tell
grid = make_fine_grid(butler, visits)
write_mosaic(butler, visits, grid, path, rules=RULES, tile_size=512, created=CREATED)
time.sleep(600)
"""


def test_a_killed_run_goes_on_and_gives_the_same(
    mini_butler: Butler,
    mini_survey: MiniSurvey,
    visits: list[DatasetRef],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = make_fine_grid(mini_butler, visits)
    killed, whole = tmp_path / "killed.fits", tmp_path / "whole.fits"
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(mini_survey.root), str(killed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with run:
        assert run.stdout is not None
        assert [run.stdout.readline() for _ in range(2)] == ["done\n"] * 2
        run.send_signal(signal.SIGKILL)
    assert not killed.exists()
    done = len(list((tmp_path / ".killed.fits.part").glob("*.tile")))
    assert done >= 2
    made = []
    monkeypatch.setattr(
        stream, "_make_tile", lambda *a, make=stream._make_tile, **o: made.append(a[2].tile) or make(*a, **o)
    )
    monkeypatch.setattr(stream, "match_backgrounds", None)  # they are there already
    write_mosaic(mini_butler, visits, grid, killed, rules=RULES, tile_size=512, created=CREATED)
    assert len(made) == 6 - done
    monkeypatch.undo()
    write_mosaic(mini_butler, visits, grid, whole, rules=RULES, tile_size=512, created=CREATED)
    assert killed.read_bytes() == whole.read_bytes()


def test_memory_does_not_grow_with_the_mosaic(
    mini_butler: Butler, visits: list[DatasetRef], tmp_path: Path
) -> None:
    grid = make_fine_grid(mini_butler, visits)
    peaks = []
    for number, rows in enumerate((600, 1100, 4400)):
        tall = TargetGrid(grid.sky_projection, Box.factory[0:rows, 0:1100])
        tracemalloc.start()
        write_mosaic(mini_butler, visits, tall, tmp_path / f"{number}.fits", tile_size=512)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The first one loads what is loaded once.
    assert peaks[2] < 1.2 * peaks[1]
    assert peaks[2] < 4400 * 1100 * 12


def test_a_preview_has_the_means_of_its_pixels() -> None:
    values = np.arange(35.0).reshape(5, 7)
    values[0, 0] = np.nan
    values[4, 6] = np.inf
    small = make_preview(values, 2)
    assert small.shape == (3, 4)
    assert small[0, 0] == pytest.approx((1 + 7 + 8) / 3)
    assert small[1, 1] == pytest.approx((16 + 17 + 23 + 24) / 4)
    assert np.isnan(small[2, 3])
    with pytest.raises(RequestError, match=r"shape \(5, 7\) has no previews by a factor of 0"):
        make_preview(values, 0)


def test_a_folder_of_another_mosaic_is_not_used(
    mini_butler: Butler, visits: list[DatasetRef], tmp_path: Path
) -> None:
    grid = make_fine_grid(mini_butler, visits)
    path = tmp_path / "mosaic.fits"
    folder = tmp_path / ".mosaic.fits.part"
    folder.mkdir()
    (folder / "digest").write_text("abc")
    with pytest.raises(OutputError, match=r"tiles of another mosaic \(abc, not [0-9a-f]{32}\)"):
        write_mosaic(mini_butler, visits, grid, path)
    assert not path.exists()


def test_what_cannot_be_written_is_refused(
    mini_butler: Butler, visits: list[DatasetRef], tmp_path: Path
) -> None:
    grid = make_fine_grid(mini_butler, visits)
    with pytest.raises(RequestError, match="multiple of 512 rows and columns, not 700"):
        write_mosaic(mini_butler, visits, grid, tmp_path / "a.fits", tile_size=700)
    with pytest.raises(RequestError, match=r"'\.fits' files or '\.zarr' groups, not as 'a\.png'"):
        write_mosaic(mini_butler, visits, grid, tmp_path / "a.png")
    (tmp_path / "there.fits").write_bytes(b"")
    with pytest.raises(OutputError, match=r"there.fits exists; it is not replaced"):
        write_mosaic(mini_butler, visits, grid, tmp_path / "there.fits")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be used"):
        write_mosaic(mini_butler, visits, grid, tmp_path / "file" / "a.fits")
    huge = TargetGrid(grid.sky_projection, Box.factory[0:300_000, 0:300_000])
    with pytest.raises(RequestTooLargeError, match="300000 x 300000 = 90000000000 pixels"):
        write_mosaic(mini_butler, visits, huge, tmp_path / "a.fits")
