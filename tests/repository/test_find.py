"""Queries return exactly the datasets that are there and then."""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any

import astropy.units as u
import lsst.sphgeom
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time
from lsst.daf.butler import Butler, DatasetRef, Timespan
from lsst.images import Box
from lsst.sphgeom import Angle, Circle, LonLat, UnitVector3d
from tests.support.dp2 import COADD_ID, open_dp2

from lsst.dax.image.errors import DatasetNotFoundError, InvalidRegionError, RequestError
from lsst.dax.image.geometry import CircleStencil, PolygonStencil
from lsst.dax.image.repository import find_by_uuid, find_dataset, find_datasets
from lsst.dax.image.simulation import MiniSurvey


def all_visit_images(butler: Butler) -> list[DatasetRef]:
    return find_datasets(butler, "visit_image")


def test_results_are_in_time_order_with_records(mini_butler: Butler) -> None:
    refs = all_visit_images(mini_butler)
    begins = [ref.dataId.timespan.begin for ref in refs]
    assert len(refs) == 18
    assert begins == sorted(begins)
    assert begins[0] < begins[-1]
    assert {ref.dataId["band"] for ref in refs} == {"g", "r", "i"}


def test_a_region_finds_the_images_that_hold_it(mini_butler: Butler) -> None:
    """The oracle asks the WCS of every image."""
    refs = all_visit_images(mini_butler)
    bbox = mini_butler.get(refs[0].makeComponentRef("bbox"))
    inner = mini_butler.get(refs[0].makeComponentRef("sky_projection")).pixel_to_sky(
        x=bbox.x.start + 12.0, y=bbox.y.start + 12.0
    )
    found = {ref.id for ref in find_datasets(mini_butler, "visit_image", region=inner)}
    holding, clear_of = set(), set()
    for ref in refs:
        projection = mini_butler.get(ref.makeComponentRef("sky_projection"))
        box = mini_butler.get(ref.makeComponentRef("bbox"))
        x, y = projection.sky_to_pixel(inner)
        if box.contains(x=float(x), y=float(y)):
            holding.add(ref.id)
        # The recorded regions are padded by a few pixels.
        if not box.padded(25).contains(x=float(x), y=float(y)):
            clear_of.add(ref.id)
    assert holding
    assert clear_of
    assert holding <= found
    assert not found & clear_of


