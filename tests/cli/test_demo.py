"""The demo, end to end on surveys that are there already."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import astropy.io.fits
import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS
from lsst.daf.butler import Butler
from lsst.images import MaskedImage, VisitImage
from lsst.images.serialization import read_archive
from PIL import Image as Pillow
from scipy.ndimage import label
from tests.support.raw_survey import shared_raw_survey
from tests.support.testdata import testdata

import lsst.dax.image.cli.demo
import lsst.dax.image.cli.mini_survey
import lsst.dax.image.cli.recreation
from lsst.dax.image.cli import DATA_VARIABLE, main
from lsst.dax.image.cli.output import MARKER, OutputFolder
from lsst.dax.image.errors import InputDataError
from lsst.dax.image.recreation import read_recipe
from lsst.dax.image.regression import SINGLE_PRECISION, compare_images
from lsst.dax.image.repository import find_by_uuid, find_datasets, opened_dataset
from lsst.dax.image.simulation import MiniSurvey, RawSurvey

# Gaia DR2 at 2015.5; its motion in three years is 0.06 arcsec.
GAIA_STAR = SkyCoord(186.736135016, 25.461181497, unit=u.deg)


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the demo and what it left."""

    output: Path
    status: int
    printed: str

    @property
    def page(self) -> str:
        return (self.output / "index.html").read_text(encoding="utf-8")

    def find(self, pattern: str) -> list[Path]:
        found = sorted(self.output.glob(pattern))
        assert found, f"no {pattern} in {self.output}"
        return found


