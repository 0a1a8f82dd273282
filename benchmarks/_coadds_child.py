"""Average streamed warps in a process of its own, and say how much memory that took.

Arguments: number of warps, rows and columns.  Prints the largest resident memory,
libraries included.
"""

from __future__ import annotations

import json
import sys
import uuid

import numpy as np
from _peak import find_peak_bytes
from lsst.images import Box

from lsst.dax.image.coadds import InputKey, MeanAccumulator, Warp


def main(number: int, side: int) -> None:
    rng = np.random.default_rng(1)
    box = Box.factory[0:side, 0:side]
    planes = ("NO_DATA", "BAD", "SATURATED")
    accumulator = MeanAccumulator(box, planes)
    for visit in range(number):
        image = rng.standard_normal((side, side), np.float32)
        variance, mask = np.ones((side, side), np.float32), np.zeros((side, side), np.uint32)
        key = InputKey("bench", visit, 0, uuid.UUID(int=visit))
        accumulator.add(Warp(key, box, image, variance, mask, planes, weight=1.0))
    accumulator.finish()
    print(json.dumps({"peak_bytes": find_peak_bytes()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
