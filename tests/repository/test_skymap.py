"""The rings sky map against the registry of the observatory."""

from __future__ import annotations

import json
import math
import shutil

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st
from lsst.sphgeom import LonLat, UnitVector3d
from tests.support.testdata import testdata

from lsst.dax.image.errors import InputNotFoundError, InvalidRegionError, RequestError
from lsst.dax.image.repository.skymap import KNOWN_SKY_MAPS, RingsSkyMap, find_known_sky_map

SKY_MAP = RingsSkyMap()
SMALL = RingsSkyMap(
    name="small", num_rings=30, pixel_scale=20.0, tract_overlap=0.1, cell_size=10, cells_per_patch=5
)
LAST = SMALL.tract_count - 1


def polygon_vertices(region) -> SkyCoord:
    lonlats = [LonLat(vertex) for vertex in region.getVertices()]
    return SkyCoord([(p.getLon().asRadians(), p.getLat().asRadians()) for p in lonlats], unit="rad")


def largest_mismatch(a: SkyCoord, b: SkyCoord) -> float:
    """Return how far the farthest vertex of a is from the nearest one of b, in arcsec."""
    vectors = [np.moveaxis(c.cartesian.xyz.value, 0, -1) for c in (a, b)]
    # Chords, because the arc cosine of a separation is good to 1e-8 only.
    chord = np.linalg.norm(vectors[0][:, np.newaxis] - vectors[1][np.newaxis], axis=-1)
    return float(np.max(np.min(chord, axis=1))) * 206265.0


@pytest.fixture(scope="module")
def published() -> dict:
    return json.loads(testdata("E_published_numbers/lsst_cells_v2_tract5428_regions.json").read_text())


def test_number_of_tracts_and_patches_is_the_published_one(published):
    name, tracts, nx, ny = published["skymap"]
    assert (SKY_MAP.name, SKY_MAP.tract_count) == (name, tracts)
    assert SKY_MAP.patches_per_side == nx == ny


def test_published_tract_polygon(published):
    expected = SkyCoord(published["tracts"]["5428"], unit="deg")
    assert largest_mismatch(polygon_vertices(SKY_MAP.tract_region(5428)), expected) < 1e-9


def test_published_patch_polygons(published):
    assert len(published["patches"]) == 100
    for patch, record in published["patches"].items():
        region = SKY_MAP.patch_region(5428, int(patch))
        expected = SkyCoord(record["vertices_radec_deg"], unit="deg")
        assert largest_mismatch(polygon_vertices(region), expected) < 1e-9
        index = SKY_MAP.patch_index(int(patch))
        assert (index.x, index.y) == (record["cell_x"], record["cell_y"])


def test_hash_is_the_registrys(tmp_path):
    from lsst.daf.butler import Butler

    root = tmp_path / "dp2"
    shutil.copytree(testdata("C_rubin_dp2_butler"), root, copy_function=shutil.copyfile)
    for path in [root, *root.rglob("*")]:
        path.chmod(0o700)
    butler = Butler.from_config(str(root), writeable=False)
    (record,) = butler.query_dimension_records("skymap")
    butler.close()
    assert SKY_MAP.sha1() == record.hash
    assert find_known_sky_map(record.hash) == SKY_MAP
    assert record.tract_max == SKY_MAP.tract_count


@pytest.mark.parametrize("field", ["47_Tuc", "ECDFS", "EDFS_comcam", "Rubin_SV_095_-25"])
def test_field_centres_lie_in_their_published_tracts(field):
    tables = json.loads(testdata("E_published_numbers/dp1_paper_tables.json").read_text())
    center = SkyCoord(*tables["approx_field_centres_deg"][field], unit="deg")
    assert SKY_MAP.find_tract(center) in tables["tracts_lsst_cells_v1"][field]


def test_tract_centre_is_the_reference_pixel():
    center = SKY_MAP.tract_center(5428)
    assert center.ra.deg == pytest.approx(295.8904109589041, abs=1e-12)
    point = SKY_MAP.tract_sky_projection(5428).sky_to_pixel(center)
    assert (point.x, point.y) == pytest.approx((14999.0, 14999.0), abs=1e-6)
    assert SKY_MAP.tract_bbox().shape == (30000, 30000)


def test_north_is_up_and_east_is_left():
    projection = SKY_MAP.tract_sky_projection(5428)
    center = SKY_MAP.tract_center(5428)
    point = projection.sky_to_pixel(center.spherical_offsets_by(20 * u.arcsec, 30 * u.arcsec))
    assert point.x - 14999 == pytest.approx(-100, abs=0.01)
    assert point.y - 14999 == pytest.approx(150, abs=0.01)


def test_patch_boxes_tile_the_tract_and_overlap_by_their_borders():
    inner = [SMALL.patch_bbox(p, outer=False) for p in range(SMALL.patches_per_side**2)]
    count = np.zeros(SMALL.tract_bbox().shape, dtype=int)
    for box in inner:
        count[box.y.start : box.y.stop, box.x.start : box.x.stop] += 1
    assert np.all(count == 1)
    for patch, box in enumerate(inner):
        assert SMALL.patch_bbox(patch) == box.padded(10)
    # Identifiers run along x first.
    assert inner[1].x.start == inner[0].x.stop
    assert inner[SMALL.patches_per_side].y.start == inner[0].y.stop


