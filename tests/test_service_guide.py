"""The code of the page for service authors runs as it stands there, block after block."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsst.dax.image.coadds import fetch_coadd
from lsst.dax.image.cutouts import fetch_cutout
from lsst.dax.image.forced import plan_light_curves
from lsst.dax.image.mosaics import fetch_mosaic
from lsst.dax.image.recreation import recreate_visit_image
from lsst.dax.image.repository import reader
from lsst.dax.image.simulation import MiniSurvey

PAGE = Path(__file__).resolve().parents[1] / "doc" / "user-guide" / "service_authors.rst"


def find_blocks() -> list[str]:
    """Return the Python blocks of the page."""
    found = re.findall(r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text(), re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def test_the_code_of_the_page_runs(
    mini_survey: MiniSurvey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {
        "REPOSITORY": str(mini_survey.root),
        "COLLECTION": mini_survey.collections,
        "POSITION": mini_survey.find_target("proper_motion"),
    }
    blocks = find_blocks()
    assert len(blocks) == PAGE.read_text().count("code-block:: python") == 10
    try:
        for number, block in enumerate(blocks):
            exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)  # noqa: S102
    finally:
        if "butler" in names:
            names["butler"].close()
    # What was refused has left nothing.
    assert not Path("none.fits").exists()
    assert sorted(path.name for path in Path().glob("cutout?.fits")) == [f"cutout{k}.fits" for k in range(8)]


@pytest.mark.parametrize(
    ("function", "argument", "default"),
    [
        (fetch_cutout, "max_pixels", None),
        (recreate_visit_image, "max_pixels", None),
        (fetch_coadd, "max_pixels", 2**26),
        (fetch_mosaic, "max_pixels", 2**28),
        (plan_light_curves, "max_pairs", None),
    ],
)
def test_the_limits_are_those_of_the_page(
    function: Callable[..., Any], argument: str, default: int | None
) -> None:
    assert inspect.signature(function).parameters[argument].default == default
    (line,) = [line for line in PAGE.read_text().splitlines() if f".{function.__name__}`  " in line]
    assert f"``{argument}``" in line
    assert ("none" in line) if default is None else (f"2^{{{default.bit_length() - 1}}}" in line)


def test_threads_of_a_re_creation_are_one() -> None:
    assert inspect.signature(recreate_visit_image).parameters["threads"].default == 1


def test_the_memory_of_layouts_is_that_of_the_page() -> None:
    assert reader._LAYOUTS._max_bytes == 128 * 2**20
    assert "at most 128 MB" in PAGE.read_text()
