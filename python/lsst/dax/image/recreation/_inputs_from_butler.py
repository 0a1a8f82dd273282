"""Find what a visit image is made from, and write it down as a recipe."""

from __future__ import annotations

__all__ = ("CALIBRATION_DATASETS", "make_visit_image_recipe")

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from lsst.daf.butler import DatasetRef
from lsst.images import Box

from ..errors import (
    CalibrationMismatchError,
    DatasetNotFoundError,
    InputDataError,
    MissingCalibrationError,
    RequestError,
    UnsupportedProductError,
)
from ..repository import (
    ButlerLike,
    find_by_uuid,
    find_calibration,
    find_dataset,
    find_exposures,
    name_dataset,
)
from ..version import __version__
from ._components_from_butler import SEPARATE_INPUTS, fetch_metadata
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
# Separate inputs that together need no visit image.
_NEEDED_INPUTS = ("background", "visit_summary", "psf", "detector", "obs_info")
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
        Datasets to take for some inputs: ``raw``, ``visit_image``, a key of
        `CALIBRATION_DATASETS`, or one of `SEPARATE_INPUTS`, which go before
        what the visit image holds.
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
    InputDataError
        Raised if some of `SEPARATE_INPUTS` are given, more are needed, and
        there is no visit image.
    MissingCalibrationError
        Raised if a calibration that a step needs is not in the collections
        for the time of the exposure.
    CalibrationMismatchError
        Raised if the original says that offsets of the amplifiers were
        subtracted, and the sequence has no step for it; or if an input is of
        another instrument, visit or detector.
    UnsupportedProductError
        Raised if the visit has several exposures.

    Notes
    -----
    A calibration is the one that the metadata of the original names by its
    UUID (``LSST CALIB UUID BIAS``); where they are silent, the one that is
    certified for the time of the exposure.

    Where background, visit summary, PSF, detector and obs_info are all given,
    no visit image is looked for, nor is the mask of one.  The noise in place of
    cosmic rays is that of the visit image even if its file is gone.
    """
    given = dict(inputs or {})
    known = ("raw", "visit_image", *SEPARATE_INPUTS, *CALIBRATION_DATASETS)
    if unknown := set(given) - set(known):
        raise UnsupportedProductError(
            f"Inputs {sorted(unknown)} are not known; known are {', '.join(known)}."
        )
    components = _take_components(butler, data_id, given)
    if "visit_image" in components:
        data_id = components["visit_image"].dataId.required
    raw = given.pop("raw", None) or _find_raw(butler, data_id)
    header = fetch_metadata(butler, components)
    sequence, pedestals = _settle_offsets(sequence, header, components)
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
        components={name: describe_dataset(ref) for name, ref in components.items()},
        with_original_mask=not {"visit_image", "mask"}.isdisjoint(components),
        pedestals=pedestals,
        sequence=sequence,
        # The dataset says which noise: any subset of it has the same.
        seed=_find_identity(butler, data_id, components, raw).int % 2**32,
        bbox=corners,
    )


def describe_dataset(ref: DatasetRef) -> InputDataset:
    """Return a dataset as a recipe names it."""
    return InputDataset(
        dataset_type=ref.datasetType.name, id=ref.id, run=ref.run, data_id=dict(ref.dataId.required)
    )


def _take_components(
    butler: ButlerLike, data_id: Mapping[str, Any], given: dict[str, DatasetRef]
) -> dict[str, DatasetRef]:
    """Take what a visit image is put together from out of the inputs; look for it where they lack some."""
    components = {name: given.pop(name) for name in ("visit_image", *SEPARATE_INPUTS) if name in given}
    lacking = [name for name in _NEEDED_INPUTS if name not in components]
    if lacking and "visit_image" not in components:
        try:
            components["visit_image"] = find_dataset(butler, "visit_image", data_id)
        except DatasetNotFoundError as error:
            if not components:
                raise
            raise InputDataError(
                f"The inputs have no {', '.join(lacking)}, and there is no visit image to take them from: "
                f"{error}"
            ) from error
    for name, ref in components.items():
        for key, value in ref.dataId.required.items():
            if value != data_id.get(key, value):
                raise CalibrationMismatchError(
                    f"{name_dataset(ref)} cannot be the {name} of {dict(data_id)}: its {key} is {value}."
                )
    return components


def _find_raw(butler: ButlerLike, data_id: Mapping[str, Any]) -> DatasetRef:
    """Return the raw of a visit image's only exposure."""
    if missing := [key for key in ("instrument", "visit", "detector") if key not in data_id]:
        raise RequestError(f"The data ID {dict(data_id)} of the visit image has no {', '.join(missing)}.")
    instrument, visit = data_id["instrument"], data_id["visit"]
    exposures = find_exposures(butler, instrument=str(instrument), visit=int(visit))
    if len(exposures) != 1:
        raise UnsupportedProductError(
            f"Visit {visit} of {instrument} has the exposures {exposures}; visits of one can be re-created."
        )
    raw = {"instrument": instrument, "exposure": exposures[0], "detector": data_id["detector"]}
    return find_dataset(butler, "raw", raw)


def _find_identity(
    butler: ButlerLike, data_id: Mapping[str, Any], components: Mapping[str, DatasetRef], raw: DatasetRef
) -> UUID:
    """Return the UUID of the visit image, which need not be stored any more, or else of its raw."""
    if "visit_image" in components:
        return components["visit_image"].id
    try:
        return find_dataset(butler, "visit_image", data_id).id
    except DatasetNotFoundError:
        return raw.id


def _settle_offsets(
    sequence: IsrSequence, header: Mapping[str, Any], components: Mapping[str, DatasetRef]
) -> tuple[IsrSequence, dict[str, float] | None]:
    """Return the pedestals of the original, and the sequence with or without their step."""
    has_step = any(step.name == _OFFSET_STEP for step in sequence.steps)
    ref = components.get("metadata", components.get("visit_image"))
    source = "the inputs" if ref is None else f"the metadata of {name_dataset(ref)}"
    subtracted = header.get(f"{_PEDESTALS} SUBTRACTED")
    if not subtracted:
        if has_step and subtracted is None:
            raise MissingCalibrationError(
                f"{sequence.name} subtracts offsets of the amplifiers, but {source} have no {_PEDESTALS!r}; "
                f"take the sequence without {_OFFSET_STEP!r} if the original had none."
            )
        return (sequence.without(_OFFSET_STEP) if has_step else sequence), None
    if not has_step:
        raise CalibrationMismatchError(
            f"The original had offsets of its amplifiers subtracted, but {sequence.name} has no step for it; "
            f"so say {source}."
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