class Links(HTMLParser):
    """What a page points at, and its pictures without a text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = set()
        self.without_text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value for name, value in attrs if value}
        self.targets |= {found[name] for name in ("href", "src") if name in found}
        self.anchors |= {found["id"]} if "id" in found else set()
        if tag == "img" and "alt" not in found:
            self.without_text.append(str(found))


def run_demo(survey: MiniSurvey, raw_survey: RawSurvey, output: Path, *, data: Path) -> Run:
    """Run the command, with copies of surveys in place of simulated ones."""

    def copy_survey(root: Path) -> MiniSurvey:
        return MiniSurvey.load(shutil.copytree(survey.root, root))

    def copy_raw_survey(root: Path) -> RawSurvey:
        return RawSurvey.load(shutil.copytree(raw_survey.root, root))

    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(lsst.dax.image.cli.mini_survey, "make_mini_survey", copy_survey)
        patch.setattr(lsst.dax.image.cli.recreation, "make_raw_survey", copy_raw_survey)
        patch.setenv(DATA_VARIABLE, str(data))
        status = main(["demo", "--output", str(output)])
    return Run(output, status, printed.getvalue())


@pytest.fixture(scope="module")
def raw_survey(tmp_path_factory: pytest.TempPathFactory) -> RawSurvey:
    return shared_raw_survey(tmp_path_factory)


@pytest.fixture(scope="module")
def without_data(
    mini_survey: MiniSurvey, raw_survey: RawSurvey, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    folder = tmp_path_factory.mktemp("without")
    return run_demo(mini_survey, raw_survey, folder / "a demo", data=folder / "absent")


@pytest.fixture(scope="module")
def with_data(
    mini_survey: MiniSurvey, raw_survey: RawSurvey, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    data = testdata("MANIFEST.md").parent
    return run_demo(mini_survey, raw_survey, tmp_path_factory.mktemp("with") / "demo", data=data)


@pytest.fixture(params=["without_data", "with_data"])
def run(request: pytest.FixtureRequest) -> Run:
    found: Run = request.getfixturevalue(request.param)
    return found


def test_it_succeeds_and_says_where_the_page_is(run: Run) -> None:
    assert run.status == 0
    assert run.printed.splitlines()[-1] == f"Open {run.output / 'index.html'}"


def test_the_page_points_at_each_file_and_at_no_other(run: Run) -> None:
    links = Links(run.page)
    inner = {target[1:] for target in links.targets if target.startswith("#")}
    assert inner <= links.anchors
    assert {unquote(target) for target in links.targets if not target.startswith("#")} == {
        path.relative_to(run.output).as_posix()
        for path in run.find("fits/**/*.fits") + run.find("pictures/*.png")
    }
    assert links.without_text == []


def test_each_fits_file_opens_and_says_where_it_came_from(run: Run) -> None:
    for path in run.find("fits/**/*.fits"):
        with astropy.io.fits.open(path, checksum=True) as hdus:
            pixels = hdus["IMAGE"].data
            assert np.unique(pixels[np.isfinite(pixels)]).size > 100
            assert WCS(hdus["IMAGE"].header).has_celestial
            if path.parent.name == "recreation":
                assert "ST_TYPE" not in hdus[0].header
                continue
            if path.parent.name in {"mosaics", "decam_mosaic", "galactic_centre"}:
                assert hdus[0].header["MOSINPUT"] == len(hdus["INPUTS"].data)
                continue
            if path.parent.name in {"coadds", "decam_coadd"}:
                assert len(hdus["INPUTS"].data) > 0
                continue
            assert hdus[0].header["ST_TYPE"] in {"CIRCLE", "POLYGON", "RANGE", "PIXEL_BOX"}
            if path.parent.name != "rubin_alerts":
                assert re.fullmatch("[0-9a-f]{32}", hdus[0].header["BTLRUUID"])
        assert read_archive(str(path)).bbox.shape == pixels.shape


def test_each_picture_shows_something(run: Run) -> None:
    for path in run.find("pictures/*.png"):
        with Pillow.open(path) as picture:
            pixels = np.asarray(picture.convert("L"), dtype=float)
        assert pixels.std() > 5.0, path


def test_the_code_on_the_page_is_that_of_the_demo(run: Run) -> None:
    assert "def cut_circle(butler: Butler, star: SkyCoord) -&gt; Cutout:" in run.page


def test_absent_data_are_said_on_the_page_and_on_the_terminal(without_data: Run) -> None:
    absent = without_data.output.parent / "absent"
    for name in (
        "C_rubin_dp2_butler",
        "A_decam_ls/brick1867p255_9epochs",
        "D_galactic_center",
        "A_rubin_alerts",
    ):
        message = f"The data are absent: there is no folder {absent / name}."
        assert message in without_data.page
        assert message in without_data.printed
    assert without_data.page.count("(no data)") == 6


def test_present_data_are_all_used(with_data: Run) -> None:
    assert "(no data)" not in with_data.page
    assert "Left out" not in with_data.printed
    counts = {folder.name: len(list(folder.glob("*.fits"))) for folder in with_data.find("fits/*")}
    assert counts == {
        "mini_survey": 25,
        "mosaics": 3,
        "coadds": 3,
        "recreation": 2,
        "rubin_dp2": 1,
        "decam": 10,
        "decam_mosaic": 1,
        "decam_coadd": 1,
        "galactic_centre": 1,
        "rubin_alerts": 9,
    }


def peak(path: Path) -> tuple[float, float]:
    """Return the brightest pixel's offset from the middle."""
    pixels = astropy.io.fits.getdata(path, "IMAGE")
    row, column = np.unravel_index(np.nanargmax(pixels), pixels.shape)
    return row - (pixels.shape[0] - 1) / 2, column - (pixels.shape[1] - 1) / 2


def test_the_moving_star_stays_in_the_middle(without_data: Run) -> None:
    paths = without_data.find("fits/mini_survey/star_*.fits")
    assert len(paths) == 9
    for path in paths:
        assert np.hypot(*peak(path)) < 2.0, path


