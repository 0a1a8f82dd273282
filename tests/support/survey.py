"""The mini survey that tests share."""

from __future__ import annotations

__all__ = ("shared_mini_survey",)

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from lsst.dax.image.simulation import MiniSurvey, make_mini_survey


def shared_mini_survey(tmp_path_factory: pytest.TempPathFactory) -> MiniSurvey:
    """Return the default mini survey, made once per test run.

    The workers of pytest-xdist have sibling temporary directories: the first
    one to hold the lock makes the survey in their common parent, the others
    wait for it and load it.
    """
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    root: Path = directory / "mini_survey"
    with (directory / "mini_survey.lock").open("w") as lock:
        # The kernel drops the lock if its holder dies.
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = directory / "mini_survey.done"
        if not done.exists():
            # What a failed attempt has left would hide its error behind another.
            shutil.rmtree(root, ignore_errors=True)
            make_mini_survey(root)
            done.touch()
    return MiniSurvey.load(root)
