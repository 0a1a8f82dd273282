"""Find what a visit image is made from, and write it down as a recipe."""

from __future__ import annotations

__all__ = ("CALIBRATION_DATASETS", "make_visit_image_recipe")

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lsst.daf.butler import DatasetRef
from lsst.images import Box, VisitImage

from ..errors import (
    CalibrationMismatchError,
    InputDataError,
    MissingCalibrationError,
    UnsupportedProductError,
)
from ..repository import (
    ButlerLike,
    find_by_uuid,
    find_calibration,
    find_dataset,
    find_exposures,
    name_dataset,
    opened_dataset,
)
from ..version import __version__
from .isr import IsrSequence
from .recipe import InputDataset, VisitImageRecipe

CALIBRATION_DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "bias": "bias",
        "dark": "dark",
        "flat": "flat",
        "ptc": "ptc",
        "gain_correction": "gain_correction",
        "crosstalk": "crosstalk",
        "linearizer": "linearizer",
        "cti": "cti",
        "defects": "defects",
        "bfk": "bfk",
        "electro_bf": "electroBfDistortionMatrix",
    }
)
"""Dataset type of each calibration, by its name in `~lsst.dax.image.recreation.isr.IsrCalibrations`."""

# Names that headers of processed images use for a calibration besides that of its dataset type.
_ALIASES = {
    "cti": ("DEFERREDCHARGECALIB",),
    "bfk": ("BFKERNEL", "NEWBFKERNEL"),
    "gain_correction": ("GAINCORRECTION",),
}
_PEDESTALS = "LSST ISR AMPOFFSET PEDESTAL"
_OFFSET_STEP = "subtract_amplifier_offsets"


def make_visit_image_recipe(
    butler: ButlerLike,
    data_id: Mapping[str, Any],
    *,
    sequence: IsrSequence,
    inputs: Mapping[str, DatasetRef] | None = None,
    bbox: Box | None = None,
) -> VisitImageRecipe:
    """Find the inputs of a visit image, before any pixel is read.

    Parameters
    ----------
    butler
        Butler to ask; its default collections are searched.
    data_id
        Instrument, visit and detector.
    sequence
        Steps of the instrument signature removal.
    inputs
        Datasets to take for some inputs: ``raw``, ``visit_image`` or a key of
        `CALIBRATION_DATASETS`.
    bbox
        Pixels to make (0-based, of the trimmed detector); all if `None`.

    Returns
    -------
    recipe
        The datasets and parameters.

    Raises
    ------
    DatasetNotFoundError
        Raised if there is no such raw or visit image.
    MissingCalibrationError
        Raised if a calibration that a step needs is not in the collections
        for the time of the exposure.
    CalibrationMismatchError
        Raised if the original says that offsets of the amplifiers were
        subtracted, and the sequence has no step for it.
    UnsupportedProductError
        Raised if the visit has several exposures.

    Notes
    -----
    A calibration is the one that the metadata of the original names by its
    UUID (``LSST CALIB UUID BIAS``); where they are silent, the one that is
    certified for the time of the exposure.
    """
    given = dict(inputs or {})
    visit_image = given.pop("visit_image", None) or find_dataset(butler, "visit_image", data_id)
    raw = given.pop("raw", None) or _find_raw(butler, visit_image)
    if unknown := set(given) - set(CALIBRATION_DATASETS):
        raise UnsupportedProductError(
            f"Inputs {sorted(unknown)} are not known; known are raw, visit_image and "
            f"{', '.join(CALIBRATION_DATASETS)}."
        )
    header = _read_metadata(butler, visit_image)
    sequence, pedestals = _settle_offsets(sequence, header, visit_image)
    refs = given | {
        name: ref
        for name in sequence.needs
        if name in CALIBRATION_DATASETS and name not in given
        if (ref := _find_calibration(butler, name, raw, header, required=name in sequence.requires))
    }
    corners = None if bbox is None else (bbox.x.start, bbox.y.start, bbox.x.size, bbox.y.size)
    return VisitImageRecipe(
        software=f"lsst-dax-image {__version__}",
        raw=describe_dataset(raw),
        calibrations={name: describe_dataset(ref) for name, ref in refs.items()},
        components={"visit_image": describe_dataset(visit_image)},
        pedestals=pedestals,
        sequence=sequence,
        # The dataset says which noise: any subset of it has the same.
        seed=visit_image.id.int % 2**32,
        bbox=corners,
    )


