"""Writing of a mini survey through the Butler."""

from __future__ import annotations

__all__ = (
    "SKY_MAP_RUN",
    "insert_dimensions",
    "make_mini_survey",
    "put_sky_map",
    "require_empty_directory",
    "save_truth",
)

import json
from pathlib import Path
from typing import cast

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
    Timespan,
)
from lsst.images import DifferenceImageTemplateInfo, Polygon

from ..errors import OutputError
from ._camera import detector_name
from ._coadd import make_deep_coadd, make_template_coadd, patch_polygon_in_detector
from ._config import BANDS, INSTRUMENT, SurveyConfig
from ._difference import make_difference_image, template_psf
from ._scene import DetectorScene, make_detector_scene
from ._survey import COLLECTION, CONFIG_FILE, TRUTH_FILE, MiniSurvey
from ._truth import make_truth
from ._visit import make_visit_image
from ._visit_plan import EXPOSURE_SECONDS, VisitPlan, detector_region, visit_region

RUN = f"{INSTRUMENT}/runs/truth"
"""Collection of the images."""

SKY_MAP_RUN = "skymaps"
"""Collection of the sky map's parameters."""

_IMAGE_DIMENSIONS = ("instrument", "visit", "detector")
_COADD_DIMENSIONS = ("skymap", "tract", "patch", "band")

_DATASET_TYPES = (
    ("visit_image", _IMAGE_DIMENSIONS, "VisitImage"),
    ("difference_image", _IMAGE_DIMENSIONS, "DifferenceImage"),
    ("deep_coadd", _COADD_DIMENSIONS, "CellCoadd"),
    ("template_coadd", _COADD_DIMENSIONS, "CellCoadd"),
    ("skyMapConfig", ("skymap",), "StructuredDataDict"),
)

_FORMATTER = "lsst.images.formatters.GenericFormatter"


def make_mini_survey(root: Path | str, *, config: SurveyConfig | None = None) -> MiniSurvey:
    """Simulate a survey and write it as a Butler repository.

    Parameters
    ----------
    root
        Directory of the new repository; must be empty or absent.
    config
        What to simulate; the default is a survey of seconds and megabytes.

    Returns
    -------
    survey
        The survey with its truth.

    Raises
    ------
    OutputError
        Raised if ``root`` is not empty.

    Notes
    -----
    Pixels are compressed as the observatory does it (the Butler recipe
    ``lossy16``: steps of a sixteenth of the noise, with a fixed dither), so
    what is read back differs from what was drawn by that much.
    """
    root = Path(root)
    require_empty_directory(root)
    config = config if config is not None else SurveyConfig()
    survey = MiniSurvey(root=root, config=config, truth=make_truth(config))
    Butler.makeRepo(str(root), config=_make_repository_config())
    butler = Butler.from_config(str(root), writeable=True)
    try:
        insert_dimensions(butler, survey)
        _register_datasets(butler)
        put_sky_map(butler, survey)
        templates = _put_coadds(butler, survey)
        for plan in survey.visits:
            for detector in range(config.detector_count):
                _put_visit_images(butler, survey, plan, detector, templates)
    finally:
        butler.close()
    save_truth(survey)
    return survey


def require_empty_directory(root: Path) -> None:
    """Raise `OutputError` if a directory has something in it."""
    if root.exists() and any(root.iterdir()):
        found = sorted(path.name for path in root.iterdir())[:5]
        raise OutputError(f"A mini survey needs an empty directory; {root} has {found}.")


