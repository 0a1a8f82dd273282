"""From a raw file to the exposure that instrument signature removal begins with."""

from __future__ import annotations

__all__ = ("assemble_raw", "read_raw")

from collections.abc import Mapping

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from lsst.images.cameras import Detector
from lsst.resources import ResourcePathExpression

from ...container import RawAmplifier, RawFile, read_raw_file
from ...errors import InconsistentUnitsError, InputDataError
from .exposure import AmplifierState, ExposureInfo, IsrExposure, box_slices
from .raw_geometry import PlacedAmplifier, place_amplifier
from .raw_header import make_exposure_info

_PREFIX = "segment"


def read_raw(
    path: ResourcePathExpression, detector: Detector, *, info: ExposureInfo | None = None, threads: int = 1
) -> IsrExposure:
    """Read a raw and put its amplifiers together.

    Parameters
    ----------
    path
        Raw file with one HDU per amplifier.
    detector
        Geometry of the detector.
    info
        Identity and times of the exposure; by default what the header says.
    threads
        Threads that decode amplifiers.

    Returns
    -------
    exposure
        Untrimmed exposure in adu; see `assemble_raw`.

    Raises
    ------
    InputDataError
        Raised if the file is missing, damaged, or not of this detector.
    InconsistentUnitsError
        Raised if the file's unit is not adu.
    """
    return assemble_raw(read_raw_file(path, threads=threads), detector, info=info)


def assemble_raw(raw: RawFile, detector: Detector, *, info: ExposureInfo | None = None) -> IsrExposure:
    """Put the amplifiers of a raw together to one untrimmed image.

    Parameters
    ----------
    raw
        Raw as the camera wrote it.
    detector
        Geometry of the detector, with raw geometry of its amplifiers in either form: of the
        assembled raw, or of single amplifiers with flips and offsets.
    info
        Identity and times of the exposure; by default what the header says.

    Returns
    -------
    exposure
        Image in adu as float32 (counts up to 2^24 are exact), with prescans and overscans, mask and
        variance zero.  Its detector has `assembled_raw_geometry` for these very pixels: where the
        file has other overscans than ``detector`` says, they are stretched (see `place_amplifier`).

    Raises
    ------
    InputDataError
        Raised if the amplifiers of file and detector are not the same, or do not fit; or if the
        header is unusable or of another detector.
    InconsistentUnitsError
        Raised if the file's unit is not adu.
    """
    _check_unit(raw)
    if info is None:
        info = make_exposure_info(raw.header, detector, source=raw.source)
    sources = _match_amplifiers(raw, detector)
    shapes = {source.pixels.shape for source in sources.values()}
    if len(shapes) > 1:
        sizes = {source.name: source.pixels.shape for source in sources.values()}
        raise InputDataError(f"{raw.source} has amplifiers of different sizes: {sizes}.")
    ((height, width),) = shapes
    placed = [place_amplifier(amplifier, shape=(height, width)) for amplifier in detector.amplifiers]
    image = _fill(raw, placed, sources)
    return IsrExposure(
        image=image,
        mask=np.zeros(image.shape, np.uint16),
        variance=np.zeros(image.shape, np.float32),
        unit=u.adu,
        info=info,
        detector=_with_geometry(detector, placed),
        amplifiers=tuple(AmplifierState(name=amplifier.name) for amplifier in detector.amplifiers),
    )


def _check_unit(raw: RawFile) -> None:
    """Refuse what is not in adu."""
    unit = str(raw.header.get("BUNIT", "") or "").strip()
    if unit and unit.lower() != "adu":
        raise InconsistentUnitsError(f"{raw.source} has BUNIT = {unit!r}, but a raw is in 'adu'.")


def _match_amplifiers(raw: RawFile, detector: Detector) -> Mapping[str, RawAmplifier]:
    """Return the amplifiers of the file by their names in the detector.

    Amplifier C10 is in the HDU Segment10.
    """
    found = {source.name.lower().removeprefix(_PREFIX): source for source in raw.amplifiers}
    names = [amplifier.name for amplifier in detector.amplifiers]
    if sorted(found) != sorted(name[1:].lower() for name in names):
        raise InputDataError(
            f"{raw.source} has {len(raw.amplifiers)} amplifiers "
            f"{[source.name for source in raw.amplifiers]}, but detector {detector.name} has {len(names)}: "
            f"{names}."
        )
    return {name: found[name[1:].lower()] for name in names}


def _fill(
    raw: RawFile, placed: list[PlacedAmplifier], sources: Mapping[str, RawAmplifier]
) -> NDArray[np.float32]:
    """Return the untrimmed image."""
    boxes = [one.geometry.bbox for one in placed]
    if len({(box.y.start, box.x.start) for box in boxes}) < len(boxes):
        raise InputDataError(f"{raw.source}: amplifiers of the detector lie on each other: {boxes}.")
    image = np.zeros((max(box.y.stop for box in boxes), max(box.x.stop for box in boxes)), np.float32)
    for one in placed:
        pixels = sources[one.amplifier.name].pixels
        image[box_slices(one.geometry.bbox)] = pixels[
            :: -1 if one.flips.y else 1, :: -1 if one.flips.x else 1
        ]
    return image


def _with_geometry(detector: Detector, placed: list[PlacedAmplifier]) -> Detector:
    """Return the detector with the geometry of the file."""
    amplifiers = [one.amplifier for one in placed]
    if amplifiers == detector.amplifiers:
        return detector
    fitted = detector.copy()
    fitted.amplifiers[:] = amplifiers
    return fitted
