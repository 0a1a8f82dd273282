"""The WCS of a projection is found once and moved to each box."""

from __future__ import annotations

import concurrent.futures
import gc
from pathlib import Path

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from astropy.wcs import WCS
from lsst.images import Box, GeneralFrame, SkyProjection, Transform
from tests.support.projections import PROJECTIONS, bent_projection
from tests.support.scenes import BOX, make_masked_image, make_sky_projection, make_wcs

from lsst.dax.image.container import _wcs_cards, open_container
from lsst.dax.image.container._wcs_cards import find_forms

PARTS = [BOX, Box.factory[33:40, 1001:1002], Box.factory[90:130, 1100:1160], Box.factory[-500:-400, 0:50]]


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Box]:
    """Return the boxes for which AST is asked for a FITS form from now on."""
    monkeypatch.setattr(_wcs_cards, "_by_identity", {})
    monkeypatch.setattr(_wcs_cards, "_by_json", type(_wcs_cards._by_json)())
    boxes: list[Box] = []
    original = Transform.as_fits_wcs

    def as_fits_wcs(self: Transform, bbox: Box) -> WCS | None:
        boxes.append(bbox)
        return original(self, bbox)

    monkeypatch.setattr(Transform, "as_fits_wcs", as_fits_wcs)
    return boxes


def to_header(cards: bytes) -> astropy.io.fits.Header:
    return astropy.io.fits.Header.fromstring(cards)


@pytest.mark.parametrize("name", [name for name in PROJECTIONS if name != "without_fits_form"])
def test_moved_cards_are_those_that_ast_finds_for_the_box(name: str, conversions: list[Box]) -> None:
    projection = PROJECTIONS[name]()
    conversions.clear()
    # Of a frame that is turned to ICRS, AST fits the matrix anew in each box.
    relative = 1e-9 if name in {"galactic_tan", "ecliptic_plate_carree"} else 1e-13
    found = {part: find_forms(projection).wcs_cards(box) for part, box in enumerate(PARTS)}
    assert conversions == [BOX]
    for part, box in enumerate(PARTS):
        wcs = projection.as_fits_wcs(box, allow_approximation=True)
        direct = astropy.io.fits.Header()
        direct.update(wcs.to_header(relax=True))
        moved = to_header(found[part])
        assert list(moved) == list(direct)
        for key, value in direct.items():
            if isinstance(value, float):
                # lsst.images writes 14 digits of what AST finds anew per box.
                assert moved[key] == pytest.approx(value, rel=relative, abs=1e-7 if "CRPIX" in key else 1e-15)
            else:
                assert moved[key] == value


def test_the_moved_wcs_finds_the_same_sky_as_the_projection() -> None:
    projection = PROJECTIONS["sip"]()
    for box in PARTS:
        wcs = WCS(to_header(find_forms(projection).wcs_cards(box)))
        sky = wcs.pixel_to_world(2.5, 7.25)
        parent = projection.pixel_to_sky(x=box.x.start + 2.5, y=box.y.start + 7.25)
        assert sky.separation(parent) < 1e-6 * u.arcsec


def test_equal_projections_share_their_forms(conversions: list[Box]) -> None:
    one, same, other = make_sky_projection(), make_sky_projection(), make_sky_projection(rotation=1 * u.deg)
    assert find_forms(one) is find_forms(one) is find_forms(same)
    assert find_forms(other) is not find_forms(one)
    for projection in (one, same, other, one):
        find_forms(projection).wcs_cards(BOX)
    assert len(conversions) == 2


def test_a_projection_is_not_kept_alive_nor_mistaken(conversions: list[Box]) -> None:
    seen = set()
    for degree in range(100):
        # Each may get the memory, and so the identity, of one that is gone.
        projection = make_sky_projection(rotation=degree * u.deg)
        seen.add(find_forms(projection).json)
    assert len(seen) == 100
    del projection
    gc.collect()
    assert not _wcs_cards._by_identity
    assert len(_wcs_cards._by_json) == 64


def test_a_curved_map_that_looks_straight_in_a_small_box_is_no_form_elsewhere(conversions: list[Box]) -> None:
    # Across the whole box the bend is less than a ten-thousandth of a pixel,
    # so AST calls it straight; but it is not the same line in each part.
    projection = bent_projection(1e-11)
    forms = find_forms(projection)
    references = []
    for box in (*PARTS[1:3], BOX, PARTS[1]):
        found = to_header(forms.wcs_cards(box))
        assert WCS(found).wcs.crpix == pytest.approx(projection.as_fits_wcs(box).wcs.crpix, abs=1e-9)
        references.append(found["CRPIX1"] + box.x.start)
    assert np.ptp(references) > 1e-6


def test_a_map_without_form_has_none_but_where_it_looks_straight(conversions: list[Box]) -> None:
    bbox = Box.factory[0:1000, 0:1000]
    projection = bent_projection(1e-10, bbox=bbox)
    forms = find_forms(projection)
    corner = Box.factory[3:13, 4:20]
    for _ in range(2):
        assert forms.wcs_cards(bbox) == b""
        assert b"CTYPE1  = 'RA---TAN'" in forms.wcs_cards(corner)
    assert conversions == [bbox, corner]  # the box of all pixels comes first anyway


