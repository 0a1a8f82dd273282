"""A run that is killed in the middle loses nothing, and goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.stamps import CREATED, make_stamp_mix

from lsst.dax.image.cutouts.sinks import FitsDirectory, MultiExtensionFits, StampStack, save_stamps

ROOT = Path(__file__).resolve().parents[2]
TARGETS = 40

# Saves stamps one after the other until it is killed.
RUN = """
import sys, time
from tests.cutouts.test_sinks_killed import TARGETS, SINKS
from tests.support.stamps import make_stamp_mix
kind, path = sys.argv[1:]
stamps = [stamp for stamp in make_stamp_mix(TARGETS) if stamp.status != "READ_FAILED"]
with SINKS[kind](path) as sink:
    for number, stamp in enumerate(stamps):
        sink.add(stamp)
        print(number, flush=True)
    time.sleep(600)
"""

SINKS: dict[str, Callable[..., Any]] = {
    "folder": lambda path: FitsDirectory(path, created=CREATED),
    "stack": StampStack,
    "mef.fits": lambda path: MultiExtensionFits(path, created=CREATED),
}


def read_all(path: Path) -> dict[str, bytes]:
    """Return the content of an output by file."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize("count", [1, 9])
def test_a_killed_run_goes_on_and_gives_the_same(kind: str, count: int, tmp_path: Path) -> None:
    stamps = [stamp for stamp in make_stamp_mix(TARGETS) if stamp.status != "READ_FAILED"]
    killed, whole = tmp_path / "killed" / kind, tmp_path / "whole" / kind
    with SINKS[kind](whole) as sink:
        save_stamps(stamps, sink)
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, kind, str(killed)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with run:
        assert run.stdout is not None
        for line in run.stdout:
            if int(line) >= count:
                break
        time.sleep(np.random.default_rng(count).uniform(0, 0.01))  # anywhere within a stamp
        run.send_signal(signal.SIGKILL)
    assert kind == "folder" or not killed.exists()
    with SINKS[kind](killed) as sink:
        done = len(sink.finished())
        assert done >= count
        assert save_stamps(stamps, sink).skipped == done
    assert read_all(killed) == read_all(whole)
