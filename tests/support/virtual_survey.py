"""A repository of raws whose visit images are stored, and one whose are not."""

from __future__ import annotations

__all__ = ("COMPONENTS", "OpenVirtual", "VirtualSurvey", "make_virtual_survey")

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, DatasetRef, DatasetType, FileDataset
from lsst.images import VisitImage
from lsst.images.serialization import write_archive

from lsst.dax.image.recreation.isr import LSSTCAM_DP2
from lsst.dax.image.simulation import RawSurvey
from lsst.dax.image.simulation._survey import COLLECTION
from lsst.dax.image.virtual import Product, VirtualButler, VisitImageProduct
from tests.support.visit_summaries import summarize

_GENERIC = "lsst.images.formatters.GenericFormatter"
_FILE = "lsst.dax.image.repository.file_formatter.FileFormatter"
_FORMATTERS = {
    "background": ("BackgroundMap", _GENERIC),
    "visit_summary": ("CalibrationFile", _FILE),
    "psf": ("PointSpreadFunction", _GENERIC),
    "detector": ("DetectorV2", _GENERIC),
    "obs_info": ("ObservationInfo", "lsst.daf.butler.formatters.json.JsonFormatter"),
    "mask": ("MaskV2", _GENERIC),
}
RUN = "MiniCam/runs/components"
COMPONENTS = {name: f"visit_{name}" for name in (*_FORMATTERS, "metadata")}
"""Dataset types of what was persisted of the visit images."""


type OpenVirtual = Callable[..., VirtualButler]
"""Takes products besides that of visit images, and options of `VirtualButler`."""


@dataclass(frozen=True)
class VirtualSurvey:
    """One survey in two repositories."""

    stored_root: Path
    """Has visit images."""

    virtual_root: Path
    """Has none, but raws, calibrations and components."""

    survey: RawSurvey

    def open_stored(self) -> Butler:
        """Return a Butler of the stored visit images."""
        return Butler.from_config(str(self.stored_root), collections=COLLECTION)

    def open_plain(self, *, writeable: bool = False) -> Butler:
        """Return a Butler of the repository without visit images."""
        return Butler.from_config(str(self.virtual_root), collections=COLLECTION, writeable=writeable)

    def open_virtual(self, *others: Product, **options: Any) -> VirtualButler:
        """Return a Butler that makes visit images, and what else it is told."""
        butler = self.open_plain(writeable="write_to" in options)
        visits = VisitImageProduct(LSSTCAM_DP2, COMPONENTS)
        return VirtualButler(butler, [visits, *others], **options)


def make_virtual_survey(survey: RawSurvey, folder: Path) -> VirtualSurvey:
    """Make both repositories of a survey."""
    stored, virtual = folder / "stored", folder / "virtual"
    shutil.copytree(survey.root, virtual)
    butler = Butler.from_config(str(virtual), collections=COLLECTION, writeable=True)
    try:
        _register(butler)
        parts = folder / "parts"
        parts.mkdir()
        for number, ref in enumerate(butler.query_datasets("visit_image")):
            _put_components(butler, ref, parts / str(number))
        shutil.copytree(virtual, stored)
        images = butler.query_datasets("visit_image", collections="*", find_first=False)
        butler.pruneDatasets(images, disassociate=True, unstore=True, purge=True)
    finally:
        butler.close()
    return VirtualSurvey(stored, virtual, survey)


def _register(butler: Butler) -> None:
    """Register dataset types and their collection."""
    storage = {name: kind for name, (kind, _) in _FORMATTERS.items()} | {"metadata": "StructuredDataDict"}
    for name, kind in storage.items():
        dimensions = ("instrument", "visit", "detector")
        dataset_type = DatasetType(COMPONENTS[name], dimensions, kind, universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
    butler.collections.register(RUN)
    butler.collections.prepend_chain(COLLECTION, RUN)


def _put_components(butler: Butler, ref: DatasetRef, folder: Path) -> None:
    """Store what a visit image holds besides image and variance, one by one."""
    folder.mkdir()
    image = butler.get(ref)
    key = butler.registry.expandDataId(ref.dataId)
    for name, path in _write_parts(image, folder).items():
        part = DatasetRef(butler.get_dataset_type(COMPONENTS[name]), key, run=RUN)
        formatter = _FORMATTERS[name][1]
        butler.ingest(FileDataset(path=str(path), refs=[part], formatter=formatter), transfer="move")
    butler.put(dict(image.metadata), COMPONENTS["metadata"], key, run=RUN)


def _write_parts(image: VisitImage, folder: Path) -> Mapping[str, Path]:
    """Write the parts of an image, each into a file of its own."""
    objects = {
        "background": image.backgrounds,
        "psf": image.psf,
        "detector": image.detector,
        "mask": image.mask,
    }
    files = {name: folder / f"{name}.fits" for name in objects}
    for name, value in objects.items():
        write_archive(value, files[name])
    files["visit_summary"] = summarize(image).write(folder / "summary.fits")
    files["obs_info"] = folder / "obs_info.json"
    files["obs_info"].write_text(image.obs_info.model_dump_json())
    return files