def test_the_transient_is_there_on_the_last_night_only(without_data: Run) -> None:
    significance = []
    for path in without_data.find("fits/mini_survey/transient_*.fits"):
        image = MaskedImage.read(path)
        middle = tuple(slice(size // 2 - 2, size // 2 + 3) for size in image.bbox.shape)
        flux, variance = image.image.array[middle].sum(), image.variance.array[middle].sum()
        significance.append(flux / np.sqrt(variance))
    assert len(significance) == 9
    assert np.abs(significance[:6]).max() < 5.0
    assert np.min(significance[6:]) > 50.0


def test_the_re_created_images_are_the_originals(without_data: Run, raw_survey: RawSurvey) -> None:
    paths = without_data.find("fits/recreation/*.fits")
    assert [path.stem for path in paths] == ["e2v", "itl"]
    with raw_survey.open() as butler:
        for path in paths:
            image = read_archive(str(path))
            assert isinstance(image, VisitImage)
            recipe = read_recipe(image)
            assert raw_survey.sensor(int(recipe.raw.data_id["detector"])).physical_type.lower() == path.stem
            original = butler.get(find_by_uuid(butler, recipe.components["visit_image"].id))
            compare_images(image, original).assert_equivalent(SINGLE_PRECISION)


def test_the_page_says_in_numbers_what_equals_what(without_data: Run) -> None:
    found = re.findall(
        r"Against the lossless original ([\d.]+) % of (\d+) pixels .*? and so are ([\d.]+) % of the "
        r"variance; (\d+) bits of the mask differ\. .*? largest difference is ([\d.]+) quantisation steps, "
        r"and their root mean square ([\d.]+);",
        without_data.page,
    )
    assert len(found) == 2
    for numbers in found:
        image, pixels, variance, mask, largest, rms = map(float, numbers)
        assert image > 99.9
        assert variance > 99.9
        assert pixels > 0.99 * 240 * 512
        assert mask == 0
        assert largest <= 0.51
        assert rms == pytest.approx(1 / np.sqrt(12), rel=0.02)
    assert "those with cosmic rays too; 0 bits of the mask differ" in without_data.page


def test_a_percentage_is_all_only_if_it_is_all() -> None:
    assert lsst.dax.image.cli.recreation._percent(1.0) == "100 %"
    assert lsst.dax.image.cli.recreation._percent(1.0 - 1e-9) == "99.9999 %"


def test_the_decam_files_have_the_gaia_star_at_its_place(with_data: Run) -> None:
    paths = with_data.find("fits/decam/file_*.fits")
    assert len(paths) == 9
    for path in paths:
        with astropy.io.fits.open(path) as hdus:
            pixels, wcs = hdus["IMAGE"].data.astype(float), WCS(hdus["IMAGE"].header)
            assert hdus[0].header["INSTRUME"].strip() == "DECam"
        pixels -= np.nanmedian(pixels)
        y, x = np.indices(pixels.shape)
        expected_x, expected_y = wcs.world_to_pixel(GAIA_STAR)
        near = np.where(np.hypot(x - expected_x, y - expected_y) < 6.0, pixels, 0.0)
        center = wcs.pixel_to_world((x * near).sum() / near.sum(), (y * near).sum() / near.sum())
        assert GAIA_STAR.separation(center) < 0.3 * u.arcsec, path


def test_the_decam_variance_is_that_of_its_pixels(with_data: Run) -> None:
    image = MaskedImage.read(with_data.output / "fits/decam/masked.fits")
    assert image.image.unit == u.nJy
    assert image.variance.unit == u.nJy**2
    assert image.mask.get("COSMIC_RAY").sum() > 100
    scaled = image.image.array / np.sqrt(image.variance.array)
    # Most pixels are sky: half of them are within 0.6745 sigma of zero.
    assert np.median(np.abs(scaled)) == pytest.approx(0.6745, rel=0.05)


def test_the_tract_is_one_image_of_its_patches(without_data: Run, mini_butler: Butler) -> None:
    image = MaskedImage.read(without_data.output / "fits/mosaics/tract.fits")
    refs = find_datasets(mini_butler, "deep_coadd", bands=["r"])
    assert len(refs) == 2
    for ref in refs:
        with opened_dataset(mini_butler, ref) as reader:
            patch = reader.read_masked_image(reader.geometry.bbox)
        inner = patch.bbox.padded(-60)
        np.testing.assert_array_equal(image.image[inner].array, patch.image[inner].array)


def test_the_focal_plane_has_a_gap_between_its_detectors(without_data: Run) -> None:
    with astropy.io.fits.open(without_data.output / "fits/mosaics/focal_plane.fits") as hdus:
        coverage, table = hdus["COVERAGE"].data, hdus["INPUTS"].data
    assert set(np.unique(coverage)) == {0, 1}
    assert len(table) == 2
    assert label(coverage)[1] == 2
    assert coverage.sum() == table["n_pixels"].sum()


def test_backgrounds_of_the_galactic_centre_are_found(with_data: Run) -> None:
    assert "The match finds 0.00, 150.00, -80.00, 240.00." in with_data.page
    with astropy.io.fits.open(with_data.output / "fits/galactic_centre/tiles.fits") as hdus:
        assert hdus[0].header["MOSBACK"] == "level"


def test_four_exposures_have_half_the_noise_of_one(with_data: Run) -> None:
    with astropy.io.fits.open(with_data.output / "fits/decam_mosaic/z.fits") as hdus:
        image, variance, coverage = (hdus[name].data for name in ("IMAGE", "VARIANCE", "COVERAGE"))
    assert coverage.max() == 4
    for count in (3, 4):
        pull = image[coverage == count] / np.sqrt(variance[coverage == count])
        # Of resampled noise a part is between the pixels.
        assert 1.4826 * np.median(np.abs(pull - np.median(pull))) == pytest.approx(1.0, abs=0.12)


def test_coadds_of_the_mini_survey_differ_as_their_recipes_do(without_data: Run) -> None:
    noise, inputs = {}, {}
    for path in without_data.find("fits/coadds/*.fits"):
        with astropy.io.fits.open(path) as hdus:
            inputs[path.stem] = hdus["N_INPUTS"].data.max()
            noise[path.stem] = np.sqrt(np.nanmedian(hdus["VARIANCE"].data))
    assert inputs == {"deep": 3, "good_seeing": 1, "weekly": 1}
    # The sharpest visit and that of the week are two of the three in the deep coadd, whose weights add up.
    assert noise["deep"] ** -2 > noise["good_seeing"] ** -2 + noise["weekly"] ** -2
    assert "Made again from its file alone, 0 bytes of image, variance and mask differ." in without_data.page


def test_a_cosmic_ray_without_a_flag_is_not_in_the_coadd(with_data: Run) -> None:
    found = re.search(r"as bright as (\d+) nJy per pixel\. .*? and (-?\d+) nJy are left", with_data.page)
    assert found is not None
    theirs, ours = map(float, found.groups())
    assert theirs > 500
    assert ours < 200
    with astropy.io.fits.open(with_data.output / "fits/decam_coadd/z.fits") as hdus:
        assert hdus["N_INPUTS"].data.max() == 4


def test_the_source_of_an_alert_is_where_the_alert_says(with_data: Run) -> None:
    alerts = Table.read(testdata("A_rubin_alerts/alerts.csv"))
    alert = alerts[alerts["diaSourceId"] == 169813007083241522][0]
    with astropy.io.fits.open(
        with_data.output / "fits/rubin_alerts/new_point_source_difference.fits"
    ) as hdus:
        pixels, header = hdus["IMAGE"].data, hdus["IMAGE"].header
    x, y = WCS(header).world_to_pixel(SkyCoord(alert["ra"], alert["dec"], unit=u.deg))
    # The alternate projection "A" counts from the first pixel of the stamp.
    start_x, start_y = header["CRVAL1A"], header["CRVAL2A"]
    assert (float(x) + start_x, float(y) + start_y) == pytest.approx(
        (alert["stamp_x"], alert["stamp_y"]), abs=1e-3
    )
    assert np.unravel_index(pixels.argmax(), pixels.shape) == (round(float(y)), round(float(x)))
    assert alert["psfFlux"] == pytest.approx(pixels[5:-5, 5:-5].sum(), rel=0.1)


def test_no_data_named_is_said(tmp_path: Path) -> None:
    real = lsst.dax.image.cli.demo._REAL[0]
    chapter = lsst.dax.image.cli.demo._make_real_chapter(OutputFolder(tmp_path), real, None)
    assert chapter.steps == ()
    assert chapter.absent.startswith("No folder of real data was named (option --data,")


def test_incomplete_data_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "A_rubin_alerts").mkdir()
    real = lsst.dax.image.cli.demo._REAL[-1]
    with pytest.raises(InputDataError, match=r"A_rubin_alerts is not complete: .*alerts\.csv"):
        lsst.dax.image.cli.demo._make_real_chapter(OutputFolder(tmp_path), real, tmp_path)


def test_a_folder_of_something_else_is_refused_and_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["demo", "--output", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert f"OutputError: {tmp_path} was not made by the demo" in printed.err
    assert "thesis.tex" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert MARKER in printed.err


def test_data_named_in_vain_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(SystemExit, match="2"):
        main(["demo", "--output", str(tmp_path / "out"), "--data", str(missing)])
    assert f"there is no folder '{missing}'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lsst.dax.image.cli.find_spec", lambda name: None if name == "galsim" else object())
    assert main(["demo", "--output", str(tmp_path / "out")]) == 1
    assert (
        "not installed: galsim; install the extra: pip install 'lsst-dax-image[demo]'"
        in capsys.readouterr().err
    )


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"lsst-dax-image {lsst.dax.image.version.__version__}\n"
