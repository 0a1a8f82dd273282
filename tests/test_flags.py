"""The registry of quality flags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsst.dax.image.flags import FLAGS, FlagDefinition, describe_flags, flag_names

KNOWN = sum(flag.value for flag in FLAGS.values())


def test_bits_and_names_are_unique() -> None:
    assert len({flag.bit for flag in FLAGS.values()}) == len(FLAGS)
    assert all(name == flag.name and name.isupper() for name, flag in FLAGS.items())


def test_bits_fit_a_signed_word_of_32_bits() -> None:
    # FITS has no unsigned type, so the sign bit has to stay free.
    assert all(0 <= flag.bit < 31 for flag in FLAGS.values())


def test_the_published_bits_keep_their_places() -> None:
    # Files hold these numbers: a bit that moves changes what they say.
    published = [
        "BAD_POSITION",
        "NO_COVERAGE",
        "EDGE",
        "READ_FAILED",
        "NO_PSF",
        "NO_PIXELS",
        "NOT_FINITE",
        "NO_BACKGROUND",
        "APERTURE_TRUNCATED",
        "SINC_TRUNCATED",
        "NO_APERTURE_CORRECTION",
        "BAD_APERTURE_CORRECTION",
        "CENTER_OFF_IMAGE",
        "BLEND_DEGENERATE",
        "NO_CALIBRATION",
    ]
    assert [FLAGS[name].value for name in published] == [2**bit for bit in range(len(published))]


def test_every_meaning_is_one_sentence() -> None:
    for flag in FLAGS.values():
        assert flag.meaning[0].isupper()
        assert flag.meaning.endswith(".")


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        FLAGS["MINE"] = FlagDefinition(30, "MINE", "Mine.")  # type: ignore[index]


@given(st.sets(st.sampled_from(sorted(FLAGS))))
def test_a_word_gives_back_the_names_that_made_it(names: set[str]) -> None:
    word = sum(FLAGS[name].value for name in names)
    assert set(flag_names(word)) == names
    assert [FLAGS[name].bit for name in flag_names(word)] == sorted(FLAGS[name].bit for name in names)
    assert describe_flags(word) == " ".join(FLAGS[name].meaning for name in flag_names(word))


def test_no_bit_no_name() -> None:
    assert flag_names(0) == ()
    assert describe_flags(0) == ""


def test_an_unknown_bit_is_refused_with_both_words() -> None:
    word = KNOWN + 1
    with pytest.raises(ValueError, match=rf"{word:#x} .* {KNOWN:#x}"):
        flag_names(word)
