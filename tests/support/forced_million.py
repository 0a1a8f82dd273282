"""Measure a million positions on one image, and write what memory it took: run as a script."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
from lsst.images import Box
from lsst.images.psfs import GaussianPointSpreadFunction

from lsst.dax.image.forced import ForcedOptions, measure
from tests.support.forced import make_star_image

N = 1_000_000
SIDE = 11
BBOX = Box.factory[0:400, 0:400]


def read_peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(kilobytes)


def main() -> None:
    """Write sizes in bytes as JSON."""
    rng = np.random.default_rng(1)
    image = make_star_image(np.zeros(BBOX.shape), noise=1.0, rng=rng, bbox=BBOX)
    psf = GaussianPointSpreadFunction(1.2, bounds=BBOX, stamp_size=SIDE)
    options = ForcedOptions(aperture_correction=None)
    positions = image.sky_projection.pixel_to_sky(x=rng.uniform(0, 399, N), y=rng.uniform(0, 399, N))
    measure(image, positions[:1000], psf=psf, options=options)
    before = read_peak_bytes()
    table = measure(image, positions, psf=psf, options=options)
    pull = table["snr"][table["flags"] == 0]
    sys.stdout.write(
        json.dumps(
            {
                "rows": len(table),
                "grown": read_peak_bytes() - before,
                "table": sum(np.asarray(table[name]).nbytes for name in table.colnames),
                "pictures": 8 * N * SIDE * SIDE,
                "pull_std": float(np.std(pull)),
            }
        )
    )


if __name__ == "__main__":
    main()
