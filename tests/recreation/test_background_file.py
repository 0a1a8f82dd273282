"""Backgrounds in the form of the survey's first pipelines; the files are written by hand."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from lsst.images import Box
from lsst.images.fields import ChebyshevField, SplineField, SumField
from numpy.polynomial.chebyshev import chebvander2d
from scipy.interpolate import Akima1DInterpolator
from tests.support.mutations import mutate, read_layout

from lsst.dax.image.errors import InconsistentUnitsError, InputDataError
from lsst.dax.image.recreation.background_file import read_background_list
from lsst.dax.image.recreation.fields import render_background

# Sizes that the bins do not divide, and an origin that is not 0.
BBOX = Box.factory[-7:196, 12:313]
AKIMA = {"INTERPSTYLE": 5, "UNDERSAMPLESTYLE": 1, "APPROXSTYLE": -1, "APPROXORDERX": 1, "APPROXORDERY": -1}
CHEBYSHEV = {**AKIMA, "APPROXSTYLE": 0, "APPROXORDERX": 2, "APPROXORDERY": 2, "APPROXWEIGHTING": True}
PLACE = {"BKGD_X0": 12, "BKGD_Y0": -7, "BKGD_WIDTH": 301, "BKGD_HEIGHT": 203}


def make_term(values: npt.NDArray[Any], cards: dict[str, Any], *, variances: Any = 1.0) -> list[Any]:
    """Return the planes of one term; the cards are on each."""
    # Keywords of more than eight letters are HIERARCH cards.
    header = fits.Header({k if len(k) <= 8 else f"HIERARCH {k}": v for k, v in {**PLACE, **cards}.items()})
    variances = np.broadcast_to(np.float32(variances), values.shape)
    planes = values.astype(np.float32), np.zeros(values.shape, np.int32), variances
    return [(plane, header) for plane in planes]


def write(path: Path, *terms: list[Any], empty_primary: bool = False) -> Path:
    planes = [plane for term in terms for plane in term]
    hdus = fits.HDUList([fits.PrimaryHDU()] if empty_primary else [])
    for data, header in planes:
        hdus.append((fits.ImageHDU if len(hdus) else fits.PrimaryHDU)(data, header))
    hdus.writeto(path)
    return path


def centres(start: int, size: int, count: int) -> npt.NDArray[np.float64]:
    """Return the middle of each bin's pixels, pixel by pixel."""
    result, begin = [], 0
    for number in range(count):
        end = min(((number + 1) * size + count // 2) // count, size)
        result.append(np.mean([start + pixel for pixel in range(begin, end)]))
        begin = end
    assert begin == size
    return np.array(result)


GRID_Y, GRID_X = centres(-7, 203, 6), centres(12, 301, 8)


def chebyshev_terms(y: npt.NDArray[Any], x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return T_p(y) T_q(x) with p + q <= 2, for boxes that span their pixels' edges."""
    to_y, to_x = 2 * (y + 7.5) / 203 - 1, 2 * (x - 11.5) / 301 - 1
    table = chebvander2d(to_y, to_x, [2, 2])
    keep = [p * 3 + q for p in range(3) for q in range(3) if p + q <= 2]
    return table[..., keep]


def test_spline_runs_through_the_bin_centres(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(800.0, 10.0, (6, 8)).astype(np.float32)
    field = read_background_list(write(tmp_path / "b.fits", make_term(values, AKIMA)))
    assert isinstance(field, SplineField)
    assert field.unit == u.electron
    assert field.bounds == BBOX
    np.testing.assert_array_equal(field.y, GRID_Y)
    np.testing.assert_array_equal(field.x, GRID_X)
    inner = Box.factory[10:179, 31:294]
    rows = np.stack([Akima1DInterpolator(GRID_Y, values[:, j])(np.arange(10, 179)) for j in range(8)], axis=1)
    expected = np.stack([Akima1DInterpolator(GRID_X, row)(np.arange(31, 294)) for row in rows])
    np.testing.assert_allclose(render_background(field, inner), expected, rtol=1e-6)


def test_missing_bins_stay_missing(tmp_path: Path) -> None:
    values = 3.0 + GRID_X + 2.0 * GRID_Y[:, None]
    values[2, 3] = np.nan
    field = read_background_list(write(tmp_path / "b.fits", make_term(values, AKIMA)))
    part = Box.factory[50:60, 100:110]
    y, x = np.mgrid[50:60, 100:110]
    np.testing.assert_allclose(render_background(field, part), 3.0 + x + 2.0 * y, rtol=1e-5)


@pytest.mark.parametrize("weighting", [True, False])
def test_approximation_is_the_weighted_fit(tmp_path: Path, weighting: bool) -> None:
    """The polynomial is that of least squares with the weights, and of total order."""
    rng = np.random.default_rng(2)
    values = rng.normal(800.0, 10.0, (6, 8)).astype(np.float32)
    variances = rng.uniform(0.5, 20.0, (6, 8)).astype(np.float32)
    values[1, 1], variances[4, 5] = np.nan, np.nan
    cards = {**CHEBYSHEV, "APPROXWEIGHTING": weighting}
    field = read_background_list(write(tmp_path / "b.fits", make_term(values, cards, variances=variances)))
    assert isinstance(field, ChebyshevField)
    good = np.isfinite(values) & (np.isfinite(variances) | (not weighting))
    inverse = (1.0 / variances[good].astype(np.float64)) if weighting else np.ones(good.sum())
    y, x = np.meshgrid(GRID_Y, GRID_X, indexing="ij")
    basis = chebyshev_terms(y[good], x[good])
    normal = basis.T @ (inverse[:, None] * basis)
    solution = np.linalg.solve(normal, basis.T @ (inverse * values[good]))
    rows, columns = np.mgrid[BBOX.y.start : BBOX.y.stop, BBOX.x.start : BBOX.x.stop]
    np.testing.assert_allclose(
        render_background(field, BBOX), chebyshev_terms(rows, columns) @ solution, rtol=2e-7
    )


def test_terms_are_added(tmp_path: Path) -> None:
    first = np.random.default_rng(3).normal(800.0, 10.0, (6, 8))
    terms = [make_term(first, CHEBYSHEV), make_term(np.full((2, 3), 4.0), AKIMA)]
    field = read_background_list(write(tmp_path / "b.fits", *terms, empty_primary=True))
    alone = read_background_list(write(tmp_path / "a.fits", terms[0]))
    assert isinstance(field, SumField)
    expected = render_background(alone, BBOX) + np.float32(4.0)
    np.testing.assert_array_equal(render_background(field, BBOX), expected)


def test_old_files_have_no_cards_of_an_approximation(tmp_path: Path) -> None:
    cards = {"INTERPSTYLE": 5, "UNDERSAMPLESTYLE": 1}
    path = write(tmp_path / "b.fits", make_term(np.ones((6, 8)), cards))
    assert isinstance(read_background_list(path), SplineField)


def test_unit_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "b.fits", make_term(np.ones((6, 8)), {**AKIMA, "BUNIT": "nJy"}))
    assert read_background_list(path, unit=u.nJy).unit == u.nJy
    with pytest.raises(InconsistentUnitsError, match=r"Term 0 of .*b\.fits is in nJy, electron is needed"):
        read_background_list(path)


BAD = {
    "card": ({"INTERPSTYLE": None}, r"Term 0 of .* has INTERPSTYLE=None"),
    "linear": ({"INTERPSTYLE": 1}, r"has INTERPSTYLE=1 and UNDERSAMPLESTYLE=1; 5 \(Akima\)"),
    "more bins": ({"UNDERSAMPLESTYLE": 2}, "UNDERSAMPLESTYLE=2; 5"),
    "approximation": ({"APPROXSTYLE": 3}, r"APPROXSTYLE=3; -1 \(none\) and 0"),
    "orders": ({"APPROXSTYLE": 0, "APPROXORDERX": 2, "APPROXORDERY": 1}, "APPROXORDERX=2 and APPROXORDERY=1"),
    "too few": ({"APPROXSTYLE": 0, "APPROXORDERX": 9}, "has 48 bins .* order 9 needs 55"),
    "small": ({"BKGD_WIDTH": 5}, "has 8 x 6 bins for 5 x 203 pixels"),
    "unit": ({"BUNIT": "bananas"}, "is in 'bananas', which is no unit"),
}


@pytest.mark.parametrize("name", BAD)
def test_terms_that_cannot_be_evaluated(tmp_path: Path, name: str) -> None:
    change, message = BAD[name]
    cards = {key: value for key, value in {**AKIMA, **change}.items() if value is not None}
    path = write(tmp_path / "b.fits", make_term(np.ones((6, 8)), cards))
    with pytest.raises(InputDataError, match=message):
        read_background_list(path)


def test_files_that_are_no_background(tmp_path: Path) -> None:
    term = make_term(np.ones((6, 8)), AKIMA)
    with pytest.raises(InputDataError, match=r"two\.fits has 2 images; 3 for each"):
        read_background_list(write(tmp_path / "two.fits", term[:2]))
    with pytest.raises(InputDataError, match=r"Term 0 of .* has no finite bin"):
        read_background_list(write(tmp_path / "nan.fits", make_term(np.full((6, 8), np.nan), AKIMA)))
    with pytest.raises(InputDataError, match=r"values of shape \(6, 8\), variances of \(6, 7\)"):
        bad = [*term[:2], (np.ones((6, 7), np.float32), term[0][1])]
        read_background_list(write(tmp_path / "shape.fits", bad))
    with pytest.raises(InputDataError, match=r"no two-dimensional image of floats .* in HDU 0 .*whole\.fits"):
        whole = [(term[0][0].astype(np.int32), term[0][1]), *term[1:]]
        read_background_list(write(tmp_path / "whole.fits", whole))
    moved = make_term(np.ones((6, 8)), {**AKIMA, "BKGD_X0": 13})
    with pytest.raises(InputDataError, match="have different boxes"):
        read_background_list(write(tmp_path / "boxes.fits", term, moved))
    with pytest.raises(InputDataError, match="There is no file"):
        read_background_list(tmp_path / "none.fits")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_background_is_the_datas_fault(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    terms = [make_term(rng.normal(800.0, 10.0, (6, 8)), cards) for cards in (AKIMA, CHEBYSHEV)]
    data = write(tmp_path / "b.fits", *terms).read_bytes()
    layout = read_layout(data)
    for _ in range(20):
        (tmp_path / "damaged.fits").write_bytes(mutate(data, layout, rng).data)
        with suppress(InputDataError):
            read_background_list(tmp_path / "damaged.fits")