def test_patch_definition_has_the_cells():
    definition = SKY_MAP.patch_definition(57)
    assert definition.id == 57
    assert (definition.index.y, definition.index.x) == (5, 7)
    assert definition.outer_bbox == SKY_MAP.patch_bbox(57)
    assert definition.cells.grid_size.as_tuple() == (22, 22)


positions = st.tuples(st.floats(-90.0, 90.0), st.floats(0.0, 359.999999))


@given(positions)
def test_found_tract_holds_the_position(position):
    dec, ra = position
    sky = SkyCoord(ra, dec, unit="deg")
    tract = SMALL.find_tract(sky)
    vector = UnitVector3d(LonLat.fromDegrees(ra, dec))
    assert SMALL.tract_region(tract).contains(vector)
    patch = SMALL.find_patch(sky, tract=tract)
    assert SMALL.patch_region(tract, patch).contains(vector)


@pytest.mark.parametrize("tract", [0, 1, 17, LAST // 2, LAST - 1, LAST])
def test_tract_of_its_own_centre(tract):
    assert SMALL.find_tract(SMALL.tract_center(tract)) == tract


def test_all_tract_centres_are_as_far_apart_as_the_rings():
    height = 180.0 / 31
    centers = SkyCoord([SMALL.tract_center(t) for t in range(SMALL.tract_count)])
    nearest = centers.match_to_catalog_sky(centers, nthneighbor=2)[1].deg
    # int(n) + 1 tracts in a ring make them somewhat closer than the rings.
    assert np.all(nearest < height * (1 + 1e-9))
    assert np.all(nearest > 0.6 * height)


def test_find_tract_wraps_at_right_ascension_zero():
    dec = SMALL.tract_center(200).dec.deg
    assert SMALL.find_tract(SkyCoord(359.999, dec, unit="deg")) == SMALL.find_tract(
        SkyCoord(0.001, dec, unit="deg")
    )


def test_find_tract_takes_any_frame():
    sky = SkyCoord(53.13, -28.1, unit="deg")
    assert SKY_MAP.find_tract(sky.galactic) == SKY_MAP.find_tract(sky)


def test_find_patches_of_a_box():
    box = SMALL.patch_bbox(12, outer=False)
    side = SMALL.patches_per_side
    expected = {12 + dx + side * dy for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
    assert set(SMALL.find_patches(box)) == {p for p in expected if 0 <= p < side * side}
    # A box that keeps clear of the neighbours' borders.
    assert SMALL.find_patches(box.padded(-11)) == (12,)


def test_config_round_trip():
    config = json.loads(json.dumps(SMALL.to_config()))
    assert RingsSkyMap.from_config(config) == SMALL
    assert KNOWN_SKY_MAPS["lsst_cells_v2"] == RingsSkyMap()


def test_every_parameter_changes_the_hash():
    changed = [
        RingsSkyMap(num_rings=121),
        RingsSkyMap(pixel_scale=0.3),
        RingsSkyMap(tract_overlap=0.1),
        RingsSkyMap(ra_start=1.0),
        RingsSkyMap(cell_size=151),
        RingsSkyMap(cell_border=1),
        RingsSkyMap(cells_per_patch=21),
        RingsSkyMap(border_cells=2),
    ]
    assert len({m.sha1() for m in [SKY_MAP, *changed]}) == 1 + len(changed)
    assert RingsSkyMap(name="other").sha1() == SKY_MAP.sha1()


def test_errors_show_both_sides():
    with pytest.raises(InputNotFoundError, match=r"tracts 0 to 18937, not 18938"):
        SKY_MAP.tract_center(18938)
    with pytest.raises(InputNotFoundError, match=r"patches 0 to 99, not 100"):
        SKY_MAP.patch_bbox(100)
    with pytest.raises(InvalidRegionError, match="one finite position"):
        SKY_MAP.find_tract(SkyCoord([1.0, 2.0], [3.0, 4.0], unit="deg"))
    with pytest.raises(InvalidRegionError, match="one finite position"):
        SKY_MAP.find_tract(SkyCoord(math.nan, 4.0, unit="deg"))
    with pytest.raises(InvalidRegionError, match="is not in"):
        SKY_MAP.find_patch(SkyCoord(10.0, 4.0, unit="deg"), tract=5428)
    with pytest.raises(RequestError, match=r"kind 'healpix', unknown parameters \['nside'\]"):
        RingsSkyMap.from_config({"kind": "healpix", "nside": 4})
    with pytest.raises(RequestError, match="num_rings of a sky map must be positive, not 0"):
        RingsSkyMap(num_rings=0)
    with pytest.raises(InputNotFoundError, match="has the hash 00ff"):
        find_known_sky_map(b"\x00\xff")