def test_a_form_that_is_none_is_not_written() -> None:
    # AST writes the polynomial of a TPV in cards that astropy does not know;
    # what lsst.images makes of them is a plain TAN, pixels away from the truth.
    header = make_wcs().to_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
    for axis in (1, 2):
        header[f"PV{axis}_1"], header[f"PV{axis}_4"] = 1.0, 1.0
    projection = SkyProjection.from_fits_wcs(WCS(header), GeneralFrame(unit=u.pix))
    false = projection.as_fits_wcs(BOX)
    truth = projection.pixel_to_sky(x=BOX.x.start, y=BOX.y.start)
    assert false.pixel_to_world(0, 0).separation(truth) > 1 * u.mas
    assert find_forms(projection).wcs_cards(BOX) == b""


def test_pixels_off_the_sky_do_not_matter(conversions: list[Box]) -> None:
    # An all-sky map has corners that are not on the sky.
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---AIT", "DEC--AIT"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150, 0], [181, 91], [-1, 1]
    sky = Box.factory[0:181, 0:361]
    projection = SkyProjection.from_fits_wcs(wcs, GeneralFrame(unit=u.pix), pixel_bounds=sky)
    forms = find_forms(projection)
    for box in (sky, Box.factory[60:120, 100:260], Box.factory[61:120, 100:260]):
        assert to_header(forms.wcs_cards(box))["CRPIX1"] == pytest.approx(181 - box.x.start, abs=1e-6)
    assert conversions == [sky]


def test_the_memory_of_boxes_is_bounded() -> None:
    forms = find_forms(bent_projection(1e-8, bbox=Box.factory[0:4000, 0:4000]))
    for start in range(70):
        assert forms.wcs_cards(Box.factory[start:4000, 0:4000]) == b""
    assert len(forms._fits) == 64


@pytest.mark.parametrize("name", PROJECTIONS)
def test_cards_do_not_depend_on_what_was_asked_before(name: str) -> None:
    projection = PROJECTIONS[name]()

    def cards_in_order(boxes: list[Box]) -> list[bytes]:
        forms = _wcs_cards.ProjectionForms(b"", find_forms(projection)._transform)
        return [forms.wcs_cards(box) for box in boxes]

    assert cards_in_order(PARTS) == cards_in_order(PARTS[::-1])[::-1]


def test_without_bounds_one_form_serves_a_block_of_pixels(conversions: list[Box]) -> None:
    projection = SkyProjection.from_fits_wcs(make_wcs(), GeneralFrame(unit=u.pix))
    forms = find_forms(projection)
    for box in (Box.factory[10:20, 30:40], Box.factory[4000:4100, 4090:4200]):
        assert forms.wcs_cards(box).startswith(b"WCSAXES ")
    assert conversions == [Box.factory[0:4096, 0:4096]]
    assert forms.wcs_cards(Box.factory[-1:20, 5000:6000]).startswith(b"WCSAXES ")
    assert conversions[1:] == [Box.factory[-4096:0, 4096:8192]]


def test_threads_get_the_same_cards() -> None:
    projection = PROJECTIONS["sip_with_inverse"]()
    boxes = [Box.factory[30 + n : 60 + n, 1000 + n : 1040 + n] for n in range(40)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda box: find_forms(projection).wcs_cards(box), boxes))
    reference = [to_header(cards)["CRPIX1"] for cards in threaded]
    assert np.allclose(np.diff(reference), -1, rtol=0, atol=1e-9)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Return a file of lsst.images with its projection."""
    path = tmp_path / "image.fits"
    make_masked_image().write(str(path))
    return path


def test_an_image_from_a_file_takes_the_cards_of_the_file(stored: Path, conversions: list[Box]) -> None:
    direct = find_forms(make_masked_image().sky_projection)
    expected = [direct.wcs_cards(box) for box in PARTS]
    conversions.clear()
    _wcs_cards._by_json.clear()
    with open_container(str(stored)) as reader:
        forms = find_forms(reader.sky_projection)
        assert [forms.wcs_cards(box) for box in PARTS] == expected
    assert conversions == []


@pytest.mark.parametrize("change", ["PC1_1", "CRVAL2", "CRPIX1", "LONPOLE"])
def test_cards_of_a_file_that_are_not_its_projection_are_not_taken(
    change: str, stored: Path, conversions: list[Box]
) -> None:
    expected = find_forms(make_masked_image().sky_projection).wcs_cards(PARTS[1])
    conversions.clear()
    _wcs_cards._by_json.clear()
    data = bytearray(stored.read_bytes())
    card = data.index(f"{change:8}= ".encode(), data.index(b"EXTNAME = 'IMAGE"))
    value = float(data[card + 10 : card + 30])
    # By a hundred-thousandth of a pixel and more; lsst.images never looks at it.
    moved = value + (1e-5 if change == "CRPIX1" else 1e-6 * abs(value))
    data[card + 10 : card + 30] = f"{moved:20.13G}".encode()
    stored.write_bytes(data)
    with open_container(str(stored)) as reader:
        assert find_forms(reader.sky_projection).wcs_cards(PARTS[1]) == expected
        assert conversions == [reader.bbox]


def test_what_is_noted_of_a_file_goes_with_its_projection(stored: Path, conversions: list[Box]) -> None:
    with open_container(str(stored)) as reader:
        assert reader.sky_projection is not None
        assert any(held[0]() is reader.sky_projection for held in _wcs_cards._headers.values())
    before = len(_wcs_cards._headers)
    del reader
    gc.collect()
    assert len(_wcs_cards._headers) < before
