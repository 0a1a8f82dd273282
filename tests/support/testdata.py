"""Where the real data of tests and demos lie."""

from __future__ import annotations

__all__ = ("testdata",)

import os
from pathlib import Path

import pytest

ENVIRONMENT_VARIABLE = "DAX_IMAGE_TESTDATA"
CHECKOUT = Path(__file__).resolve().parents[2]


def testdata(relative: str) -> Path:
    """Return the path of a real data file or folder, or skip the test.

    Where the environment variable is set, the data are promised: what is
    missing then fails the test instead of skipping it.
    """
    promised = os.environ.get(ENVIRONMENT_VARIABLE)
    root = Path(promised) if promised else CHECKOUT.parent / "shared" / "data"
    path = root / relative
    if path.exists():
        return path
    if promised:
        pytest.fail(f"{ENVIRONMENT_VARIABLE}={promised} has no {relative!r}.")
    pytest.skip(f"Real data are absent: no {relative!r} below {root}; set {ENVIRONMENT_VARIABLE}.")


testdata.__test__ = False  # type: ignore[attr-defined]  # its name starts like a test
