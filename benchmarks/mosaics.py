"""Mosaics: one warped image, patches of one grid, and streamed mosaics, against our peers.

One image is resampled onto a turned grid, by ourselves, SWarp, reproject and Montage:
see ``_warp.py`` and ``_montage.py``.

Then nine patches, image, mask and variance, that overlap by a hundred pixels are put
together in memory.  The sides are

ours       ``make_mosaic``: inner regions, with coverage and a table of inputs
memcpy     the three planes of each inner region copied by NumPy into new
           arrays, by somebody who knows where they are
reproject  ``reproject_and_coadd`` with ``reproject_interp`` of order nearest,
           first image wins: one plane, no mask and no variance

Detectors of one visit of a simulated survey are resampled onto pixels of a
quarter of their size and written tile by tile, for mosaics of growing size, each
in a process of its own.  What is measured is the cost of an output pixel and the
largest resident memory, libraries included.  Last, larger detectors are written at
their own scale and at one arcsec per pixel, from which follows what ten square
degrees take on one core.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import astropy.units as u
import numpy as np
from _harness import Benchmark, Side, UnequalResultsError
from _montage import compare_montage
from _warp import compare_warps
from astropy.coordinates import SkyCoord
from lsst.images import Box, Image, Mask, MaskedImage, MaskPlane, MaskSchema

from lsst.dax.image.geometry import TargetGrid
from lsst.dax.image.mosaics import Mosaic, make_mosaic
from lsst.dax.image.simulation import SurveyConfig, make_mini_survey

SCHEMA = MaskSchema([MaskPlane(name, name) for name in ("NO_DATA", "BAD", "SATURATED", "COSMIC_RAY")])
BORDER = 50
CHILD = Path(__file__).with_name("_mosaics_child.py")


def make_patches(inner: int) -> tuple[TargetGrid, list[MaskedImage], list[Box]]:
    """Return a grid, patches that fill it, and their inner boxes, clipped to nothing."""
    side = 3 * inner + 2 * BORDER
    center = SkyCoord(53.1, -27.8, unit=u.deg)
    grid = TargetGrid.from_center(center, pixel_scale=0.2 * u.arcsec, shape=(side, side))
    rng = np.random.default_rng(1)
    whole = rng.normal(size=(3, side, side)).astype(np.float32)
    patches, inners = [], []
    for row in range(3):
        for column in range(3):
            y, x = row * inner, column * inner
            outer = Box.factory[y : y + inner + 2 * BORDER, x : x + inner + 2 * BORDER]
            part = whole[:, outer.y.start : outer.y.stop, outer.x.start : outer.x.stop].copy()
            patches.append(
                MaskedImage(
                    Image(part[0], bbox=outer, unit=u.nJy),
                    mask=Mask((part[2] > 1).astype(np.uint8)[..., None], schema=SCHEMA, bbox=outer),
                    variance=Image(np.abs(part[1]), bbox=outer, unit=u.nJy**2),
                    sky_projection=grid.sky_projection,
                )
            )
            # At the rim of the tract a patch keeps its border.
            y0, y1 = y + BORDER * (row > 0), y + inner + BORDER * (1 + (row == 2))
            x0, x1 = x + BORDER * (column > 0), x + inner + BORDER * (1 + (column == 2))
            inners.append(Box.factory[y0:y1, x0:x1])
    return grid, patches, inners


def copy_planes(grid: TargetGrid, patches: list[MaskedImage], inners: list[Box]) -> dict[str, np.ndarray]:
    """Copy inner regions into new arrays, and no more."""
    shape = tuple(grid.shape)
    image, variance = np.empty(shape, np.float32), np.empty(shape, np.float32)
    mask = np.empty((*shape, 1), np.uint8)
    for patch, inner in zip(patches, inners, strict=True):
        here, there = inner.slice_within(grid.bbox), inner.slice_within(patch.bbox)
        image[here] = patch.image.array[there]
        variance[here] = patch.variance.array[there]
        mask[here] = patch.mask.array[there]
    return {"image": image, "variance": variance, "mask": mask}


def planes_of(mosaic: Mosaic) -> Mapping[str, np.ndarray]:
    masked = mosaic.masked_image
    return {"image": masked.image.array, "variance": masked.variance.array, "mask": masked.mask.array}


def run_reproject(grid: TargetGrid, patches: list[MaskedImage]) -> dict[str, np.ndarray]:
    """Put one plane together with reproject."""
    from reproject import reproject_interp  # noqa: PLC0415  # a peer that may be absent
    from reproject.mosaicking import reproject_and_coadd  # noqa: PLC0415

    projection = grid.sky_projection
    found, _ = reproject_and_coadd(
        [(patch.image.array, projection.as_fits_wcs(patch.bbox)) for patch in patches],
        projection.as_fits_wcs(grid.bbox),
        shape_out=tuple(grid.shape),
        reproject_function=reproject_interp,
        order="nearest-neighbor",
        combine_function="first",
    )
    return {"image": found.astype(np.float32)}


def compare_stitching(bench: Benchmark) -> None:
    """Time patches of one grid."""
    grid, patches, inners = make_patches(400 if bench.quick else 1300)
    bench.note(stitch_side=grid.bbox.x.size)
    ours = Side("ours", lambda: make_mosaic(patches, grid), planes_of)
    copy = Side("memcpy", lambda: copy_planes(grid, patches, inners), dict)
    (figure,) = bench.compare("stitch", ours, [copy], repeats=5 if bench.quick else 15)
    bench.name_figure("stitch_vs_memcpy", 1 / figure.cpu_ratio, 1 / figure.ratio)
    if bench.has("reproject"):
        peer = Side("reproject", lambda: run_reproject(grid, patches), dict)
        (figure,) = bench.compare("stitch_one_plane", ours, [peer], repeats=1 if bench.quick else 2)
        bench.name_figure("stitch_vs_reproject", figure.cpu_ratio, figure.ratio)


def stream(bench: Benchmark, root: Path, name: str, side: int, scale: float) -> dict[str, float]:
    """Write a mosaic in a process of its own; return and print what it took."""
    command = [
        sys.executable,
        str(CHILD),
        str(root),
        str(root.with_name(f"{name}.fits")),
        str(side),
        str(scale),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    bench.note(**{f"stream_{name}_{key}": value for key, value in found.items()})
    pixels = found["pixels"]
    print(
        f"    streamed {name}: {pixels / 1e6:.1f} million pixels of {scale} arcsec, "
        f"{1e9 * found['cpu'] / pixels:.0f} ns per pixel, {100 * found['filled'] / pixels:.0f} % filled, "
        f"{found['peak_bytes'] / 1e9:.2f} GB, {found['file_bytes'] / pixels:.1f} bytes per pixel in the file",
        flush=True,
    )
    return found


def measure_streaming(bench: Benchmark, folder: Path) -> None:
    """Measure mosaics of growing size."""
    sides = (1024, 2048) if bench.quick else (1024, 2048, 4096)
    root = folder / "survey"
    detectors = (2, 2) if bench.quick else (4, 4)
    make_mini_survey(root, config=SurveyConfig(detector_grid=detectors, visits_per_band=1))
    found = [stream(bench, root, str(side), side, 0.05) for side in sides]
    costs = [each["cpu"] / each["pixels"] for each in found]
    bench.name_figure("stream_cost_growth", costs[-1] / costs[0])
    bench.name_figure("stream_mpix_per_second", 1e-6 / costs[-1])
    bench.name_figure("peak_memory_gb", max(each["peak_bytes"] for each in found) / 1e9)


def estimate_ten_square_degrees(bench: Benchmark, folder: Path) -> None:
    """Measure detectors of a thousand rows, and say what ten square degrees of them take."""
    root = folder / "large"
    shape, detectors = ((240, 256), (1, 2)) if bench.quick else ((1000, 1024), (2, 2))
    config = SurveyConfig(detector_grid=detectors, detector_shape=shape, visits_per_band=1, star_density=4.0)
    make_mini_survey(root, config=config)
    for name, scale in (("own_scale", 0.2), ("one_arcsec", 1.0)):
        found = stream(bench, root, name, 4096, scale)
        n_pixels = 10 * (3600 / scale) ** 2
        hours = found["cpu"] / found["pixels"] * n_pixels / 3600
        bench.name_figure(f"ten_square_degrees_{name}_hours", hours)
        gigabytes = found["file_bytes"] / found["pixels"] * n_pixels / 1e9
        bench.name_figure(f"ten_square_degrees_{name}_file_gb", gigabytes)


def main() -> int:
    """Run the benchmark; return the exit code."""
    bench = Benchmark(__doc__ or "", versions=("reproject", "MontagePy"))
    try:
        compare_warps(bench)
        compare_montage(bench)
        compare_stitching(bench)
    except UnequalResultsError as error:
        print(f"unequal results: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="dax-image-bench-") as folder:
        measure_streaming(bench, Path(folder))
        estimate_ten_square_degrees(bench, Path(folder))
    bench.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