def save_truth(survey: MiniSurvey) -> None:
    """Write truth and configuration beside the repository's own files."""
    text = json.dumps(survey.config.to_json(), indent=2)
    (survey.root / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    survey.truth.write(survey.root / TRUTH_FILE, format="ascii.ecsv")


def _make_repository_config() -> Config:
    """Return the repository configuration: compression as at the observatory."""
    formatter = {"formatter": _FORMATTER, "parameters": {"recipe": "lossy16"}}
    kinds = ("VisitImage", "DifferenceImage", "CellCoadd")
    return Config({"datastore": {"formatters": dict.fromkeys(kinds, formatter)}})


def insert_dimensions(butler: Butler, survey: MiniSurvey) -> None:
    """Insert the records of the instrument, the visits and the sky map."""
    registry, config = butler.registry, survey.config
    registry.insertDimensionData(
        "instrument",
        {
            "name": INSTRUMENT,
            "visit_max": 3_000_000_000_000,
            "exposure_max": 3_000_000_000_000,
            "detector_max": 1000,
            "visit_system": 0,
        },
    )
    for band, properties in BANDS.items():
        record = {"instrument": INSTRUMENT, "name": properties.physical_filter, "band": band}
        registry.insertDimensionData("physical_filter", record)
    registry.insertDimensionData("detector", *[_detector_record(d) for d in range(config.detector_count)])
    registry.insertDimensionData("visit_system", {"instrument": INSTRUMENT, "id": 0, "name": "one-to-one"})
    days = sorted({plan.day_obs for plan in survey.visits})
    registry.insertDimensionData("day_obs", *[_day_record(day) for day in days])
    with butler.transaction():
        for plan in survey.visits:
            _insert_visit(butler, config, plan)
        _insert_sky_map(butler, survey)


def _detector_record(detector: int) -> dict[str, object]:
    name = detector_name(detector)
    return {
        "instrument": INSTRUMENT,
        "id": detector,
        "full_name": name,
        "name_in_raft": name[4:],
        "raft": name[:3],
        "purpose": "SCIENCE",
    }


def _day_record(day: int) -> dict[str, object]:
    # An observing day starts at noon TAI.
    begin = Time(f"{day // 10000}-{day // 100 % 100:02d}-{day % 100:02d}T12:00:00", scale="tai")
    return {"instrument": INSTRUMENT, "id": day, "timespan": Timespan(begin, begin + 1 * u.d)}


def _insert_visit(butler: Butler, config: SurveyConfig, plan: VisitPlan) -> None:
    """Insert a visit, its exposure and the regions of its detectors."""
    registry = butler.registry
    common = {
        "instrument": INSTRUMENT,
        "id": plan.visit,
        "physical_filter": plan.physical_filter,
        "day_obs": plan.day_obs,
        "seq_num": plan.sequence,
        "exposure_time": EXPOSURE_SECONDS,
        "target_name": "MINI",
        "science_program": "MINI-SURVEY",
        "observation_reason": "science",
        "azimuth": 0.0,
        "zenith_angle": 30.0,
        "timespan": Timespan(plan.begin, plan.end),
    }
    exposure = {
        "obs_id": plan.observation_id,
        "group": str(plan.visit),
        "dark_time": EXPOSURE_SECONDS + 1.0,
        "observation_type": "science",
        "seq_start": plan.sequence,
        "seq_end": plan.sequence,
        "tracking_ra": plan.boresight.ra.deg,
        "tracking_dec": plan.boresight.dec.deg,
        "sky_angle": plan.rotation,
        "has_simulated": True,
        "can_see_sky": True,
    }
    key = {"instrument": INSTRUMENT, "visit": plan.visit}
    registry.insertDimensionData("group", {"instrument": INSTRUMENT, "name": str(plan.visit)})
    registry.insertDimensionData("exposure", common | exposure)
    visit = common | {"name": plan.observation_id, "region": visit_region(config, plan)}
    registry.insertDimensionData("visit", visit)
    registry.insertDimensionData("visit_system_membership", {**key, "visit_system": 0})
    registry.insertDimensionData("visit_definition", {**key, "exposure": plan.visit})
    regions = [
        {**key, "detector": detector, "region": detector_region(config, plan, detector)}
        for detector in range(config.detector_count)
    ]
    registry.insertDimensionData("visit_detector_region", *regions)


def _insert_sky_map(butler: Butler, survey: MiniSurvey) -> None:
    """Insert the sky map, the survey's tract and all its patches."""
    sky_map, tract = survey.config.sky_map, survey.tract
    side = sky_map.patches_per_side
    butler.registry.insertDimensionData(
        "skymap",
        {
            "name": sky_map.name,
            "hash": sky_map.sha1(),
            "tract_max": sky_map.tract_count,
            "patch_nx_max": side,
            "patch_ny_max": side,
        },
    )
    record = {"skymap": sky_map.name, "id": tract, "region": sky_map.tract_region(tract)}
    butler.registry.insertDimensionData("tract", record)
    patches = [
        {
            "skymap": sky_map.name,
            "tract": tract,
            "id": patch,
            "cell_x": patch % side,
            "cell_y": patch // side,
            "region": sky_map.patch_region(tract, patch),
        }
        for patch in range(side * side)
    ]
    butler.registry.insertDimensionData("patch", *patches)


def _register_datasets(butler: Butler) -> None:
    """Register dataset types and collections."""
    for name, dimensions, storage_class in _DATASET_TYPES:
        dataset_type = DatasetType(name, dimensions, storage_class, universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
    for run in (RUN, SKY_MAP_RUN):
        butler.collections.register(run, CollectionType.RUN)
    butler.collections.register(COLLECTION, CollectionType.CHAINED)
    butler.collections.redefine_chain(COLLECTION, [RUN, SKY_MAP_RUN])


def put_sky_map(butler: Butler, survey: MiniSurvey) -> None:
    """Write the parameters of the sky map."""
    config = survey.config.sky_map.to_config()
    butler.put(config, "skyMapConfig", skymap=survey.skymap, run=SKY_MAP_RUN)


def _put_coadds(butler: Butler, survey: MiniSurvey) -> dict[tuple[str, int], DatasetRef]:
    """Write all coadds and return the references of the templates by band and patch."""
    templates = {}
    for band in BANDS:
        for patch in survey.patches:
            key = {"skymap": survey.skymap, "tract": survey.tract, "patch": patch, "band": band}
            deep = make_deep_coadd(survey.config, survey.truth, band=band, patch=patch, plans=survey.visits)
            butler.put(deep, "deep_coadd", key, run=RUN)
            template = make_template_coadd(survey.config, survey.truth, band=band, patch=patch)
            templates[band, patch] = butler.put(template, "template_coadd", key, run=RUN)
    return templates


def _put_visit_images(
    butler: Butler,
    survey: MiniSurvey,
    plan: VisitPlan,
    detector: int,
    templates: dict[tuple[str, int], DatasetRef],
) -> None:
    """Write the visit image and the difference image of one detector."""
    config = survey.config
    key = {"instrument": INSTRUMENT, "visit": plan.visit, "detector": detector}
    scene = make_detector_scene(config, survey.truth, plan, detector)
    visit_image = make_visit_image(config, plan, detector, scene)
    ref = butler.put(visit_image, "visit_image", key, run=RUN)
    infos = _find_templates(survey, plan, scene, templates)
    # As at the observatory, differences are made from what was stored.
    coadds = [butler.get(templates[plan.band, info.patch]) for info in infos]
    difference = make_difference_image(config, butler.get(ref), scene, templates=infos, coadds=coadds)
    butler.put(difference, "difference_image", key, run=RUN)


def _find_templates(
    survey: MiniSurvey, plan: VisitPlan, scene: DetectorScene, templates: dict[tuple[str, int], DatasetRef]
) -> list[DifferenceImageTemplateInfo]:
    """Return the templates that overlap a detector."""
    infos = []
    x, y = np.meshgrid(scene.bbox.x.arange.astype(float), scene.bbox.y.arange.astype(float))
    xx, yy, xy = template_psf(survey.config).moments(x=0.0, y=0.0)
    for patch in survey.patches:
        outline = patch_polygon_in_detector(survey.config, patch, scene.sky_projection)
        inside = np.asarray(outline.contains(x=x, y=y))
        if not np.any(inside):
            continue
        # Two convex outlines that share a pixel overlap in one polygon.
        overlap = cast("Polygon", outline.intersection(Polygon.from_box(scene.bbox)))
        ref = templates[plan.band, patch]
        infos.append(
            DifferenceImageTemplateInfo(
                skymap=survey.skymap,
                tract=survey.tract,
                patch=patch,
                dataset_id=ref.id,
                dataset_run=ref.run,
                bounds=overlap,
                psf_shape_xx=xx,
                psf_shape_yy=yy,
                psf_shape_xy=xy,
                psf_shape_flag=False,
                instrument=INSTRUMENT,
            )
        )
    return infos
