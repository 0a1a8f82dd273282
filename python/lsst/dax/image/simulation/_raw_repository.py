"""Writing of a mini survey of raws through the Butler."""

from __future__ import annotations

__all__ = ("make_raw_survey",)

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.time import Time

# CollectionType is public, but its package does not mark it as exported.
from lsst.daf.butler import (  # type: ignore[attr-defined]
    Butler,
    CollectionType,
    Config,
    DatasetRef,
    DatasetType,
    FileDataset,
    Timespan,
)

from ._calibration_files import CALIBRATION_TYPES, FLAT, write_calibration_files
from ._config import BANDS, INSTRUMENT, SurveyConfig
from ._effects import Effects
from ._lossy import write_lossy
from ._originals import CalibrationProvenance, make_original_visit_image
from ._raw_file import RawIdentity, write_raw_file
from ._raw_survey import CALIBRATION_COLLECTION, EFFECTS_FILE, LOSSY_COLLECTION, RAW_SURVEY_CONFIG, RawSurvey
from ._reference_steps import ReferenceSettings
from ._repository import (
    SKY_MAP_RUN,
    insert_dimensions,
    put_sky_map,
    require_empty_directory,
    save_truth,
)
from ._sensor import SimulatedCalibrations
from ._survey import COLLECTION
from ._truth import first_night, make_truth
from ._visit_plan import VisitPlan

RAW_RUN = f"{INSTRUMENT}/raw/all"
"""Collection of the raws."""

ORIGINAL_RUN = f"{INSTRUMENT}/runs/originals"
"""Collection of the visit images, lossless."""

LOSSY_RUN = f"{INSTRUMENT}/runs/originals_lossy"
"""Collection of the visit images with lossy compression."""

CALIBRATION_RUN = f"{INSTRUMENT}/calib/current"
"""Collection of the calibrations that are valid for the survey."""

OUTDATED_RUN = f"{INSTRUMENT}/calib/outdated"
"""Collection of calibrations that are valid before the survey."""

VALID_LEAD_DAYS = 10.0
"""The current calibrations are valid from this long before the first night."""

OUTDATED_BIAS_ELECTRONS = 50.0
"""The outdated bias is wrong by this much."""

PEDESTAL_ELECTRONS = 0.02
"""1-sigma size of the offsets of amplifiers that the original subtracted, as if measured."""

UNUSED = ("bfk",)
"""Calibrations that are there, but that the originals are not made with."""

_GENERIC = "lsst.images.formatters.GenericFormatter"
_REPOSITORY = "lsst.dax.image.repository"


def make_raw_survey(
    root: Path | str, *, config: SurveyConfig | None = None, effects: Effects | None = None
) -> RawSurvey:
    """Simulate the raws of a survey and write them, with all that a reduction needs, as a repository.

    Parameters
    ----------
    root
        Directory of the new repository; must be empty or absent.
    config
        What to simulate; the default is `RAW_SURVEY_CONFIG`.  The sky, the visits
        and their conditions are those of `make_mini_survey` for the same configuration.
    effects
        Effects of the detectors; the default is all of them.

    Returns
    -------
    survey
        The survey with its truth.

    Raises
    ------
    OutputError
        Raised if ``root`` is not empty.
    RequestError
        Raised if the detectors do not divide into amplifiers.

    Notes
    -----
    The default collection has raws (``raw``), lossless visit images as the
    observatory would have made them (``visit_image``), and the certified
    calibrations.  `RawSurvey.open_lossy` sees the visit images compressed as the
    observatory compresses them.  Before the survey another, wrong, bias is valid.
    """
    root = Path(root)
    require_empty_directory(root)
    config = config if config is not None else RAW_SURVEY_CONFIG
    effects = effects if effects is not None else Effects.all()
    survey = RawSurvey(root=root, config=config, truth=make_truth(config), effects=effects)
    # An impossible detector is refused before anything is written.
    calibrations = [survey.calibrations(detector) for detector in range(config.detector_count)]
    Butler.makeRepo(str(root), config=_make_repository_config())
    butler = Butler.from_config(str(root), writeable=True)
    try:
        insert_dimensions(butler, survey)
        _register(butler)
        put_sky_map(butler, survey)
        with tempfile.TemporaryDirectory(dir=root) as directory:
            for detector, truth in enumerate(calibrations):
                with butler.transaction():
                    provenance = _ingest_calibrations(butler, truth, Path(directory))
                for plan in survey.visits:
                    _ingest_visit(butler, survey, plan, detector, Path(directory), provenance)
    finally:
        butler.close()
    save_truth(survey)
    text = json.dumps(dataclasses.asdict(effects), indent=2)
    (root / EFFECTS_FILE).write_text(text + "\n", encoding="utf-8")
    return survey


def _make_repository_config() -> Config:
    """Return the repository configuration: lossless images, and formatters for raws and calibrations."""
    return Config(
        {
            "storageClasses": {
                "RawFile": {
                    "pytype": "lsst.dax.image.container.RawFile",
                    "derivedComponents": {"header": "StructuredDataDict"},
                },
                "CalibrationFile": {"pytype": "lsst.resources.ResourcePath"},
            },
            "datastore": {
                "formatters": {
                    "RawFile": f"{_REPOSITORY}.raw_formatter.RawFitsFormatter",
                    "CalibrationFile": f"{_REPOSITORY}.file_formatter.FileFormatter",
                    "VisitImage": _GENERIC,
                }
            },
        }
    )


