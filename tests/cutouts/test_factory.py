"""The factory serves a wrapper as earlier cutout software did, minus its traps."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import lsst.images
import lsst.images.serialization
import lsst.sphgeom
import numpy as np
import pytest
from astropy.coordinates import Angle, SkyCoord
from lsst.daf.butler import Butler, DatasetRef
from lsst.images import Box, Image, MaskedImage
from tests.support.dp2 import CENTER, COADD_ID, COLLECTION, open_dp2

from lsst.dax.image.cutouts import projection_finders, stencils
from lsst.dax.image.cutouts.factory import CutoutMode, ImageCutoutFactory
from lsst.dax.image.errors import InvalidRegionError, MissingPsfError, RequestError
from lsst.dax.image.repository import find_datasets

POINT = lsst.sphgeom.LonLat.fromDegrees(CENTER.ra.deg, CENTER.dec.deg)
RADIUS = lsst.sphgeom.Angle((3 * u.arcsec).to_value(u.rad))
CIRCLE = stencils.SkyCircle(POINT, RADIUS)
IMAGE_MODES = {CutoutMode.IMAGE_ONLY, CutoutMode.ASTROPY_IMAGE}


@pytest.fixture
def dp2(tmp_path: Path) -> Iterator[Butler]:
    with open_dp2(tmp_path) as butler:
        yield butler


@pytest.fixture
def ref(dp2: Butler) -> DatasetRef:
    ref = dp2.find_dataset("deep_coadd", COADD_ID)
    assert ref is not None
    return ref


@pytest.fixture
def factory(dp2: Butler, tmp_path: Path) -> ImageCutoutFactory:
    return ImageCutoutFactory(dp2, projection_finders.ProjectionFinder.make_default(), tmp_path / "output")


@pytest.mark.parametrize("mode", CutoutMode)
def test_every_mode_gives_the_published_pixels(
    factory: ImageCutoutFactory, ref: DatasetRef, mode: CutoutMode
) -> None:
    result = factory.extract_ref(CIRCLE, ref, cutout_mode=mode)
    image = result.cutout if mode in IMAGE_MODES else result.cutout.image
    assert isinstance(image, Image)
    assert (image.bbox.x.size, image.bbox.y.size) == (29, 28)
    assert image.array[14, 15] == np.float32(2.788926362991333)
    result.mask()
    if mode not in IMAGE_MODES:
        assert result.cutout.mask.get("OUTSIDE_STENCIL").sum() == 195


@pytest.mark.parametrize("mode", CutoutMode)
def test_every_mode_writes_provenance_and_a_celestial_wcs(
    factory: ImageCutoutFactory, ref: DatasetRef, mode: CutoutMode
) -> None:
    uri = factory.process_ref(CIRCLE, ref, cutout_mode=mode)
    assert uri.dirname() == factory.output_root
    assert isinstance(lsst.images.serialization.read_archive(uri), lsst.images.GeneralizedImage)
    with astropy.io.fits.open(uri.ospath) as hdus:
        header = hdus[0].header
        assert header["BTLRUUID"] == ref.id.hex
        assert {header[f"BTLRK{n:03d}"]: header[f"BTLRV{n:03d}"] for n in range(4)} == COADD_ID
        assert header["ST_TYPE"] == "CIRCLE"
        assert header.comments["ST_TYPE"] == "Type of stencil used to create this cutout"
        assert "CUTVERS" in header
        assert hdus["IMAGE"].header["CTYPE1"] == "RA---TAN"


def test_a_clipping_stencil_off_the_edge_is_clipped(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    point = lsst.sphgeom.LonLat.fromDegrees(0.25708, -3.03894)
    mode = CutoutMode.MASKED_IMAGE
    clipped = factory.extract_ref(stencils.SkyCircle(point, RADIUS, clip=True), ref, cutout_mode=mode)
    assert (clipped.cutout.bbox.x.size, clipped.cutout.bbox.y.size) == (29, 12)
    with pytest.raises(stencils.StencilNotContainedError, match=r"CIRCLE 0\.25708 -3\.03894"):
        factory.extract_ref(stencils.SkyCircle(point, RADIUS, clip=False), ref)


def test_full_detail_where_no_cell_has_a_psf_says_so(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    point = lsst.sphgeom.LonLat.fromDegrees(0.25708, -3.03894)
    with pytest.raises(MissingPsfError, match=r"within \[y=0:12, x=148:177\] has a PSF"):
        factory.extract_ref(stencils.SkyCircle(point, RADIUS, clip=True), ref)


def test_a_component_is_the_component(factory: ImageCutoutFactory, dp2: Butler, ref: DatasetRef) -> None:
    whole = dp2.get(ref)
    for component in ("image", "mask", "variance"):
        result = factory.extract_uuid(CIRCLE, ref.id, component=component, cutout_mode=CutoutMode.IMAGE_ONLY)
        expected = getattr(whole[result.cutout.bbox], component).array
        assert np.array_equal(result.cutout.array, expected, equal_nan=component != "mask")
        assert result.metadata["BTLRNAME"] == f"deep_coadd.{component}"


def test_search_finds_what_the_uuid_finds(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    mode = CutoutMode.MASKED_IMAGE
    found = factory.extract_search(CIRCLE, "deep_coadd", COADD_ID, [COLLECTION], cutout_mode=mode)
    assert found.origin_ref.id == ref.id
    uri = factory.process_search(
        CIRCLE, "deep_coadd", COADD_ID, [COLLECTION], cutout_mode=mode, mask_plane=None
    )
    assert MaskedImage.read(uri).bbox == found.cutout.bbox
    assert "OUTSIDE_STENCIL" not in MaskedImage.read(uri).mask.schema.names
    uri = factory.process_uuid(CIRCLE, ref.id, cutout_mode=mode)
    assert MaskedImage.read(uri).mask.get("OUTSIDE_STENCIL").sum() == 195


def test_what_is_not_there_is_a_lookup_error(factory: ImageCutoutFactory) -> None:
    unknown = uuid.UUID(int=7)
    with pytest.raises(LookupError, match=f"No dataset found with UUID {unknown}"):
        factory.extract_uuid(CIRCLE, unknown)
    with pytest.raises(LookupError, match="No 'deep_coadd' dataset with data ID"):
        factory.extract_search(CIRCLE, "deep_coadd", COADD_ID | {"patch": 77}, [COLLECTION])
    with pytest.raises(LookupError, match="no_such_type"):
        factory.extract_search(CIRCLE, "no_such_type", COADD_ID, [COLLECTION])
    with pytest.raises(LookupError, match="no/such/collection"):
        factory.extract_search(CIRCLE, "deep_coadd", COADD_ID, ["no/such/collection"])


def test_no_overlap_is_a_value_error(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    far = stencils.SkyCircle(lsst.sphgeom.LonLat.fromDegrees(10, 10), RADIUS, clip=True)
    with pytest.raises(ValueError, match="CIRCLE 10"):
        factory.extract_ref(far, ref)


def test_a_list_of_stencils_is_refused(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    with pytest.raises(InvalidRegionError, match=r"One SkyStencil .* got \[SkyCircle"):
        factory.extract_ref([CIRCLE], ref)  # type: ignore[arg-type]


def test_an_unknown_component_is_named(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    with pytest.raises(RequestError, match=r"no component 'flavour'; it has \['aperture_corrections'"):
        factory.extract_uuid(CIRCLE, ref.id, component="flavour")


def test_a_plane_of_the_data_is_not_overwritten(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    with pytest.raises(RequestError, match="'DETECTED' already"):
        factory.process_ref(CIRCLE, ref, mask_plane="DETECTED")


def test_stencils_are_made_from_astropy_and_sphgeom_alike() -> None:
    center = SkyCoord(CENTER.ra, CENTER.dec)
    from_astropy = stencils.SkyCircle.from_astropy(center, Angle(3 * u.arcsec), clip=True)
    from_sphgeom = stencils.SkyCircle.from_sphgeom(
        lsst.sphgeom.Circle(lsst.sphgeom.UnitVector3d(POINT), RADIUS), clip=True
    )
    for made in (from_astropy, from_sphgeom):
        assert made.edge is stencils.SkyCircle(POINT, RADIUS, clip=True).edge
        assert made.shape.center.separation(CENTER) < 1e-9 * u.arcsec
        # sphgeom keeps a chord, so the radius comes back to 1e-9 or so.
        assert made.shape.radius.to_value(u.arcsec) == pytest.approx(3.0, rel=1e-8)
    assert len(from_astropy.fingerprint) == 16
    assert from_astropy.fingerprint != stencils.SkyCircle(POINT, 2 * RADIUS).fingerprint
    assert "clip=True" in repr(from_astropy)


def test_polygon_cards_number_the_vertices_from_zero() -> None:
    vertices = SkyCoord([10.0, 10.1, 10.0], [-5.0, -5.0, -4.9], unit=u.deg)
    polygon = stencils.SkyPolygon.from_astropy(vertices)
    header = polygon.to_fits_metadata()
    assert header["ST_TYPE"] == "POLYGON"
    assert (header["ST_RA00"], header["ST_DEC02"]) == (10.0, -4.9)
    assert "ST_RA03" not in header
    convex = lsst.sphgeom.ConvexPolygon([lsst.sphgeom.UnitVector3d(_lonlat(v)) for v in vertices])
    assert stencils.SkyPolygon.from_sphgeom(convex).region == polygon.region


def _lonlat(vertex: SkyCoord) -> lsst.sphgeom.LonLat:
    return lsst.sphgeom.LonLat.fromDegrees(vertex.ra.deg, vertex.dec.deg)


def test_a_range_cuts_too(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    ra, dec = CENTER.ra, CENTER.dec
    side = 2 * u.arcsec
    cutout_range = stencils.SkyRange.from_astropy((ra - side, ra + side), (dec - side, dec + side), clip=True)
    result = factory.extract_ref(cutout_range, ref)
    assert result.metadata["ST_TYPE"] == "RANGE"
    scale = 6.0e-5 * 3600  # arcsec per pixel along y, from the file's own CD matrix
    assert result.cutout.bbox.y.size == pytest.approx(4 / scale, abs=1.5)


def test_set_mask_has_both_polarities(factory: ImageCutoutFactory, ref: DatasetRef) -> None:
    result = factory.extract_ref(CIRCLE, ref)
    mask = result.cutout.mask.add_plane("IN", "Inside.").add_plane("OUT", "Outside.")
    result.pixel_stencil.set_mask(mask, "IN", covered=True)
    result.pixel_stencil.set_mask(mask, "OUT", covered=False)
    assert mask.get("OUT").sum() == 195
    assert np.array_equal(mask.get("IN"), ~mask.get("OUT"))


# Projection finders


def test_the_sky_map_gives_what_the_files_say(mini_butler: Butler) -> None:
    for ref in find_datasets(mini_butler, "deep_coadd"):
        projection, bbox = projection_finders.UseSkyMap()(ref, mini_butler)
        stored, stored_bbox = projection_finders.ReadComponents()(ref, mini_butler)
        assert bbox == stored_bbox
        x, y = bbox.x.center, bbox.y.center
        assert projection.pixel_to_sky(x=x, y=y).separation(stored.pixel_to_sky(x=x, y=y)) < 1e-6 * u.arcsec


def test_finders_compose(mini_butler: Butler) -> None:
    visit = find_datasets(mini_butler, "visit_image")[0]
    coadd = find_datasets(mini_butler, "deep_coadd")[0]
    sky_map = projection_finders.UseSkyMap()
    assert sky_map.find_projection(visit, mini_butler) is None
    with pytest.raises(LookupError, match="visit_image"):
        sky_map(visit, mini_butler)
    chain = projection_finders.Chain(sky_map, projection_finders.ReadComponentsAstropyFits())
    assert chain(visit, mini_butler)[1] == mini_butler.get(visit.makeComponentRef("bbox"))
    finder = projection_finders.MatchDatasetTypeName("deep_.*", on_match=sky_map)
    assert finder(coadd, mini_butler)[1] == sky_map(coadd, mini_butler)[1]
    assert finder.find_projection(visit, mini_butler) is None
    assert finder.find_projection(coadd.makeComponentRef("mask"), mini_butler) is not None
    psf = visit.makeComponentRef("psf")
    assert projection_finders.ReadComponents().find_projection(psf, mini_butler) is None
    parents = projection_finders.TryComponentParents(projection_finders.ReadComponents())
    assert parents(psf, mini_butler)[1] == Box.from_shape(mini_butler.get(visit).bbox.shape)