def describe_dataset(ref: DatasetRef) -> InputDataset:
    """Return a dataset as a recipe names it."""
    return InputDataset(
        dataset_type=ref.datasetType.name, id=ref.id, run=ref.run, data_id=dict(ref.dataId.required)
    )


def _find_raw(butler: ButlerLike, visit_image: DatasetRef) -> DatasetRef:
    """Return the raw of a visit image's only exposure."""
    instrument, visit = visit_image.dataId["instrument"], visit_image.dataId["visit"]
    exposures = find_exposures(butler, instrument=str(instrument), visit=int(visit))
    if len(exposures) != 1:
        raise UnsupportedProductError(
            f"Visit {visit} of {instrument} has the exposures {exposures}; visits of one can be re-created."
        )
    detector = visit_image.dataId["detector"]
    data_id = {"instrument": instrument, "exposure": exposures[0], "detector": detector}
    return find_dataset(butler, "raw", data_id)


def _read_metadata(butler: ButlerLike, ref: DatasetRef) -> Mapping[str, Any]:
    """Return the metadata of a visit image, native and from the header of its file."""
    with opened_dataset(butler, ref) as reader:
        corner = reader.geometry.bbox
        pixel = Box.factory[corner.y.start : corner.y.start + 1, corner.x.start : corner.x.start + 1]
        image = reader.read_full(pixel)
    if not isinstance(image, VisitImage):
        raise InputDataError(f"{name_dataset(ref)} is a {type(image).__name__}, not a VisitImage.")
    return image.metadata


def _settle_offsets(
    sequence: IsrSequence, header: Mapping[str, Any], ref: DatasetRef
) -> tuple[IsrSequence, dict[str, float] | None]:
    """Return the pedestals of the original, and the sequence with or without their step."""
    has_step = any(step.name == _OFFSET_STEP for step in sequence.steps)
    subtracted = header.get(f"{_PEDESTALS} SUBTRACTED")
    if not subtracted:
        if has_step and subtracted is None:
            raise MissingCalibrationError(
                f"{sequence.name} subtracts offsets of the amplifiers, but the metadata of "
                f"{name_dataset(ref)} have no {_PEDESTALS!r}; take the sequence without {_OFFSET_STEP!r} "
                f"if the original had none."
            )
        return (sequence.without(_OFFSET_STEP) if has_step else sequence), None
    if not has_step:
        raise CalibrationMismatchError(
            f"{name_dataset(ref)} had offsets of its amplifiers subtracted, but {sequence.name} does not."
        )
    prefix = f"{_PEDESTALS} "
    names = [key.removeprefix(prefix) for key in header if key.startswith(prefix)]
    return sequence, {name: float(header[prefix + name]) for name in names if name != "SUBTRACTED"}


def _find_calibration(
    butler: ButlerLike, name: str, raw: DatasetRef, header: Mapping[str, Any], *, required: bool
) -> DatasetRef | None:
    """Return a calibration of a raw; `None` if it is not there and need not be."""
    dataset_type = CALIBRATION_DATASETS[name]
    for alias in (dataset_type.upper(), *_ALIASES.get(name, ())):
        if (uuid := header.get(f"LSST CALIB UUID {alias}")) is not None:
            return find_by_uuid(butler, str(uuid))
    try:
        return find_calibration(butler, dataset_type, raw)
    except MissingCalibrationError:
        if required:
            raise
        return None
