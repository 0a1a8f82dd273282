"""Files of small images: rendered directly against lsst.images' own writer.

A masked image of noise with fifteen mask planes and a TAN projection, from
memory to a file on disk; compressed and not.  Both sides keep every bit, and
write the same HDUs, JSON tree and index.  ``cold`` forgets the projection
before each run, so that AST finds its FITS form anew, as lsst.images has it do
three times per file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
from _harness import Benchmark, Side
from astropy.time import Time
from astropy.wcs import WCS
from lsst.images import Box, GeneralFrame, Image, Mask, MaskedImage, MaskPlane, MaskSchema, SkyProjection

from lsst.dax.image.container import Compression, _wcs_cards, render_fits

CREATED = Time("2026-01-01T00:00:00")
PLANES = ("IMAGE", "MASK", "VARIANCE")
SIZES = (51, 100, 300, 1200)
OPTIONS: dict[Compression, dict[str, object]] = {
    Compression.GZIP: {},
    Compression.NONE: {"compression_options": {name.lower(): None for name in PLANES}},
}


def make_image(size: int) -> MaskedImage:
    """Return noise with mask planes, on the sky."""
    rng = np.random.default_rng(1)
    bbox = Box.factory[2000 : 2000 + size, 1000 : 1000 + size]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150, 2], [2036.5, 2000.5], [-5.5e-5, 5.5e-5]
    projection = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix))
    pixels = rng.normal(0, 30, bbox.shape).astype(np.float32)
    image = Image(pixels, bbox=bbox, unit=u.nJy, sky_projection=projection)
    mask = Mask(schema=MaskSchema([MaskPlane(f"P{n}", f"Mask plane {n}.") for n in range(15)]), bbox=bbox)
    mask.set("P5", pixels > 75)
    mask.set("P11", rng.random(bbox.shape) < 0.01)
    variance = Image((900 + 3 * rng.normal(size=bbox.shape)).astype(np.float32), bbox=bbox)
    return MaskedImage(image, mask=mask, variance=variance)


def forget() -> None:
    """Empty the memory of projections."""
    _wcs_cards._by_identity.clear()  # noqa: SLF001  # there is no public way
    _wcs_cards._by_json.clear()  # noqa: SLF001


def planes_of_file(path: Path) -> dict[str, np.ndarray]:
    with astropy.io.fits.open(path) as hdus:
        return {name: np.array(hdus[name].data) for name in PLANES}


def compare_writers(bench: Benchmark, folder: Path, size: int, compression: Compression) -> None:
    """Time one size of image, with and without its projection in memory."""
    image = make_image(size)
    ours, theirs = folder / "ours.fits", folder / "theirs.fits"
    header = astropy.io.fits.Header([("BTLRNAME", "visit_image", "Butler dataset type")])

    def render() -> Path:
        ours.write_bytes(render_fits(image, header=header, created=CREATED, compression=compression))
        return ours

    def write() -> Path:
        image.write(str(theirs), update_header=lambda cards: cards.extend(header), **OPTIONS[compression])
        return theirs

    def side(label: str, run: Callable[[], Path], before: Callable[[], None] | None = None) -> Side:
        return Side(label, run, planes_of_file, before)

    peer = side("lsst_images", write, lambda: theirs.unlink(missing_ok=True))
    repeats = 3 if bench.quick else 15
    name = f"write_{size}px_{compression.value}"
    bench.compare(name, side("ours", render), [peer], repeats=repeats)
    bench.compare(f"{name}_cold", side("ours", render, forget), [peer], repeats=repeats)
    sizes = {"ours": ours.stat().st_size, "lsst_images": theirs.stat().st_size}
    bench.note(**{f"{name}_bytes_{label}": count for label, count in sizes.items()})
    print(f"{'':34} {sizes['ours']} bytes against {sizes['lsst_images']}")


def main() -> None:
    bench = Benchmark(__doc__ or "")
    with tempfile.TemporaryDirectory(prefix="dax-image-bench-") as folder:
        for compression in Compression:
            for size in SIZES[:2] if bench.quick else SIZES:
                compare_writers(bench, Path(folder), size, compression)
    bench.finish()


if __name__ == "__main__":
    main()
