"""The reference has a page per room, and every public name is on it once."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import lsst.dax.image

DOC = Path(__file__).resolve().parents[1] / "doc"


def load_generator() -> ModuleType:
    """Return the module that writes the pages."""
    spec = importlib.util.spec_from_file_location("reference_pages", DOC / "reference_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = load_generator()
ROOMS = PAGES.find_rooms()


def listed(name: str) -> list[str]:
    """Return the names that the page of a room documents."""
    return re.findall(r"^\.\. auto(?:class|function|exception|data):: (\S+)$", PAGES.make_page(name), re.M)


def test_every_room_has_a_page() -> None:
    root = Path(lsst.dax.image.__path__[0])
    folders = {path.parent.name for path in root.glob("[a-z]*/__init__.py")}
    assert set(ROOMS) == folders
    assert {"mosaics", "resampling", "psfs", "forced", "coadds", "regression", "virtual"} <= folders


@pytest.mark.parametrize("name", [*ROOMS, *PAGES.PLAIN_MODULES])
def test_every_public_name_is_listed_once(name: str) -> None:
    module = importlib.import_module(f"lsst.dax.image.{name}")
    exported = getattr(module, "__all__", None) or [key for key in vars(module) if not key.startswith("_")]
    own = {
        key
        for key in exported
        if not isinstance(value := getattr(module, key), ModuleType)
        and getattr(value, "__module__", module.__name__).startswith("lsst.dax.image")
        and getattr(value, "__module__", module.__name__).startswith(module.__name__)
    }
    found = listed(name)
    assert own <= {entry.removeprefix(f"{module.__name__}.") for entry in found}
    assert [entry for entry, count in Counter(found).items() if count > 1] == []


def test_what_the_package_itself_exports_is_listed() -> None:
    found = {entry.rpartition(".")[2] for name in PAGES.PLAIN_MODULES for entry in listed(name)}
    exported = {
        name
        for name, value in vars(lsst.dax.image).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert exported <= found


def test_names_of_submodules_are_listed_too() -> None:
    assert "lsst.dax.image.cutouts.factory.ImageCutoutFactory" in listed("cutouts")
    assert "lsst.dax.image.recreation.isr.run_isr" in listed("recreation")


def test_the_first_page_of_the_package_names_each_room() -> None:
    hidden = {"cli", "container"}  # what serves a terminal, and what serves the rooms
    text = lsst.dax.image.__doc__ or ""
    assert {room for room in ROOMS if f"`lsst.dax.image.{room}`" not in text} - hidden == set()
