"""A raw through a Butler whose configuration names our formatter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lsst.daf.butler import Butler, CollectionType, Config, DatasetRef, DatasetType, FileDataset
from tests.support.isr import make_detector
from tests.support.raws import CARDS, NAMES, make_counts, write_raw

from lsst.dax.image.container import RawFile
from lsst.dax.image.errors import InputDataError
from lsst.dax.image.recreation.isr.raw import assemble_raw

# As the docstring of the formatter says.
CONFIGURATION = """
storageClasses:
  RawFile:
    pytype: lsst.dax.image.container.RawFile
    derivedComponents:
      header: StructuredDataDict
datastore:
  formatters:
    RawFile: lsst.dax.image.repository.raw_formatter.RawFitsFormatter
"""
EXPOSURE = 2025052300201


@pytest.fixture
def butler(tmp_path: Path) -> Iterator[Butler]:
    """Yield a Butler that knows one exposure, for which no raw was ingested."""
    Butler.makeRepo(str(tmp_path / "repo"), config=Config.fromString(CONFIGURATION))
    butler = Butler.from_config(str(tmp_path / "repo"), writeable=True)
    registry = butler.registry
    common = {"instrument": "LSSTCam"}
    registry.insertDimensionData("instrument", {"name": "LSSTCam", "visit_max": 10**13, "detector_max": 256})
    registry.insertDimensionData("physical_filter", {**common, "name": "r_57", "band": "r"})
    registry.insertDimensionData("day_obs", {**common, "id": 20250523})
    registry.insertDimensionData("group", {**common, "name": "201"})
    registry.insertDimensionData("detector", {**common, "id": 94, "full_name": "R22_S11"})
    registry.insertDimensionData(
        "exposure",
        {
            **common,
            "id": EXPOSURE,
            "obs_id": "MC_O_20250523_000201",
            "physical_filter": "r_57",
            "group": "201",
            "day_obs": 20250523,
        },
    )
    dimensions = {"instrument", "exposure", "detector"}
    registry.registerDatasetType(DatasetType("raw", dimensions, "RawFile", universe=butler.dimensions))
    butler.collections.register("LSSTCam/raw/all", CollectionType.RUN)
    yield butler
    butler.close()


def ingest(butler: Butler, path: Path) -> DatasetRef:
    """Ingest a raw."""
    data_id = butler.registry.expandDataId(instrument="LSSTCam", exposure=EXPOSURE, detector=94)
    ref = DatasetRef(butler.get_dataset_type("raw"), data_id, run="LSSTCam/raw/all")
    butler.ingest(FileDataset(path=str(path), refs=ref), transfer="copy")
    return ref


def test_a_raw_is_read_through_the_butler(butler: Butler, tmp_path: Path) -> None:
    counts = make_counts(np.random.default_rng(9), (51, 39))
    ref = ingest(butler, write_raw(tmp_path / "raw.fits", counts, cards={**CARDS, "GRATING": None}))
    raw = butler.get(ref)
    assert isinstance(raw, RawFile)
    assert [amplifier.name for amplifier in raw.amplifiers] == [f"Segment{name[1:]}" for name in NAMES]
    for amplifier, name in zip(raw.amplifiers, NAMES, strict=True):
        np.testing.assert_array_equal(amplifier.pixels, counts[name])
    assert assemble_raw(raw, make_detector()).info.exposure == EXPOSURE
    header = butler.get("raw.header", ref.dataId, collections="LSSTCam/raw/all")
    assert header == {**CARDS, "GRATING": None}


def test_a_damaged_raw_is_the_datas_fault(butler: Butler, tmp_path: Path) -> None:
    path = write_raw(tmp_path / "raw.fits", make_counts(np.random.default_rng(9), (51, 39)))
    (tmp_path / "cut.fits").write_bytes(path.read_bytes()[:-6000])
    ref = ingest(butler, tmp_path / "cut.fits")
    with pytest.raises(ValueError, match="Failure from formatter") as error:
        butler.get(ref)
    assert isinstance(error.value.__cause__, InputDataError)
    assert "truncated" in str(error.value.__cause__)
