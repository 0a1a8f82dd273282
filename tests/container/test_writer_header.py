"""Cards for the primary header, and cards that an image carries, are written as lsst.images writes them."""

from __future__ import annotations

import io
from pathlib import Path

import astropy.io.fits
import pytest
from lsst.images import MaskedImage
from lsst.images.fits import ExtensionKey, FitsOpaqueMetadata
from tests.support.rendering import CREATED, make_noisy_image
from tests.support.scenes import make_masked_image

from lsst.dax.image.container import render_fits

OWN = ["SIMPLE", "BITPIX", "NAXIS", "EXTEND", "FMTVER", "INDXADDR", "INDXSIZE", "JSONADDR", "JSONSIZE"]
LONG = "It's a long text, with quotes ('') and words that go on " * 3


def make_header() -> astropy.io.fits.Header:
    """Return a card of each kind that FITS has."""
    header = astropy.io.fits.Header()
    header["LOGICAL"] = (True, "a truth")
    header["COUNT"] = (-(2**40), "an integer")
    header["REAL"] = (1.5e-300, "a real number")
    header["COMPLEX"] = (1 - 2.5j, "a complex number")
    header["EMPTY"] = ("", "an empty string")
    header["NOTHING"] = (None, "no value")
    header["QUOTED"] = ("O'Hara", "a quote")
    header["LONGTEXT"] = LONG
    header["HIERARCH LSST ISR UNITS"] = ("electron", "a long keyword")
    header["HIERARCH lower case.key"] = 3
    header.add_comment("One comment.")
    header.add_history("First.")
    header.add_history("Second.")
    header.add_blank("Text without a keyword.")
    header["LAST"] = "after the comments"
    header.add_blank()
    return header


def carrying(*, primary: astropy.io.fits.Header, **extensions: astropy.io.fits.Header) -> MaskedImage:
    """Return an image as if read from a file with headers of its own."""
    image = make_masked_image()
    headers = {ExtensionKey(name, 1): header for name, header in extensions.items()}
    image._opaque_metadata = FitsOpaqueMetadata(headers={ExtensionKey(): primary, **headers})
    return image


def without_own(cards: list[str]) -> list[str]:
    """Return the cards that do not describe the file."""
    # Comments come last, so DATE and DATAMODL stand before them.
    keywords = [card[:8].rstrip() for card in cards]
    date = keywords.index("DATE")
    assert keywords[date + 1] == "DATAMODL"
    assert all(keyword in {"COMMENT", "HISTORY", ""} for keyword in keywords[date + 2 :])
    return cards[len(OWN) : date] + cards[date + 2 :]


def render(image: MaskedImage, header: astropy.io.fits.Header) -> list[str]:
    """Return the cards of a rendered primary header after those of the file."""
    content = render_fits(image, header=header, created=CREATED)
    with astropy.io.fits.open(io.BytesIO(content)) as hdus:
        hdus.verify("exception")
        cards = [str(card) for card in hdus[0].header.cards]
    assert [card[:8].rstrip() for card in cards[:9]] == OWN
    return without_own(cards)


def reference(image: MaskedImage, header: astropy.io.fits.Header, folder: Path) -> list[str]:
    """Return the same cards as lsst.images writes them."""
    path = folder / "reference.fits"
    image.write(str(path), update_header=lambda primary: primary.extend(header, update=True))
    return without_own([str(card) for card in astropy.io.fits.getheader(path).cards])


def test_cards_of_each_kind_are_those_of_lsst_images(tmp_path: Path) -> None:
    image, header = make_masked_image(), make_header()
    cards = render(image, header)
    assert cards == reference(image, header, tmp_path)
    assert len(cards) == 15
    back = astropy.io.fits.Header.fromstring("".join(cards))
    assert back["LONGTEXT"] == LONG.strip()
    assert back["COMPLEX"] == 1 - 2.5j
    assert list(back["HISTORY"]) == ["First.", "Second."]


def test_lsst_images_reads_the_cards_back(tmp_path: Path) -> None:
    path = tmp_path / "rendered.fits"
    path.write_bytes(render_fits(make_masked_image(), header=make_header(), created=CREATED))
    external = MaskedImage.read(str(path)).metadata.external
    assert external["LSST ISR UNITS"] == "electron"
    assert external["REAL"] == 1.5e-300


