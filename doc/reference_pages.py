"""Write one reference page per room of the library, from what the room exports."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

PACKAGE = "lsst.dax.image"
PLAIN_MODULES = ("errors", "flags", "recreate")


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


def describe_module(module: ModuleType, names: list[str], *, underline: str) -> str:
    """Return a section with the docstring of a module and the given names."""
    title = module.__name__
    head = f"{title}\n{underline * len(title)}\n\n.. automodule:: {title}\n   :no-members:\n\n"
    return head + "\n\n".join(describe(module, name) for name in names) + "\n"


def make_page(name: str) -> str:
    """Return the page of a module, with its submodules that it does not re-export."""
    module = importlib.import_module(f"{PACKAGE}.{name}")
    exported = find_public_names(module)
    sections = [describe_module(module, exported, underline="=")]
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if found.name.startswith("_"):
            continue
        part = importlib.import_module(f"{module.__name__}.{found.name}")
        names = [name for name in find_public_names(part) if not hasattr(module, name)]
        if names:
            sections.append(describe_module(part, names, underline="-"))
    return "\n".join(sections)


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
