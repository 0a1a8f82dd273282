"""Datasets that are the place of a file."""

from __future__ import annotations

from lsst.daf.butler import Butler, Config, DatasetRef, DatasetType, FileDataset
from lsst.resources import ResourcePath

from lsst.dax.image.repository.file_formatter import FileFormatter

STORAGE_CLASS = "PlainFileForTest"


def test_dataset_is_the_place_of_its_file(tmp_path):
    config = Config(
        {
            "storageClasses": {STORAGE_CLASS: {"pytype": "lsst.resources.ResourcePath"}},
            "datastore": {
                "formatters": {STORAGE_CLASS: f"{FileFormatter.__module__}.{FileFormatter.__qualname__}"}
            },
        }
    )
    root, path = tmp_path / "repo", tmp_path / "table.ecsv"
    path.write_bytes(b"not even a table")
    Butler.makeRepo(str(root), config=config)
    with Butler.from_config(str(root), writeable=True, run="run") as butler:
        butler.registry.insertDimensionData("instrument", {"name": "Cam"})
        dataset_type = DatasetType("table", {"instrument"}, STORAGE_CLASS, universe=butler.dimensions)
        butler.registry.registerDatasetType(dataset_type)
        data_id = butler.registry.expandDataId(instrument="Cam")
        ref = DatasetRef(dataset_type, data_id, run="run")
        butler.ingest(FileDataset(path=str(path), refs=[ref]), transfer="copy")
        place = butler.get(ref)
    assert isinstance(place, ResourcePath)
    assert place.isLocal
    assert place.read() == b"not even a table"
    assert place.ospath.startswith(str(root))
