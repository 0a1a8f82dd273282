"""A damaged file gives `InputDataError` or the right pixels."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.fuzz_runner import run_seeds
from tests.support.fuzz_sources import SUBSET, Source, make_sources
from tests.support.fuzzing import Verdict, compare
from tests.support.mutations import CARD, mutate, read_layout

from lsst.dax.image.container import read_primary_header
from lsst.dax.image.cutouts import Detail, fetch_cutout, fetch_stamps
from lsst.dax.image.errors import InputDataError
from lsst.dax.image.geometry import PixelBoxStencil
from lsst.dax.image.simulation import MiniSurvey


def test_500_damaged_files(mini_survey: MiniSurvey) -> None:
    results = list(run_seeds(mini_survey.root, range(500)))
    bad = [result for result in results if result.verdict is Verdict.VIOLATION]
    assert not bad, "\n".join(f"seed {r.seed}: {r.source}: {r.damage}: {r.explanation}" for r in bad)
    assert [result.seed for result in results] == list(range(500))
    counts = collections.Counter(result.verdict for result in results)
    # The test is worth something only if it sees both outcomes, of every file.
    assert counts[Verdict.SAME] > 100
    assert counts[Verdict.REFUSED] > 100
    assert counts[Verdict.DIES_TOO] <= 5
    assert len({result.source for result in results if result.verdict is Verdict.SAME}) >= 13


@pytest.fixture(scope="module")
def sources(mini_survey: MiniSurvey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Source]]:
    folder = tmp_path_factory.mktemp("sources")
    with mini_survey.open() as butler, make_sources(butler, folder) as sources:
        yield sources


@pytest.fixture
def visit(sources: list[Source]) -> Source:
    return next(source for source in sources if source.name == "visit_image, lossless")


def cut(
    source: Source, data: bytes, path: Path, *, recorded: int | None = None, detail: Detail
) -> np.ndarray:
    """Cut from a file of other content that the repository takes for the dataset's."""
    path.write_bytes(data)
    ref = source.make_ref(path, len(data) if recorded is None else recorded)
    cutout = fetch_cutout(source.butler, ref, PixelBoxStencil(SUBSET), detail=detail)
    return getattr(cutout.image, "image", cutout.image).array


@pytest.mark.parametrize("detail", Detail)
def test_the_undamaged_copy_is_read(visit: Source, tmp_path: Path, detail: Detail) -> None:
    pixels = cut(visit, visit.data, tmp_path / "copy.fits", detail=detail)
    assert pixels.shape == SUBSET.shape
    assert np.all(np.isfinite(pixels))


@pytest.mark.parametrize("detail", Detail)
def test_a_file_of_another_size_is_refused(visit: Source, tmp_path: Path, detail: Detail) -> None:
    size = len(visit.data)
    with pytest.raises(InputDataError, match=rf"is not the file that was stored|has {size - 1} bytes"):
        cut(visit, visit.data[:-1], tmp_path / "short.fits", recorded=size, detail=detail)


@pytest.mark.parametrize("detail", Detail)
@pytest.mark.parametrize("kept", [0, 1, 79, 2880, 0.5, 0.99])
def test_a_file_that_was_truncated_before_it_was_stored_is_refused(
    visit: Source, tmp_path: Path, detail: Detail, kept: float
) -> None:
    length = kept if isinstance(kept, int) else int(kept * len(visit.data))
    with pytest.raises(InputDataError, match=r"visit_image"):
        cut(visit, visit.data[:length], tmp_path / "short.fits", detail=detail)


def with_card(data: bytes, start: int, stop: int, keyword: str, value: str) -> bytes:
    """Return a file with another value of a card, found between two offsets."""
    at = next(i for i in range(start, stop, CARD) if data[i : i + 10] == f"{keyword:8}= ".encode())
    return data[:at] + f"{keyword:8}= {value:>20}".ljust(CARD).encode() + data[at + CARD :]


def test_an_absurd_number_of_axes_is_refused_at_once(visit: Source, tmp_path: Path) -> None:
    # astropy alone makes a list of that many axes first.
    data = with_card(visit.data, 0, visit.layout.hdus[0].data, "NAXIS", str(2**62))
    for detail in Detail:
        with pytest.raises(InputDataError, match=f"NAXIS = {2**62}"):
            cut(visit, data, tmp_path / "axes.fits", detail=detail)
    with pytest.raises(InputDataError, match=f"NAXIS = {2**62}, but FITS has at most 999"):
        read_primary_header(tmp_path / "axes.fits")