def test_cards_that_an_image_carries_are_replaced_in_their_place(tmp_path: Path) -> None:
    carried = make_header()
    carried["AFTER"] = "kept"
    header = astropy.io.fits.Header()
    header["NEW"] = (1, "a new card")
    header["LONGTEXT"] = ("short now", "replaced")
    header["HIERARCH LSST ISR UNITS"] = "adu"
    header.add_history("Second.")
    header.add_history("Third.")
    image = carrying(primary=carried)
    cards = render(image, header)
    assert cards == reference(image, header, tmp_path)
    assert cards[11:13] == [
        "AFTER   = 'kept    '".ljust(80),
        "NEW     =                    1 / a new card".ljust(80),
    ]
    assert [card.rstrip() for card in cards if "HISTORY" in card] == [
        "HISTORY First.",
        "HISTORY Second.",
        "HISTORY Third.",
    ]


def test_cards_that_an_extension_carries_stay_with_it(tmp_path: Path) -> None:
    extra = astropy.io.fits.Header([("GAIN", 1.5, "of the amplifier"), ("COMMENT", "of the variance")])
    image = carrying(primary=astropy.io.fits.Header(), VARIANCE=extra)
    path = tmp_path / "rendered.fits"
    path.write_bytes(render_fits(image, header=astropy.io.fits.Header(), created=CREATED))
    image.write(str(tmp_path / "reference.fits"))
    for name in ("IMAGE", "MASK", "VARIANCE"):
        headers = [
            astropy.io.fits.getheader(tmp_path / file, name) for file in ("rendered.fits", "reference.fits")
        ]
        cards = [[str(card) for card in header.cards if card.keyword != "DATE"] for header in headers]
        assert cards[0] == cards[1]
        assert ("GAIN" in headers[0]) == (name == "VARIANCE")


def test_each_part_of_a_mask_has_its_own_cards() -> None:
    image = make_noisy_image(n_planes=40)
    headers = {ExtensionKey("MASK", n): astropy.io.fits.Header([("PART", n)]) for n in (1, 2)}
    image._opaque_metadata = FitsOpaqueMetadata(headers=headers)
    content = render_fits(image, header=astropy.io.fits.Header(), created=CREATED)
    for n in (1, 2):
        assert astropy.io.fits.getheader(io.BytesIO(content), ("MASK", n))["PART"] == n


def test_cards_of_another_file_do_not_spoil_this_one(tmp_path: Path) -> None:
    other = tmp_path / "other.fits"
    other.write_bytes(render_fits(make_masked_image(), header=make_header(), created=CREATED))
    foreign = astropy.io.fits.getheader(other)
    foreign["NAXIS1"], foreign["CHECKSUM"], foreign["DATASUM"], foreign["BZERO"] = 7, "a", "1", 3
    foreign["EXTNAME"], foreign["EXTVER"] = "OTHER", 4
    foreign["HIERARCH LSST BUTLER ID"] = "of another dataset"
    foreign["DATAMODL"] = "https://example.org/" + "x" * 80
    expected = render(make_masked_image(), make_header())
    assert render(make_masked_image(), foreign) == expected
    assert render(carrying(primary=foreign), astropy.io.fits.Header()) == expected


def test_the_given_headers_are_left_alone() -> None:
    header, carried = make_header(), make_header()
    before = header.tostring()
    render(carrying(primary=carried), header)
    assert header.tostring() == carried.tostring() == before


@pytest.mark.parametrize("n_cards", [1, 24, 25, 26, 700])
def test_a_header_of_any_length_leaves_the_addresses_right(n_cards: int, tmp_path: Path) -> None:
    header = astropy.io.fits.Header([(f"KEY{n}", n * 1.1, "a card") for n in range(n_cards)])
    path = tmp_path / "rendered.fits"
    image = make_masked_image()
    path.write_bytes(render_fits(image, header=header, created=CREATED))
    back = MaskedImage.read(str(path))
    assert back.image == image.image
    assert back.metadata.external[f"KEY{n_cards - 1}"] == (n_cards - 1) * 1.1