def test_a_circle_is_not_searched_with_twice_its_radius(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    center = SkyCoord(*mini_survey.config.center, unit=u.deg)
    patches = [ref.dataId.region for ref in find_datasets(mini_butler, "deep_coadd")]
    north = max(vertex.z() for region in patches for vertex in region.getVertices())
    edge = SkyCoord(center.ra, math.asin(north) * u.rad)
    above = edge.directional_offset_by(0 * u.deg, 10 * u.arcsec)
    assert find_datasets(mini_butler, "deep_coadd", region=CircleStencil(above, 6 * u.arcsec)) == []
    assert find_datasets(mini_butler, "deep_coadd", region=CircleStencil(above, 14 * u.arcsec))


def test_regions_may_be_stencils_points_or_sphgeom(mini_butler: Butler, mini_survey: MiniSurvey) -> None:
    ra, dec = mini_survey.config.center
    point = SkyCoord(ra, dec, unit=u.deg)
    lonlat = lsst.sphgeom.UnitVector3d(lsst.sphgeom.LonLat.fromDegrees(ra, dec))
    small = lsst.sphgeom.Angle.fromDegrees(1e-7)
    shapes = [
        point,
        CircleStencil(point, 1e-7 * u.deg),
        PolygonStencil(SkyCoord([ra, ra + 1e-7, ra], [dec, dec, dec + 1e-7], unit=u.deg)),
        lsst.sphgeom.Circle(lonlat, small),
    ]
    found = [{ref.id for ref in find_datasets(mini_butler, "visit_image", region=shape)} for shape in shapes]
    assert found[0]
    assert all(ids == found[0] for ids in found)


def test_time_bands_and_where_narrow_the_result(mini_butler: Butler) -> None:
    refs = all_visit_images(mini_butler)
    span = refs[4].dataId.timespan
    same_time = [ref.id for ref in refs if ref.dataId.timespan.overlaps(span)]
    for time in (span, (span.begin, span.end), (span.begin.utc, span.end.utc)):
        assert [ref.id for ref in find_datasets(mini_butler, "visit_image", time=time)] == same_time
    later = find_datasets(mini_butler, "visit_image", time=(span.begin, None))
    assert {ref.id for ref in later} == {ref.id for ref in refs if ref.dataId.timespan.end > span.begin}
    red = find_datasets(mini_butler, "visit_image", bands=("r", "i"))
    assert {ref.dataId["band"] for ref in red} == {"r", "i"}
    assert [ref.id for ref in red] == [ref.id for ref in refs if ref.dataId["band"] != "g"]
    one = find_datasets(mini_butler, "visit_image", bands="g", where="detector = 1 OR detector = 99")
    assert {(ref.dataId["band"], ref.dataId["detector"]) for ref in one} == {("g", 1)}
    assert find_datasets(mini_butler, "visit_image", data_id={"detector": 1}, bands="g") == one


def test_a_time_before_everything_finds_nothing(mini_butler: Butler) -> None:
    assert find_datasets(mini_butler, "visit_image", time=(None, Time("1990-01-01", scale="tai"))) == []


def test_components_are_found_by_their_name(mini_butler: Butler) -> None:
    masks = find_datasets(mini_butler, "visit_image.mask")
    assert {ref.datasetType.name for ref in masks} == {"visit_image.mask"}
    assert [ref.id for ref in masks] == [ref.id for ref in all_visit_images(mini_butler)]


def test_a_dataset_is_found_by_data_id_and_by_uuid(mini_butler: Butler) -> None:
    ref = all_visit_images(mini_butler)[3]
    data_id = dict(ref.dataId.required)
    assert find_dataset(mini_butler, "visit_image", data_id).id == ref.id
    assert find_dataset(mini_butler, "visit_image.psf", data_id).datasetType.name == "visit_image.psf"
    for spelling in (ref.id, str(ref.id), ref.id.hex):
        assert find_by_uuid(mini_butler, spelling).id == ref.id
    assert find_by_uuid(mini_butler, ref.id, component="mask").datasetType.name == "visit_image.mask"


def test_the_real_repository_is_searched_too(tmp_path: Path) -> None:
    with open_dp2(tmp_path) as butler:
        assert find_dataset(butler, "deep_coadd", COADD_ID).dataId["tract"] == 5428


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda b: find_datasets(b, "nonsense"), DatasetNotFoundError, "'nonsense'"),
        (lambda b: find_datasets(b, "visit_image", collections="a/b"), DatasetNotFoundError, "a/b"),
        (lambda b: find_datasets(b, "visit_image", where="visit ="), RequestError, "cannot be made"),
        (lambda b: find_datasets(b, "visit_image", where="colour = 3"), RequestError, "colour"),
        (lambda b: find_datasets(b, "visit_image", bands=()), RequestError, "empty collection of bands"),
        (
            lambda b: find_datasets(b, "skyMapConfig", region=SkyCoord(1, 1, unit="deg")),
            RequestError,
            "no region",
        ),
        (lambda b: find_datasets(b, "deep_coadd", time=(None, None)), RequestError, "no time to search"),
        (
            lambda b: find_datasets(b, "visit_image", region=Box.factory[0:1, 0:1]),
            RequestError,
            "not on the sky",
        ),
        (
            lambda b: find_datasets(b, "visit_image", region=SkyCoord([1, 2], [1, 2], unit="deg")),
            RequestError,
            "one position, not 2",
        ),
        (
            lambda b: find_datasets(b, "visit_image", region=SkyCoord(float("nan"), 1, unit="deg")),
            InvalidRegionError,
            "on the sky; got RA nan deg",
        ),
        (
            lambda b: find_datasets(
                b, "visit_image", region=Circle(UnitVector3d(LonLat.fromDegrees(float("nan"), 1)), Angle(0.1))
            ),
            InvalidRegionError,
            "finite and on the sky",
        ),
        (lambda b: find_datasets(b, "visit_image.flavour"), RequestError, "no component 'flavour'"),
        (lambda b: find_dataset(b, "visit_image", {"visit": 1}), RequestError, "detector"),
        (
            lambda b: find_dataset(b, "visit_image", {"instrument": "MiniCam", "visit": 1, "detector": 1}),
            DatasetNotFoundError,
            "No 'visit_image' dataset with data ID",
        ),
        (lambda b: find_dataset(b, "visit_image", {"sky": "blue"}), RequestError, "sky"),
        (lambda b: find_by_uuid(b, uuid.UUID(int=1)), DatasetNotFoundError, "No dataset found with UUID"),
        (lambda b: find_by_uuid(b, "not-a-uuid"), RequestError, "'not-a-uuid' is not the UUID"),
    ],
)
def test_bad_requests_say_what_was_wrong(
    mini_butler: Butler, call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(mini_butler)


def test_a_time_range_must_run_forward(mini_butler: Butler) -> None:
    late, early = Time("2026-01-02", scale="tai"), Time("2026-01-01", scale="tai")
    with pytest.raises(RequestError, match=r"begins at 2026-01-02.*ends before, at 2026-01-01"):
        find_datasets(mini_butler, "visit_image", time=(late, early))
    assert find_datasets(mini_butler, "visit_image", time=Timespan(late, None)) is not None


def test_a_butler_without_collections_asks_for_them(mini_survey: MiniSurvey) -> None:
    with Butler.from_config(str(mini_survey.root)) as butler, pytest.raises(RequestError, match="collection"):
        find_datasets(butler, "visit_image")