@pytest.mark.parametrize("keyword", ["JSONADDR", "JSONSIZE", "INDXSIZE"])
@pytest.mark.parametrize("value", ["0", "-1", str(2**63), "'nonsense'"])
def test_a_wrong_address_of_the_tree_is_refused(
    visit: Source, tmp_path: Path, keyword: str, value: str
) -> None:
    data = with_card(visit.data, 0, visit.layout.hdus[0].data, keyword, value)
    with pytest.raises(InputDataError, match=rf"visit_image .* truncated or damaged|{keyword}"):
        cut(visit, data, tmp_path / "address.fits", detail=Detail.MASKED_IMAGE)


def test_a_plain_image_whose_axes_contradict_its_wcs_is_refused(
    sources: list[Source], tmp_path: Path
) -> None:
    plain = next(source for source in sources if source.name == "plain, GZIP_2")
    span = plain.layout.hdus[1]
    data = with_card(plain.data, span.header, span.data, "WCSAXES", "10")
    with pytest.raises(InputDataError, match=r"ShiftMap|WCS|axes"):
        cut(plain, data, tmp_path / "axes.fits", detail=Detail.IMAGE)


def test_a_tile_that_does_not_inflate_is_refused(visit: Source, tmp_path: Path) -> None:
    span = visit.layout.hdus[1]
    middle = (span.data + span.end) // 2
    data = visit.data[: span.data + 4096] + bytes(middle - span.data - 4096) + visit.data[middle:]
    with pytest.raises(InputDataError, match=r"visit_image .* is damaged"):
        cut(visit, data, tmp_path / "tiles.fits", detail=Detail.IMAGE)


def test_damage_elsewhere_does_not_disturb_a_cutout(visit: Source, tmp_path: Path) -> None:
    # The last tiles of the variance are no part of the box.
    span = visit.layout.hdus[3]
    data = visit.data[: span.end - 6000] + bytes(2000) + visit.data[span.end - 4000 :]
    assert data != visit.data
    sound = cut(visit, visit.data, tmp_path / "sound.fits", detail=Detail.MASKED_IMAGE)
    damaged = cut(visit, data, tmp_path / "damaged.fits", detail=Detail.MASKED_IMAGE)
    np.testing.assert_array_equal(damaged, sound)


def test_stamps_of_a_damaged_file_are_flagged(visit: Source, tmp_path: Path) -> None:
    path = tmp_path / "short.fits"
    path.write_bytes(visit.data[:100_000])
    x, y = np.array([60.0, 90.0]), np.array([50.0, 55.0])
    positions = visit.sky_projection.pixel_to_sky(x=x, y=y)
    refs = [visit.make_ref(path, 100_000), visit.ref]
    stamps = list(fetch_stamps(visit.butler, refs, positions, size=7))
    assert [stamp.status for stamp in stamps] == ["READ_FAILED", "READ_FAILED", "OK", "OK"]
    assert "visit_image" in stamps[0].message


def test_mutations_repeat_and_differ(visit: Source) -> None:
    layout = read_layout(visit.data)
    assert layout == visit.layout
    mutants = [mutate(visit.data, layout, np.random.default_rng(seed)) for seed in range(40)]
    again = [mutate(visit.data, layout, np.random.default_rng(seed)) for seed in range(40)]
    assert mutants == again
    assert sum(mutant.data != visit.data for mutant in mutants) >= 38
    assert len({mutant.damage for mutant in mutants}) == 40


def test_the_judge_notices_other_pixels(visit: Source, tmp_path: Path) -> None:
    path = tmp_path / "copy.fits"
    path.write_bytes(visit.data)
    ref = visit.make_ref(path, len(visit.data))
    sound = fetch_cutout(visit.butler, ref, PixelBoxStencil(SUBSET)).image
    assert compare(sound, visit, path, Detail.MASKED_IMAGE) == (Verdict.SAME, "")
    for plane in ("image", "variance"):
        other = sound.copy()
        getattr(other, plane).array[3, 4] += 1
        assert compare(other, visit, path, Detail.MASKED_IMAGE) == (
            Verdict.VIOLATION,
            f"{plane}: other pixels",
        )
    other = sound.copy()
    other.mask.set("BAD", ~other.mask.get("BAD"))
    assert compare(other, visit, path, Detail.MASKED_IMAGE) == (Verdict.VIOLATION, "BAD: other pixels")
    # The undamaged pixels of a file that the reference reader refuses are right.
    path.write_bytes(visit.data[:200_000])
    assert compare(sound, visit, path, Detail.MASKED_IMAGE)[0] is Verdict.CORRECT
    verdict, explanation = compare(other, visit, path, Detail.MASKED_IMAGE)
    assert verdict is Verdict.VIOLATION
    assert explanation.startswith("pixels, but the reference reader says")
