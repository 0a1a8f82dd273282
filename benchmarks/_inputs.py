"""Images of full size in a Butler repository, made anew by every run.

They come from the simulation of the mini survey: noise and sky of a 30 s visit,
a few hundred stars and galaxies, mask planes, a Piff PSF and a WCS with
distortion; a coadd of cells from the same sky.  A real image has more sources,
so its pixels compress a little less well.
"""

from __future__ import annotations

__all__ = ("DATA_ID", "make_repository")

import dataclasses
from pathlib import Path

from lsst.daf.butler import Butler, Config, DatasetType

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


def make_repository(root: Path, *, quick: bool) -> Butler:
    """Make a repository of one visit image, stored in two ways, and a coadd.

    Parameters
    ----------
    root
        Where to make it.
    quick
        Whether to make images of a megapixel, not of 16 and 11.

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
        butler.registry.insertDimensionData("instrument", instrument | {"detector_max": 1})
        detector = {"instrument": DATA_ID["instrument"], "id": DATA_ID["detector"], "full_name": "R00_S00"}
        butler.registry.insertDimensionData("detector", detector)
        truth, plans = make_truth(config), make_visit_plans(config)
        plan = next(plan for plan in plans if plan.band == "i")
        image = make_visit_image(config, plan, 0, make_detector_scene(config, truth, plan, 0))
        patch = config.sky_map.find_patch(config.center_position, tract=config.tract)
        coadd = make_deep_coadd(config, truth, band="i", patch=patch, plans=plans)
        datasets = {
            "visit_image": ("VisitImage", image),
            "visit_image_lossy": ("VisitImage", image),
            "deep_coadd": ("CellCoadd", coadd),
        }
        for name, (storage_class, dataset) in datasets.items():
            dimensions = ("instrument", "detector")
            dataset_type = DatasetType(name, dimensions, storage_class, universe=butler.dimensions)
            butler.registry.registerDatasetType(dataset_type)
            butler.put(dataset, name, DATA_ID)
    return Butler.from_config(str(root), collections=RUN)
