"""The folder, the checks and the page of the demo."""

from __future__ import annotations

from pathlib import Path

import astropy.io.fits
import numpy as np
import pytest
from lsst.images import Image as ArrayImage
from PIL import Image as Pillow
from tests.support.scenes import make_masked_image

from lsst.dax.image.cli.chapters import Chapter, Picture, Step, show_code
from lsst.dax.image.cli.checks import FitsSummary, check_fits, check_picture
from lsst.dax.image.cli.output import MARKER, OutputFolder, prepare_output
from lsst.dax.image.cli.page import render_page
from lsst.dax.image.cutouts import make_cutout
from lsst.dax.image.errors import OutputError
from lsst.dax.image.geometry import PixelBoxStencil


def test_a_new_folder_is_made_and_marked(tmp_path: Path) -> None:
    folder = prepare_output(tmp_path / "new" / "demo")
    assert folder.root == tmp_path / "new" / "demo"
    assert (folder.root / MARKER).is_file()


def test_an_earlier_run_is_replaced_and_files_of_the_user_stay(tmp_path: Path) -> None:
    folder = prepare_output(tmp_path)
    stale = [
        tmp_path / name for name in ("index.html", "fits/a/old.fits", "pictures/old.png", "repositories/x/y")
    ]
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "notes.txt").touch()
    assert prepare_output(tmp_path) == folder
    assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER, "notes.txt"]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fits").mkdir()
    (tmp_path / "fits" / "precious.fits").touch()
    with pytest.raises(
        OutputError, match=rf"{tmp_path} was not made by the demo.*it has no {MARKER}, but fits"
    ):
        prepare_output(tmp_path)
    assert (tmp_path / "fits" / "precious.fits").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file cannot be used for results: .*File exists"):
        prepare_output(tmp_path / "file")


def test_a_page_is_whole_or_absent(tmp_path: Path) -> None:
    page = OutputFolder(tmp_path).save_page("first")
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        OutputFolder(tmp_path).save_page("second, broken: \ud800")
    assert page.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_picture_of_one_colour_is_found_out(tmp_path: Path) -> None:
    Pillow.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    with pytest.raises(OutputError, match=r"red\.png shows nothing: 1 colours, fewer than 16"):
        check_picture(tmp_path / "red.png")
    Pillow.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)).save(tmp_path / "grey.png")
    assert check_picture(tmp_path / "grey.png") == (40, 30)


def test_a_broken_picture_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(OutputError, match=r"broken\.png does not open"):
        check_picture(tmp_path / "broken.png")


def write_fits(path: Path, *, constant: bool) -> Path:
    image = make_masked_image()
    if constant:
        plane = image.image
        pixels = np.full(plane.bbox.shape, 7.0)
        plane = ArrayImage(pixels, bbox=plane.bbox, unit=plane.unit, sky_projection=plane.sky_projection)
        cutout = make_cutout(plane, PixelBoxStencil(plane.bbox))
    else:
        cutout = make_cutout(image, PixelBoxStencil(image.bbox))
    cutout.write(path)
    return path


def test_a_fits_file_is_summed_up(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "good.fits", constant=False)
    rows, columns = make_masked_image().bbox.shape
    assert check_fits(path) == FitsSummary(
        "MaskedImage", (rows, columns), ("IMAGE", "MASK", "VARIANCE"), "", path.stat().st_size
    )


def test_a_fits_file_of_one_value_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"flat\.fits shows nothing: \d+ finite pixels, all of one value"):
        check_fits(write_fits(tmp_path / "flat.fits", constant=True))


def test_another_place_on_the_sky_is_found_out(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "moved.fits", constant=False)
    # One card is changed in place: astropy would move the HDUs about.
    content = path.read_bytes()
    at = content.index(b"CRPIX1  =")
    card = astropy.io.fits.Card.fromstring(content[at : at + 80])
    card.value += 0.02
    path.write_bytes(content[:at] + card.image.encode() + content[at + 80 :])
    with pytest.raises(OutputError, match=r"moved\.fits has its sky 0\.02 pixels off in astropy"):
        check_fits(path)


def test_a_damaged_fits_file_is_found_out(tmp_path: Path) -> None:
    path = write_fits(tmp_path / "cut.fits", constant=False)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(OutputError, match=r"cut\.fits does not open in astropy"):
        check_fits(path)


def test_texts_of_the_page_are_escaped() -> None:
    evil = "<script>\"&'</script>"
    picture = Picture("pictures/a b.png", evil, evil)
    step = Step(evil, evil, evil, (picture,), ("fits/a&b.fits",))
    page = render_page(
        [Chapter(evil, evil, (step,)), Chapter(evil, evil, absent=evil)],
        facts={evil: evil},
        summaries={"fits/a&b.fits": FitsSummary(evil, (2, 3), (), evil, 2000)},
        sizes={picture.file: (640, 480)},
    )
    assert "<script" not in page
    assert 'src="pictures/a%20b.png"' in page
    assert 'href="fits/a%26b.fits"' in page
    assert "3 \N{MULTIPLICATION SIGN} 2" in page


def test_code_is_shown_as_it_stands() -> None:
    assert show_code(write_fits, test_a_file_is_no_folder).startswith(
        "def write_fits(path: Path, *, constant: bool)"
    )
    assert "\n\ndef test_a_file_is_no_folder(" in show_code(write_fits, test_a_file_is_no_folder)
