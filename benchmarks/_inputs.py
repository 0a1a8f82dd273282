"""Images of full size in a Butler repository, made anew by every run.

They come from the simulation of the mini survey: noise and sky of a 30 s visit,
a few hundred stars and galaxies, mask planes, a Piff PSF and a WCS with
distortion; a coadd of cells from the same sky.  A real image has more sources,
so its pixels compress a little less well.
"""

from __future__ import annotations

__all__ = ("DATASET_TYPES", "DATA_ID", "RUN", "add_series", "make_repository")

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType, FileDataset

from lsst.dax.image.simulation import SurveyConfig
from lsst.dax.image.simulation._coadd import make_deep_coadd
from lsst.dax.image.simulation._config import SKY_MAP
from lsst.dax.image.simulation._scene import make_detector_scene
from lsst.dax.image.simulation._truth import make_truth
from lsst.dax.image.simulation._visit import make_visit_image
from lsst.dax.image.simulation._visit_plan import make_visit_plans

DATA_ID = {"instrument": "BenchCam", "detector": 0}
RUN = "benchmark"
FORMATTER = "lsst.images.formatters.GenericFormatter"
DATASET_TYPES = ("visit_image", "visit_image_lossy", "deep_coadd")


def make_repository(root: Path, *, quick: bool, dataset_types: Sequence[str] = DATASET_TYPES) -> Butler:
    """Make a repository of one visit image, stored in two ways, and a coadd.

    Parameters
    ----------
    root
        Where to make it.
    quick
        Whether to make images of a megapixel, not of 16 and 11.
    dataset_types
        Which of them.

    Returns
    -------
    butler
        Butler that finds ``visit_image`` (lossless, tiles of one row),
        ``visit_image_lossy`` (the recipe ``lossy16``) and ``deep_coadd``
        (lossless, tiles of one cell) with `DATA_ID`.
    """
    lossy = {"visit_image_lossy": {"formatter": FORMATTER, "parameters": {"recipe": "lossy16"}}}
    Butler.makeRepo(str(root), config=Config({"datastore": {"formatters": lossy}}))
    config = SurveyConfig(
        detector_shape=(1000, 1018) if quick else (4000, 4072),
        detector_grid=(1, 1),
        visits_per_band=1,
        star_density=0.5,
        galaxy_density=0.5,
        sky_map=dataclasses.replace(SKY_MAP, cell_size=150, cells_per_patch=4 if quick else 20),
    )
    with Butler.from_config(str(root), writeable=True, run=RUN) as butler:
        instrument = {"name": DATA_ID["instrument"], "class_name": "none", "visit_max": 1, "exposure_max": 1}
        butler.registry.insertDimensionData("instrument", instrument | {"detector_max": 1000})
        _insert_detectors(butler, [0])
        truth, plans = make_truth(config), make_visit_plans(config)
        plan = next(plan for plan in plans if plan.band == "i")
        image = make_visit_image(config, plan, 0, make_detector_scene(config, truth, plan, 0))
        for name in dataset_types:
            storage_class = "CellCoadd" if name == "deep_coadd" else "VisitImage"
            dimensions = ("instrument", "detector")
            dataset_type = DatasetType(name, dimensions, storage_class, universe=butler.dimensions)
            butler.registry.registerDatasetType(dataset_type)
            if name == "deep_coadd":
                patch = config.sky_map.find_patch(config.center_position, tract=config.tract)
                coadd = make_deep_coadd(config, truth, band="i", patch=patch, plans=plans)
                butler.put(coadd, name, DATA_ID)
            else:
                butler.put(image, name, DATA_ID)
    return Butler.from_config(str(root), collections=RUN)


def add_series(root: Path, count: int) -> Butler:
    """Add the visit image many times more, for one position in many images.

    Each is a dataset of its own, with a file of its own name and a UUID of its
    own; all files are hard links to the same bytes, so that a hundred of them
    take no room and are in the page cache together.

    Parameters
    ----------
    root
        Repository from `make_repository`.
    count
        Number of datasets to add, as detectors 1, 2, ...

    Returns
    -------
    butler
        Butler that finds them.
    """
    with Butler.from_config(str(root), writeable=True, run=RUN) as butler:
        detectors = range(1, count + 1)
        _insert_detectors(butler, detectors)
        first = butler.find_dataset("visit_image", DATA_ID)
        path = butler.getURI(first)
        files = [
            FileDataset(
                path,
                [
                    DatasetRef(
                        first.datasetType,
                        butler.registry.expandDataId(DATA_ID | {"detector": detector}),
                        RUN,
                    )
                ],
                formatter=FORMATTER,
            )
            for detector in detectors
        ]
        butler.ingest(*files, transfer="hardlink")
    return Butler.from_config(str(root), collections=RUN)


def _insert_detectors(butler: Butler, numbers: Sequence[int]) -> None:
    rows = [
        {"instrument": DATA_ID["instrument"], "id": number, "full_name": f"D{number:03}"}
        for number in numbers
    ]
    butler.registry.insertDimensionData("detector", *rows)