def _register(butler: Butler) -> None:
    """Register dataset types and collections."""
    types = [
        DatasetType("raw", ("instrument", "exposure", "detector"), "RawFile", universe=butler.dimensions),
        DatasetType(
            "visit_image", ("instrument", "visit", "detector"), "VisitImage", universe=butler.dimensions
        ),
        DatasetType("skyMapConfig", ("skymap",), "StructuredDataDict", universe=butler.dimensions),
    ]
    for name in CALIBRATION_TYPES:
        dimensions = ("instrument", "detector", *(("physical_filter",) if name == FLAT else ()))
        types.append(
            DatasetType(name, dimensions, "CalibrationFile", universe=butler.dimensions, isCalibration=True)
        )
    for dataset_type in types:
        butler.registry.registerDatasetType(dataset_type)
    runs = (RAW_RUN, ORIGINAL_RUN, LOSSY_RUN, CALIBRATION_RUN, OUTDATED_RUN, SKY_MAP_RUN)
    for run in runs:
        butler.collections.register(run, CollectionType.RUN)
    butler.collections.register(CALIBRATION_COLLECTION, CollectionType.CALIBRATION)
    for chain, images in ((COLLECTION, ORIGINAL_RUN), (LOSSY_COLLECTION, LOSSY_RUN)):
        butler.collections.register(chain, CollectionType.CHAINED)
        butler.collections.redefine_chain(chain, [images, RAW_RUN, CALIBRATION_COLLECTION, SKY_MAP_RUN])


def _ingest(butler: Butler, name: str, data_id: dict[str, Any], path: Path, run: str) -> DatasetRef:
    """Move a file into the repository as a dataset."""
    dataset_type = butler.get_dataset_type(name)
    coordinate = butler.registry.expandDataId(data_id, dimensions=dataset_type.dimensions)
    ref = DatasetRef(dataset_type, coordinate, run=run)
    butler.ingest(FileDataset(path=str(path), refs=[ref]), transfer="move")
    return ref


def _ingest_calibrations(
    butler: Butler, truth: SimulatedCalibrations, directory: Path
) -> dict[tuple[str, str], CalibrationProvenance]:
    """Write, ingest and certify the calibrations of a detector, and return what they are."""
    detector = truth.sensor.detector
    filters = [properties.physical_filter for properties in BANDS.values()]
    current = write_calibration_files(
        truth, directory / "current", instrument=INSTRUMENT, physical_filters=filters
    )
    wrong = dataclasses.replace(truth, bias=truth.bias + OUTDATED_BIAS_ELECTRONS)
    outdated = write_calibration_files(
        wrong,
        directory / "outdated",
        instrument=INSTRUMENT,
        physical_filters=[],
        names=["bias"],
        calibration_date="2024-10-01",
    )
    change: Time = first_night() - VALID_LEAD_DAYS * u.d
    provenance = {}
    for (name, physical_filter), path in current.items():
        data_id: dict[str, Any] = {"instrument": INSTRUMENT, "detector": detector}
        if physical_filter:
            data_id["physical_filter"] = physical_filter
        ref = _ingest(butler, name, data_id, path, CALIBRATION_RUN)
        butler.registry.certify(CALIBRATION_COLLECTION, [ref], Timespan(change, None))
        provenance[name, physical_filter] = CalibrationProvenance(uuid=ref.id, run=ref.run)
    data_id = {"instrument": INSTRUMENT, "detector": detector}
    bias = _ingest(butler, "bias", data_id, outdated["bias", ""], OUTDATED_RUN)
    butler.registry.certify(CALIBRATION_COLLECTION, [bias], Timespan(None, change))
    return provenance


def _ingest_visit(
    butler: Butler,
    survey: RawSurvey,
    plan: VisitPlan,
    detector: int,
    directory: Path,
    provenance: dict[tuple[str, str], CalibrationProvenance],
) -> None:
    """Write the raw and both visit images of a detector in a visit."""
    scene = survey.scene(plan, detector)
    raw = survey.simulate(plan, detector, scene=scene)
    path = directory / f"raw_{plan.visit}_{detector}.fits"
    write_raw_file(raw, path, identity=make_identity(plan))
    key = {"instrument": INSTRUMENT, "detector": detector}
    _ingest(butler, "raw", {**key, "exposure": plan.visit}, path, RAW_RUN)
    used = {
        name: dataset
        for (name, physical_filter), dataset in provenance.items()
        if physical_filter in ("", plan.physical_filter) and name not in UNUSED
    }
    rng = np.random.default_rng([survey.config.seed, 23, plan.visit, detector])
    pedestals = {
        amplifier.name: float(rng.normal(0.0, PEDESTAL_ELECTRONS)) for amplifier in raw.sensor.amplifiers
    }
    image = make_original_visit_image(
        survey.config,
        plan,
        raw,
        calibrations=survey.calibrations(detector),
        scene=scene,
        settings=ReferenceSettings(pedestals=pedestals),
        provenance=used,
    )
    butler.put(image, "visit_image", {**key, "visit": plan.visit}, run=ORIGINAL_RUN)
    lossy = directory / f"visit_image_{plan.visit}_{detector}.fits"
    write_lossy(image, lossy)
    _ingest(butler, "visit_image", {**key, "visit": plan.visit}, lossy, LOSSY_RUN)


def make_identity(plan: VisitPlan) -> RawIdentity:
    """Return what the header of a raw says of a visit."""
    return RawIdentity(
        instrument=INSTRUMENT,
        day_obs=plan.day_obs,
        sequence=plan.sequence,
        begin=plan.begin,
        physical_filter=plan.physical_filter,
        band=plan.band,
        boresight=(float(plan.boresight.ra.deg), float(plan.boresight.dec.deg)),
        rotation=plan.rotation,
    )
