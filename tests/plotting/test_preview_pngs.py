"""Pictures of a mosaic in several sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsst.dax.image.errors import OutputError, RequestError
from lsst.dax.image.plotting import write_preview_pngs

PIL = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")


def make_preview() -> np.ndarray:
    """Return noise with a bright square in the lower left and a gap in the upper right."""
    values = np.random.default_rng(41).normal(size=(150, 200)).astype(np.float32)
    values[10:30, 20:40] = 100.0
    values[120:, 160:] = np.nan
    return values


def test_every_size_shows_the_same_sky(tmp_path: Path) -> None:
    paths = write_preview_pngs(make_preview(), tmp_path / "sky.png", sizes=(1000, 100, 50))
    assert [path.name for path in paths] == ["sky-200.png", "sky-100.png", "sky-50.png"]
    for path, step in zip(paths, (1, 2, 4), strict=True):
        with PIL.open(path) as picture:
            shades = np.asarray(picture)[::-1]
        assert shades.shape == (-(-150 // step), 200 // step)
        # The first row of the image is the last of the picture.
        assert (shades[12 // step : 28 // step, 24 // step : 36 // step] == 255).all()
        assert (shades[-20 // step :, -30 // step :] == 0).all()
        assert (shades[60 // step : 90 // step] > 0).all()
        assert shades[60 // step : 90 // step].mean() < 150


def test_sizes_that_are_not_there_give_one_picture(tmp_path: Path) -> None:
    paths = write_preview_pngs(make_preview(), tmp_path / "sky.png", sizes=(2048, 1024, 512))
    assert [path.name for path in paths] == ["sky-200.png"]


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    values = make_preview()
    with pytest.raises(RequestError, match=r"as '\.png' files, not as 'sky\.jpg'"):
        write_preview_pngs(values, tmp_path / "sky.jpg")
    with pytest.raises(RequestError, match=r"this one has the shape \(200,\)"):
        write_preview_pngs(values[0], tmp_path / "sky.png")
    with pytest.raises(RequestError, match=r"must be positive, not \(100, 0\)"):
        write_preview_pngs(values, tmp_path / "sky.png", sizes=(100, 0))
    write_preview_pngs(values, tmp_path / "sky.png", sizes=(100,))
    with pytest.raises(OutputError, match=r"sky-100\.png cannot be written: FileExistsError"):
        write_preview_pngs(values, tmp_path / "sky.png", sizes=(100,))
    write_preview_pngs(values, tmp_path / "sky.png", sizes=(100,), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["sky-100.png"]
