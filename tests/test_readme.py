"""The examples of README.md run as they stand there, one after another."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import astropy.io.fits
import numpy as np
import pytest
from matplotlib.image import imread

from lsst.dax.image.regression import SINGLE_PRECISION, compare_images
from lsst.dax.image.repository import find_datasets

README = Path(__file__).resolve().parents[1] / "README.md"


def examples() -> list[str]:
    """Return the Python blocks of the README."""
    return re.findall(r"^```python\n(.*?)^```$", README.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_every_example_is_short() -> None:
    blocks = examples()
    assert len(blocks) == 11
    assert max(len(block.splitlines()) for block in blocks) <= 5


def test_the_examples_run_and_make_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, block in enumerate(examples()):
        exec(compile(block, f"{README.name}, example {number}", "exec"), names)  # noqa: S102
    try:
        cutout, stamps = names["cutout"], names["stamps"]
        assert "CIRCLE" in capsys.readouterr().out
        with astropy.io.fits.open("cutout.fits") as hdus:
            assert np.array_equal(hdus["IMAGE"].data, cutout.image.image.array)
            assert hdus[0].header["BTLRNAME"] == "deep_coadd"
        assert sum(stamp.is_good for stamp in stamps) >= 3
        for picture in ("cutout.png", "star.png", "color.png"):
            assert np.ptp(imread(picture)[..., :3]) > 0.5
        with astropy.io.fits.open("mosaic.fits") as hdus:
            assert np.array_equal(
                hdus["IMAGE"].data, names["mosaic"].masked_image.image.array, equal_nan=True
            )
        assert (names["mosaic"].inputs["n_pixels"] > 1000).all()
        with astropy.io.fits.open("coadd.fits") as hdus:
            assert np.array_equal(hdus["IMAGE"].data, names["coadd"].image.image.array, equal_nan=True)
            assert np.isfinite(hdus["IMAGE"].data).any()
        assert np.isfinite(names["fluxes"]["flux"]).all()
        assert np.ptp(imread("fluxes.png")[..., :3]) > 0.5
        assert names["virtual_cutout"].header["BTLRUUID"] == names["ref"].id.hex
        assert np.isfinite(names["virtual_cutout"].image.image.array).all()
        original = names["raws"].get(find_datasets(names["raws"], "visit_image")[0])
        compare_images(names["image"], original).assert_equivalent(SINGLE_PRECISION)
    finally:
        for butler in {"butler", "raws"} & set(names):
            names[butler].close()


def test_the_picture_is_there() -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text())
    assert (README.parent / picture).stat().st_size > 10_000
