"""PNG files of colour images: orientation, sky coordinates, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import astropy.io.fits
import numpy as np
import PIL.Image
import pytest
from astropy.wcs import WCS
from lsst.images import Box, ColorImage
from tests.support.scenes import BOX, make_sky_projection, make_wcs

from lsst.dax.image.errors import OutputError, RequestError
from lsst.dax.image.plotting import write_color_png


def make_color(bbox: Box = BOX, **kwargs: object) -> ColorImage:
    return ColorImage(np.zeros((*bbox.shape, 3), dtype=np.uint8), bbox=bbox, **kwargs)


def read_png(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    with PIL.Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture), dict(picture.text)


def test_first_row_of_the_image_is_the_last_of_the_file(tmp_path: Path) -> None:
    color = make_color()
    color.array[0, 0] = (255, 0, 0)
    color.array[-1, 0] = (0, 0, 255)
    color.array[0, -1] = (0, 255, 0)
    written = write_color_png(color, tmp_path / "corner.png")
    pixels, _ = read_png(written)
    assert pixels.shape == color.array.shape
    assert pixels[-1, 0].tolist() == [255, 0, 0], "lower left"
    assert pixels[0, 0].tolist() == [0, 0, 255], "upper left"
    assert pixels[-1, -1].tolist() == [0, 255, 0], "lower right"
    assert pixels.astype(int).sum() == 3 * 255


def test_comment_gives_the_sky_position_of_a_pixel(tmp_path: Path) -> None:
    color = make_color(sky_projection=make_sky_projection())
    row, column = 17, 120
    color.array[row, column] = 255
    pixels, text = read_png(write_color_png(color, tmp_path / "sky.png"))
    header = astropy.io.fits.Header.fromstring(text["Comment"], sep="\n")
    assert (header["NAXIS1"], header["NAXIS2"]) == (BOX.shape[1], BOX.shape[0])
    top_row, found_column = (int(index[0]) for index in np.nonzero(pixels[..., 0]))
    # FITS counts rows from the bottom of the picture.
    sky = WCS(header).pixel_to_world(found_column, header["NAXIS2"] - 1 - top_row)
    truth = make_wcs().pixel_to_world(BOX.x.start + column, BOX.y.start + row)
    assert sky.separation(truth).arcsec < 1e-6


def test_image_without_projection_has_no_comment(tmp_path: Path) -> None:
    _, text = read_png(write_color_png(make_color(), tmp_path / "bare.png"))
    assert text == {"Software": "lsst.dax.image"}


def test_existing_file_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "picture.PNG"
    write_color_png(make_color(), path)
    white = make_color()
    white.array[...] = 255
    with pytest.raises(OutputError, match=r"picture\.PNG cannot be written: FileExistsError"):
        write_color_png(white, path)
    assert read_png(path)[0].max() == 0
    write_color_png(white, path, overwrite=True)
    assert read_png(path)[0].min() == 255
    assert [file.name for file in path.parent.iterdir()] == ["picture.PNG"]


def test_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = write_color_png(make_color(), tmp_path / "picture.png")
    before = path.read_bytes()
    white = make_color()
    white.array[...] = 255
    # A reader that opened the old file goes on reading the old file.
    with path.open("rb") as reader:
        write_color_png(white, path, overwrite=True)
        assert reader.read() == before
    assert path.read_bytes() != before


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(self: PIL.Image.Image, stream: object, **kwargs: object) -> None:
        stream.write(b"half a picture")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PIL.Image.Image, "save", fill_the_disk)
    with pytest.raises(OutputError, match="No space left"):
        write_color_png(make_color(), tmp_path / "half.png")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match=r"file/picture\.png cannot be written"):
        write_color_png(make_color(), tmp_path / "file" / "picture.png")


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"'\.png' files, not as 'picture\.jpg'"):
        write_color_png(make_color(), tmp_path / "picture.jpg")


def test_other_pixel_types_are_refused(tmp_path: Path) -> None:
    color = ColorImage(np.zeros((2, 2, 3), dtype=np.float32))
    with pytest.raises(RequestError, match="type uint8, not float32"):
        write_color_png(color, tmp_path / "picture.png")


def test_missing_pillow_is_said_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(RequestError, match=r"'PIL', which is not installed; .*lsst-dax-image\[plot\]"):
        write_color_png(make_color(), tmp_path / "picture.png")


def test_importing_the_room_imports_no_plotting_package() -> None:
    code = "import sys, lsst.dax.image.plotting; print(sorted({'matplotlib', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
