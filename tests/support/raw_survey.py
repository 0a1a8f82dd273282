"""The mini survey of raws that tests share."""

from __future__ import annotations

__all__ = ("shared_raw_survey",)

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from lsst.dax.image.simulation import RawSurvey, make_raw_survey


def shared_raw_survey(tmp_path_factory: pytest.TempPathFactory) -> RawSurvey:
    """Return the default survey of raws, made once per test run; read only.

    See `tests.support.survey.shared_mini_survey` for how the workers share it.
    """
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    root: Path = directory / "raw_survey"
    with (directory / "raw_survey.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = directory / "raw_survey.done"
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            make_raw_survey(root)
            done.touch()
    return RawSurvey.load(root)
