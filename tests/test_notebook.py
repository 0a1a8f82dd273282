"""The notebook runs from its first cell to its last.

Its cells are plain Python, which is executed here cell by cell in one
namespace: a kernel is a server of its own, which not every machine of tests
may start.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from lsst.dax.image.regression import SINGLE_PRECISION
from lsst.dax.image.simulation import MiniSurvey
from tests.support.raw_survey import shared_raw_survey

NOTEBOOK = Path(__file__).resolve().parents[1] / "doc" / "notebooks" / "tour.ipynb"
CONTENT: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = [cell for cell in CONTENT["cells"] if cell["cell_type"] == "code"]
ROOMS = {"cutouts", "mosaics", "coadds", "virtual", "forced", "recreation", "regression", "plotting"}


def run_cell(source: str, name: str, names: dict[str, Any]) -> Any:
    """Run a cell, and return the value of its last line, as a notebook shows it."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)  # noqa: S102  # our own notebook
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), names)  # noqa: S307


def test_the_notebook_is_stored_without_outputs() -> None:
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)
    ids = [cell["id"] for cell in CONTENT["cells"]]
    assert len(set(ids)) == len(ids)


def test_the_notebook_visits_every_capability() -> None:
    text = "\n".join("".join(cell["source"]) for cell in CODE)
    modules = {
        node.module.split(".")[3]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lsst.dax.image.")
    }
    assert modules >= ROOMS


def test_the_notebook_runs(
    mini_survey: MiniSurvey,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raws = shared_raw_survey(tmp_path_factory)
    monkeypatch.chdir(tmp_path)
    # The notebook takes surveys that are there; it only reads them.
    Path("mini_survey").symlink_to(mini_survey.root)
    Path("raw_survey").symlink_to(raws.root)
    names: dict[str, Any] = {}
    shown = []
    try:
        for number, cell in enumerate(CODE):
            shown.append(run_cell("".join(cell["source"]), f"{NOTEBOOK.name}, cell {number}", names))
    finally:
        for name in {"butler", "raws"} & set(names):
            names[name].close()
    assert sum(isinstance(value, Figure) for value in shown) == 6
    assert sum(stamp.is_good for stamp in names["stamps"]) >= 3
    # The coadd of a call and the cutout of a virtual dataset have the same pixels.
    cutout, coadd = names["virtual_cutout"].image, names["coadd"].image
    both = cutout.bbox.intersection(coadd.bbox)
    assert both.area > 100
    assert np.array_equal(cutout[both].image.array, coadd[both].image.array, equal_nan=True)
    assert np.isfinite(names["fluxes"]["flux"]).all()
    names["compared_visit"].assert_equivalent(SINGLE_PRECISION)
    assert names["compared_difference"].planes[0].max_sigma < 0.1
    assert {path.name for path in Path().glob("*.*")} == {"cutout.fits", "mosaic.fits", "fluxes.ecsv"}
