"""Public functions say what each parameter and result is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from numpydoc.docscrape import FunctionDoc

import lsst.dax.image


def find_modules() -> Iterator[ModuleType]:
    """Yield the public modules and rooms of the library, with their public parts."""
    for found in pkgutil.walk_packages(lsst.dax.image.__path__, "lsst.dax.image."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield importlib.import_module(found.name)


def find_functions() -> dict[str, Callable[..., Any]]:
    """Return the public functions by the name of their definition."""
    found = {}
    for module in find_modules():
        for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
            value = getattr(module, name)
            if not getattr(value, "__module__", "").startswith("lsst.dax.image"):
                continue
            if inspect.isfunction(value):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


FUNCTIONS = find_functions()


def documented(function: Callable[..., Any], section: str) -> list[str]:
    # One entry may name several parameters: "x, y".
    return [name.strip(" *") for entry in FunctionDoc(function)[section] for name in entry.name.split(",")]


def test_the_search_finds_the_functions() -> None:
    assert "lsst.dax.image.flags.flag_names" in FUNCTIONS
    assert len(FUNCTIONS) > 20


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_parameters_are_documented_in_their_order(name: str) -> None:
    function = FUNCTIONS[name]
    assert documented(function, "Parameters") == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_results_are_documented(name: str) -> None:
    function = FUNCTIONS[name]
    document = FunctionDoc(function)
    has_result = inspect.signature(function).return_annotation not in ("None", "Iterator[None]", None)
    if has_result:
        assert document["Returns"] or document["Yields"]
    else:
        assert not document["Returns"]
