"""Write one streamed mosaic in a process of its own, and say what it took.

Arguments: root of a mini survey, file to write, largest number of rows and columns
of the mosaic, side of its pixels in arcsec.  Prints processor seconds and wall
seconds of the second of two runs, the largest resident memory and the size of the
file in bytes.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import astropy.units as u
from _peak import find_peak_bytes
from lsst.images import Box

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import find_mosaic_grid, write_mosaic
from lsst.dax.image.repository import fetch_geometry, find_datasets
from lsst.dax.image.simulation import MiniSurvey

TILE = 1024


def main(root: str, path: str, side: int, scale: float) -> None:
    survey = MiniSurvey.load(Path(root))
    butler = survey.open().clone(collections=survey.collections)
    visits = find_datasets(butler, "visit_image", bands=["r"])
    geometries = [fetch_geometry(butler, ref) for ref in visits]
    grid = find_mosaic_grid(geometries, pixel_scale=scale * u.arcsec)
    rows, columns = (min(side, size) for size in grid.shape)
    y, x = ((size - part) // 2 for size, part in zip(grid.shape, (rows, columns), strict=True))
    part = TargetGrid(grid.sky_projection, Box.factory[y : y + rows, x : x + columns])
    # The first run compiles, and opens what is opened once.
    corner = TargetGrid(grid.sky_projection, Box.factory[y : y + min(600, rows), x : x + min(600, columns)])
    write_mosaic(butler, visits, corner, f"{path}.warm.fits", tile_size=TILE)
    cpu, wall = time.process_time(), time.perf_counter()
    written = write_mosaic(butler, visits, part, path, tile_size=TILE)
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    peak = find_peak_bytes()
    filled = float(written.inputs["weight"].sum())
    found = {"peak_bytes": peak, "file_bytes": written.uri.size(), "pixels": part.bbox.area, "filled": filled}
    print(json.dumps({**seconds, **found}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
