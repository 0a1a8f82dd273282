"""Cut from damaged files, and judge what came back.

`lsst.images` (for plain FITS files, astropy) reads the same damaged file, and
either the cutout has the very pixels that it finds, or there is none.  Damage
that the cutout does not touch may stop the reference reader alone; then the
pixels must be those of the undamaged file.
"""

from __future__ import annotations

__all__ = (
    "Result",
    "Verdict",
    "check_seed",
    "compare",
)

import dataclasses
import enum
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import starlink.Ast
from astropy.coordinates import SkyCoord
from lsst.daf.butler import DatasetRef
from lsst.images import Box, Image, Mask, MaskedImage, SkyProjection
from lsst.images.serialization import open_archive

from lsst.dax.image.container import read_plain_image, read_primary_header
from lsst.dax.image.cutouts import Detail, fetch_cutout, fetch_stamps
from lsst.dax.image.errors import DaxImageError, InputDataError, InternalError
from lsst.dax.image.geometry import CircleStencil, EdgePolicy, PixelBoxStencil, Stencil

from .fuzz_sources import SUBSET, Source
from .mutations import Mutant, mutate


class Verdict(enum.StrEnum):
    """What became of one damaged file."""

    SAME = enum.auto()
    """The pixels that the reference reader finds."""

    CORRECT = enum.auto()
    """The pixels of the undamaged file, which the reference reader does not
    find in the damaged one."""

    REFUSED = enum.auto()
    """`InputDataError`; the reference reader fails too, or was not asked."""

    STRICTER = enum.auto()
    """`InputDataError` where the reference reader finds pixels: allowed."""

    DIES_TOO = enum.auto()
    """The reference reader killed the process after we had given pixels or
    `InputDataError`: a fault of compiled code that it calls."""

    OFF_IMAGE = enum.auto()
    """The damaged file says that the image is elsewhere, to both readers."""

    VIOLATION = enum.auto()
    """Anything else."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The verdict on one seed."""

    seed: int
    source: str
    damage: str
    verdict: Verdict
    explanation: str
    seconds: float


def check_seed(
    sources: list[Source],
    seed: int,
    folder: Path,
    *,
    always_compare: bool = False,
    begin: Callable[[str, str], None] = lambda _source, _damage: None,
    answered: Callable[[str], None] = lambda _answer: None,
) -> Result:
    """Damage one file, cut from it and judge the outcome.

    Parameters
    ----------
    sources
        What `make_sources` returned.
    seed
        Decides the file, the damage and the cutout.
    folder
        Where to put the damaged file; it is removed again.
    always_compare
        Whether to ask the reference reader also where the file was refused,
        which tells ``STRICTER`` from ``REFUSED``.
    begin
        Called with the name of the file and the damage, before anything is read.
    answered
        Called with our answer, before the reference reader has its turn, which
        the process may not survive.
    """
    source, mutant, rng = _make_mutant(sources, seed)
    begin(source.name, mutant.damage)
    path = folder / f"mutant_{seed}.fits"
    path.write_bytes(mutant.data)
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            # Readers warn of damage that they repair; that is no outcome.
            warnings.simplefilter("ignore")
            verdict, explanation = _judge(source, path, rng, answered, always_compare=always_compare)
    finally:
        path.unlink()
    return Result(seed, source.name, mutant.damage, verdict, explanation, time.perf_counter() - start)


def _make_mutant(sources: list[Source], seed: int) -> tuple[Source, Mutant, np.random.Generator]:
    """Choose a file and damage it; the generator goes on to choose the cutout."""
    rng = np.random.default_rng(seed)
    source = sources[rng.integers(len(sources))]
    return source, mutate(source.data, source.layout, rng), rng


def _judge(
    source: Source,
    path: Path,
    rng: np.random.Generator,
    answered: Callable[[str], None],
    *,
    always_compare: bool,
) -> tuple[Verdict, str]:
    """Cut from a damaged file and compare."""
    size = path.stat().st_size
    if size != len(source.data) and rng.random() < 0.3:
        size = len(source.data)  # as the repository would have recorded it
    ref = source.make_ref(path, size)
    detail = list(Detail)[rng.integers(len(Detail))]
    stencil = _choose_stencil(source, rng)
    # Only a masked image or less can be padded.
    edge = EdgePolicy.CLIP if detail is Detail.FULL or rng.random() < 0.7 else EdgePolicy.PAD
    refusal: DaxImageError | None = None
    try:
        if source.is_plain and rng.random() < 0.5:
            read_primary_header(path)
            image = read_plain_image(path, bbox=SUBSET)
        else:
            cutout = fetch_cutout(source.butler, ref, stencil, detail=detail, edge=edge, max_pixels=10**6)
            image = cutout.image
    except DaxImageError as error:
        refusal = error
    except Exception as error:  # noqa: BLE001  # any other exception is the finding
        return Verdict.VIOLATION, f"{type(error).__module__}.{type(error).__name__}: {error}"
    if rng.random() < 0.15 and (trouble := _check_stamps(source, ref)):
        return Verdict.VIOLATION, trouble
    answered("pixels" if refusal is None else f"{type(refusal).__name__}: {refusal}")
    if refusal is None:
        return compare(image, source, path, detail)
    if isinstance(refusal, InternalError):
        return Verdict.VIOLATION, f"{type(refusal).__name__}: {refusal}"
    if isinstance(refusal, InputDataError):
        return _judge_refusal(refusal, source, path, detail, asked=always_compare)
    return _judge_request_error(refusal, source, path, stencil, edge)


