"""Releases that tests may change."""

from __future__ import annotations

__all__ = ("change_pixel", "copy_repository", "put_forced_sources", "replace_dataset")

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from lsst.daf.butler import Butler, DatasetRef, DatasetType

from lsst.dax.image.forced import measure, to_sdm
from lsst.dax.image.simulation import MiniSurvey


def copy_repository[Survey: MiniSurvey](survey: Survey, root: Path) -> Survey:
    """Return a survey of one's own."""
    shutil.copytree(survey.root, root)
    return dataclasses.replace(survey, root=root)


def replace_dataset(root: Path, collections: str, ref: DatasetRef, value: Any) -> None:
    """Store another value under the data ID of a dataset."""
    with Butler.from_config(str(root), collections=collections, writeable=True) as butler:
        butler.pruneDatasets([ref], disassociate=True, unstore=True, purge=True)
        butler.put(value, ref.datasetType, ref.dataId, run=ref.run)


def change_pixel(
    root: Path, collections: str, dataset_type: str, data_id: dict[str, Any], *, x: int, y: int, sigma: float
) -> None:
    """Add some standard deviations to one pixel of an image, and to nothing else."""
    with Butler.from_config(str(root), collections=collections) as butler:
        ref = butler.find_dataset(dataset_type, data_id)
        assert ref is not None
        image = butler.get(ref)
    row, column = y - image.bbox.y.start, x - image.bbox.x.start
    image.image.array[row, column] += sigma * np.sqrt(image.variance.array[row, column])
    replace_dataset(root, collections, ref, image)


def put_forced_sources(survey: MiniSurvey, *, id_name: str = "objectId", n_objects: int = 6) -> None:
    """Add a table of forced sources, measured one whole image after the other."""
    name = "object_forced_source" if id_name == "objectId" else "dia_object_forced_source"
    positions = Table(
        {
            "id": 100 + np.arange(n_objects),
            "ra": survey.truth["ra"][:n_objects].to_value("deg"),
            "dec": survey.truth["dec"][:n_objects].to_value("deg"),
        }
    )
    patch = {"skymap": survey.skymap, "tract": survey.tract, "patch": survey.patches[0]}
    with Butler.from_config(str(survey.root), collections=survey.collections, writeable=True) as butler:
        rows = []
        for kind in ("visit_image", "difference_image"):
            parts = [measure(butler.get(ref), positions) for ref in butler.query_datasets(kind)]
            rows.append(vstack(parts, metadata_conflicts="silent"))
        # Parquet files have columns with units, but no quantities.
        table = Table(to_sdm(rows[0], difference=rows[1], id_name=id_name))
        dataset_type = DatasetType(
            name, ("skymap", "tract", "patch"), "ArrowAstropy", universe=butler.dimensions
        )
        butler.registry.registerDatasetType(dataset_type)
        run = butler.query_datasets("visit_image", limit=1)[0].run
        butler.put(table, dataset_type, patch, run=run)
