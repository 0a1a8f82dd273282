"""Damaged files give the right pixels or `InputDataError`, and nothing else."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from lsst.images import Box
from lsst.images.serialization import open_archive
from tests.support.containers import BBOX, make_masked_image, write_flavour
from tests.support.mutations import mutate
from tests.support.mutations import read_layout as find_hdus

from lsst.dax.image.container import ContainerReader, MemorySource, UnsupportedContainerError
from lsst.dax.image.container.inflate import inflate
from lsst.dax.image.errors import InputDataError

FLAVOURS = ("rows", "uncompressed", "gzip_1_tiles", "lossy_rows", "lossy_tiles", "lossy_gzip_2", "rice_mask")


def read_reference(path: Path, box: Box) -> dict[str, np.ndarray] | None:
    """Return what `lsst.images` finds in the same damaged file, if anything."""
    try:
        with open_archive(path, partial=True) as archive:
            return {
                plane: archive.get_component(plane, bbox=box).array for plane in ("image", "mask", "variance")
            }
    except Exception:  # noqa: BLE001  # whatever it dies of
        return None


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_mutants(flavour: str, tmp_path: Path) -> None:
    """The benchmarks run ten thousand of them through the whole library."""
    path = write_flavour(make_masked_image(), flavour, tmp_path / "image.fits")
    data = path.read_bytes()
    hdus = find_hdus(data)
    sound = ContainerReader(MemorySource(data))
    outcomes = {"pixels": 0, "refused": 0}
    for seed in range(60):
        rng = np.random.default_rng([seed, len(data)])
        mutant = mutate(data, hdus, rng)
        y, x = int(rng.integers(-7, 90)), int(rng.integers(30, 150))
        box = Box.factory[y : y + 20, x : x + 30]
        try:
            # The sky projection is left out: AST may die of a damaged one.
            arrays = ContainerReader(MemorySource(mutant.data)).read_arrays(box)
        except (InputDataError, UnsupportedContainerError):
            outcomes["refused"] += 1
            continue
        outcomes["pixels"] += 1
        path.write_bytes(mutant.data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = read_reference(path, box)
        for plane, expected in (reference or sound.read_arrays(box)).items():
            assert arrays[plane].tobytes() == expected.tobytes(), (seed, mutant.damage, plane)
    assert min(outcomes.values()) > 10, outcomes


def make_gzip(content: bytes) -> bytes:
    stream = zlib.compressobj(wbits=31)
    return stream.compress(content) + stream.flush()


CONTENT = bytes(range(256)) * 40
STREAM = make_gzip(CONTENT)


def test_gzip_streams_are_inflated() -> None:
    assert inflate(memoryview(STREAM), len(CONTENT)) == CONTENT
    # Padding is no damage.
    assert inflate(memoryview(STREAM + bytes(10)), len(CONTENT)) == CONTENT


def test_something_behind_a_stream_is_damage() -> None:
    with pytest.raises(InputDataError, match="no gzip stream that ends where it does"):
        inflate(memoryview(STREAM + STREAM[:1]), len(CONTENT))


@pytest.mark.parametrize("length", [0, len(CONTENT) - 1, len(CONTENT) + 1, 10**12])
def test_streams_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(InputDataError, match=rf"tile of {len(STREAM)} bytes .*{length}"):
        inflate(memoryview(STREAM), length)


@pytest.mark.parametrize("place", range(0, len(STREAM), 7))
def test_no_damage_of_a_stream_goes_unnoticed(place: int) -> None:
    """Bytes of the gzip header that mean nothing may change, but no pixel."""
    damaged = bytearray(STREAM)
    damaged[place] ^= 0x10
    try:
        content = inflate(memoryview(bytes(damaged)), len(CONTENT))
    except InputDataError:
        return
    assert content == CONTENT


@pytest.mark.parametrize("cut", [0, 1, 5, 18, len(STREAM) - 9, len(STREAM) - 1])
def test_cut_streams_are_refused(cut: int) -> None:
    with pytest.raises(InputDataError, match=f"tile of {cut} bytes"):
        inflate(memoryview(STREAM[:cut]), len(CONTENT))


def test_a_bomb_is_not_unpacked() -> None:
    """The stream says that it is small, but is not."""
    bomb = make_gzip(bytes(50_000_000))
    lying = bomb[:-4] + (1000).to_bytes(4, "little")
    for data in (bomb, lying):
        with pytest.raises(InputDataError, match=f"tile of {len(bomb)} bytes"):
            inflate(memoryview(data), 1000)


def test_the_whole_box_is_needed_for_nothing_else(tmp_path: Path) -> None:
    """Damage of one plane does not spoil the others."""
    path = write_flavour(make_masked_image(), "rows", tmp_path / "image.fits")
    data = bytearray(path.read_bytes())
    sound = ContainerReader(MemorySource(bytes(data)))
    layout = sound.layout.arrays["mask"][0]
    data[layout.tiles.heap : layout.tiles.heap + layout.tiles.heap_size] = bytes(layout.tiles.heap_size)
    reader = ContainerReader(MemorySource(bytes(data)))
    assert reader.read_image(BBOX).array.tobytes() == sound.read_image(BBOX).array.tobytes()
    with pytest.raises(InputDataError, match="Tile 0 of MASK"):
        reader.read_mask(BBOX)