def _choose_stencil(source: Source, rng: np.random.Generator) -> Stencil:
    """Return a box of pixels or, at times, a circle on the sky."""
    box = source.subset
    if rng.random() < 0.6:
        return PixelBoxStencil(box)
    # Near the corner at times, so that there is something to clip or pad.
    x, y = (box.x.center, box.y.center) if rng.random() < 0.7 else (box.x.start - 50.0, box.y.center)
    center: SkyCoord = source.sky_projection.pixel_to_sky(x=np.array(x), y=np.array(y))
    return CircleStencil(center, 3 * u.arcsec)


def _check_stamps(source: Source, ref: DatasetRef) -> str:
    """Cut stamps; return what was wrong with them, which no damage may cause."""
    center = SUBSET.y.center + source.bbox.y.start, SUBSET.x.center + source.bbox.x.start
    x, y = np.array([center[1], center[1] + 5]), np.array([center[0], center[0] - 3])
    positions = source.sky_projection.pixel_to_sky(x=x, y=y)
    try:
        stamps = list(fetch_stamps(source.butler, [ref], positions, size=7))
    except Exception as error:  # noqa: BLE001  # any exception is the finding
        return f"fetch_stamps: {type(error).__name__}: {error}"
    if len(stamps) != 2 or any(stamp.is_good == (stamp.status not in ("OK", "EDGE")) for stamp in stamps):
        return f"fetch_stamps: {[(stamp.is_good, stamp.status) for stamp in stamps]}"
    return ""


def _judge_refusal(
    refusal: DaxImageError, source: Source, path: Path, detail: Detail, *, asked: bool
) -> tuple[Verdict, str]:
    """Tell whether the reference reader has pixels where we have none."""
    if not asked or "but FITS has at most" in str(refusal):  # astropy would take for ever
        return Verdict.REFUSED, str(refusal)
    try:
        _read_reference(source, path, source.subset, detail)
    except Exception:  # noqa: BLE001  # how the reference reader fails is its own affair
        return Verdict.REFUSED, str(refusal)
    return Verdict.STRICTER, str(refusal)


def _judge_request_error(
    refusal: DaxImageError, source: Source, path: Path, stencil: Stencil, edge: EdgePolicy
) -> tuple[Verdict, str]:
    """Accept a complaint about the request only where the file itself backs it."""
    text = f"{type(refusal).__name__}: {refusal}"
    try:
        sky_projection, bbox = _read_reference_geometry(source, path)
        if sky_projection is None:
            return Verdict.OFF_IMAGE, text
        stencil.to_pixels(sky_projection, bbox, edge=edge, max_pixels=10**6)
    except type(refusal):
        return Verdict.OFF_IMAGE, text
    except Exception as error:  # noqa: BLE001  # whatever it is, it does not back the complaint
        return Verdict.VIOLATION, f"{text}; but the reference reader says {type(error).__name__}: {error}"
    return Verdict.VIOLATION, f"{text}; but the stencil suits the file's {bbox}"


def compare(
    image: Image | Mask | MaskedImage, source: Source, path: Path, detail: Detail
) -> tuple[Verdict, str]:
    """Compare with the reference reader's pixels, else with the undamaged ones."""
    verdict, explanation = _compare(image, source, path, detail)
    if verdict is Verdict.SAME:
        return verdict, explanation
    sound = path.with_name(f"sound_{path.name}")
    sound.write_bytes(source.data)
    try:
        is_correct = _compare(image, source, sound, detail)[0] is Verdict.SAME
    finally:
        sound.unlink()
    return (Verdict.CORRECT if is_correct else verdict), explanation


