"""Write one streamed mosaic in a process of its own, and say what it took.

Arguments: root of a mini survey, file to write, rows and columns of the mosaic.
Prints processor seconds and wall seconds of the second of two runs, and the
largest resident memory in bytes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import astropy.units as u
from lsst.images import Box

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import find_mosaic_grid, write_mosaic
from lsst.dax.image.repository import fetch_geometry, find_datasets
from lsst.dax.image.simulation import MiniSurvey

TILE = 1024


def main(root: str, path: str, side: int) -> None:
    survey = MiniSurvey.load(Path(root))
    butler = survey.open().clone(collections=survey.collections)
    visits = find_datasets(butler, "visit_image", bands=["r"])
    geometries = [fetch_geometry(butler, ref) for ref in visits]
    grid = find_mosaic_grid(geometries, pixel_scale=0.05 * u.arcsec)
    y, x = (max(0, (size - side) // 2) for size in grid.shape)
    part = TargetGrid(grid.sky_projection, Box.factory[y : y + side, x : x + side])
    # The first run compiles, and opens what is opened once.
    corner = TargetGrid(grid.sky_projection, Box.factory[y : y + 600, x : x + 600])
    write_mosaic(butler, visits, corner, f"{path}.warm.fits", tile_size=TILE)
    cpu, wall = time.process_time(), time.perf_counter()
    written = write_mosaic(butler, visits, part, path, tile_size=TILE)
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    filled = float(written.inputs["weight"].sum())
    print(json.dumps({**seconds, "peak_bytes": peak, "pixels": side * side, "filled": filled}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
