"""Write one reference page per room of the library, from what the room exports."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

PACKAGE = "lsst.dax.image"
PLAIN_MODULES = ("errors", "flags")


def find_rooms() -> list[str]:
    """Return the names of the public subpackages."""
    package = importlib.import_module(PACKAGE)
    return sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if module.ispkg and not module.name.startswith("_")
    )


def find_public_names(module: ModuleType) -> list[str]:
    """Return what a module exports and defines in its own package."""
    exported = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return sorted(
        name
        for name in exported
        if not inspect.ismodule(value := getattr(module, name))
        and getattr(value, "__module__", module.__name__).startswith(module.__name__)
    )


def describe(module: ModuleType, name: str) -> str:
    """Return the directive that documents one name."""
    value = getattr(module, name)
    if inspect.isclass(value):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    else:
        kind = "autofunction" if callable(value) else "autodata"
    options = ["   :no-value:"] if kind == "autodata" else []
    return "\n".join([f".. {kind}:: {module.__name__}.{name}", *options])


def make_page(name: str) -> str:
    """Return the page of one module."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    title = module.__name__
    parts = [title, "=" * len(title), "", f".. automodule:: {title}", "   :no-members:", ""]
    return "\n".join(
        [*parts, "\n\n".join(describe(module, public) for public in find_public_names(module)), ""]
    )


def write(folder: Path) -> None:
    """Write the pages and the list of them; unchanged files keep their dates."""
    generated = folder / "generated"
    generated.mkdir(exist_ok=True)
    pages = {f"{name}.rst": make_page(name) for name in (*PLAIN_MODULES, *find_rooms())}
    for old in generated.glob("*.rst"):
        if old.name not in pages:
            old.unlink()
    for file, text in pages.items():
        path = generated / file
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