def _compare(
    image: Image | Mask | MaskedImage, source: Source, path: Path, detail: Detail
) -> tuple[Verdict, str]:
    """Compare pixels, their places on the sky and their meaning."""
    try:
        sky_projection, bbox = _read_reference_geometry(source, path)
        box = image.bbox.intersection(bbox)
        expected = _read_reference(source, path, box, detail)
    except Exception as error:  # noqa: BLE001  # whatever it is, the file should have been refused
        return Verdict.VIOLATION, f"pixels, but the reference reader says {type(error).__name__}: {error}"
    for name, ours, theirs in _planes(image[box], expected):
        # Padded integers become floating point.
        padded = box != image.bbox and ours.dtype.kind == "f" and theirs.dtype.kind in "iu"
        if ours.dtype.newbyteorder("=") != theirs.dtype.newbyteorder("=") and not padded:
            return Verdict.VIOLATION, f"{name}: dtype {ours.dtype}, reference {theirs.dtype}"
        if ours.tobytes() != theirs.astype(ours.dtype).tobytes():
            return Verdict.VIOLATION, f"{name}: other pixels"
    x, y = np.array([box.x.start, box.x.stop + 3.5]), np.array([box.y.start, box.y.stop + 3.5])
    ours, theirs = _evaluate(image.sky_projection, x, y), _evaluate(sky_projection, x, y)
    if ours != theirs:
        return Verdict.VIOLATION, f"another place on the sky: {ours}, reference {theirs}"
    return Verdict.SAME, ""


def _evaluate(sky_projection: SkyProjection, x: np.ndarray, y: np.ndarray) -> str:
    """Return where pixels are, or how a damaged projection fails to say so.

    Not as coordinates on the sky, which such a projection may leave.
    """
    try:
        return repr(sky_projection.pixel_to_sky_transform.apply_forward(x=x, y=y))
    except (starlink.Ast.AstError, ValueError) as error:
        return type(error).__name__


def _planes(
    image: Image | Mask | MaskedImage, expected: Image | Mask | MaskedImage
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return the planes to compare; the schema of a mask counts as one."""
    if isinstance(image, MaskedImage):
        return [
            ("image", image.image.array, expected.image.array),
            ("variance", image.variance.array, expected.variance.array),
            *_planes(image.mask, expected.mask),
        ]
    if isinstance(image, Mask):
        # A padded mask may have planes more.
        names = [name for name in image.schema.names if name in expected.schema.names]
        missing = expected.schema.names - set(names)
        planes = [(name, image.get(name), expected.get(name)) for name in names]
        return [*planes, ("mask planes", np.array(len(missing)), np.array(0))]
    return [("image", image.array, expected.array)]


def _read_reference(source: Source, path: Path, box: Box, detail: Detail) -> Image | Mask | MaskedImage:
    """Read pixels with the reference reader."""
    if source.is_plain:
        with astropy.io.fits.open(path) as hdus:
            hdu = _find_plain_hdu(hdus)
            pixels = hdu.section[box.y.start : box.y.stop, box.x.start : box.x.stop]
            return Image(pixels.astype(pixels.dtype.newbyteorder("=")), bbox=box)
    with open_archive(str(path), cls=source.ref.datasetType.storageClass.pytype) as reader:
        match detail:
            case Detail.IMAGE:
                return reader.get_component("image", bbox=box)
            case Detail.MASKED_IMAGE:
                components = source.ref.datasetType.storageClass.allComponents()
                if "masked_image" in components:
                    return reader.get_component("masked_image", bbox=box)
        return reader.read(bbox=box)


def _read_reference_geometry(source: Source, path: Path) -> tuple[SkyProjection | None, Box]:
    """Read where the image is, with the reference reader."""
    if source.is_plain:
        from astropy.wcs import WCS
        from lsst.images import GeneralFrame

        with astropy.io.fits.open(path) as hdus:
            hdu = _find_plain_hdu(hdus)
            bbox = Box.from_shape(hdu.shape)
            frame = GeneralFrame(unit=u.pix)
            wcs = WCS(hdu.header, fobj=hdus)
            return SkyProjection.from_fits_wcs(wcs, frame, pixel_bounds=bbox), bbox
    with open_archive(str(path), cls=source.ref.datasetType.storageClass.pytype) as reader:
        return reader.get_component("sky_projection"), reader.get_component("bbox")


def _find_plain_hdu(hdus: astropy.io.fits.HDUList) -> astropy.io.fits.ImageHDU | astropy.io.fits.CompImageHDU:
    """Return the first image with two axes; raise `LookupError` if there is none."""
    for hdu in hdus:
        if hdu.is_image and len(hdu.shape) == 2 and "CTYPE1" in hdu.header:
            return hdu
    raise LookupError("no image")
