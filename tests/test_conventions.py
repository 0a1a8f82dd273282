"""The page of conventions: each statement names tests that exist, and its tables are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lsst.dax.image.flags import FLAGS

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "doc" / "conventions.rst").read_text(encoding="utf-8")
PINNED = re.findall(r":pinned:`([\w/]+\.py)::(\w+)`", PAGE)


def test_every_statement_names_a_test() -> None:
    bullets = re.findall(r"^\* (?:.*\n)(?:  .*\n)*", PAGE, flags=re.MULTILINE)
    assert len(bullets) > 20
    assert [text for text in bullets if ":pinned:" not in text] == []


@pytest.mark.parametrize(("file", "name"), PINNED)
def test_the_named_test_is_there(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_bits_are_those_of_the_registry() -> None:
    rows = re.findall(r"^(\d+) +``(\w+)`` +(.+)$", PAGE, flags=re.MULTILINE)
    assert [(int(bit), name, meaning) for bit, name, meaning in rows] == [
        (flag.bit, flag.name, flag.meaning) for flag in FLAGS.values()
    ]
