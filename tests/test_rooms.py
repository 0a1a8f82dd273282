"""Who may import whom: the rooms of the library and the arrows between them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "lsst" / "dax" / "image"
NAME = "lsst.dax.image"

# What every room may import: plain modules at the top of the package.
COMMON = {"choices", "errors", "flags", "version"}
SCIENCE = {"geometry", "psfs", "resampling", "_kernels"}
# Rooms that make products, in the order in which they may build on each other.
PRODUCTS = ("cutouts", "recreation", "mosaics", "coadds", "forced")

ARROWS: dict[str, set[str]] = {
    "_kernels": set(),
    "geometry": set(),
    "container": {"_kernels"},
    "psfs": {"geometry", "_kernels"},
    "resampling": {"geometry", "_kernels"},
    "repository": {"geometry", "container", "psfs"},
    **dict.fromkeys((*PRODUCTS, "regression"), SCIENCE),
    "virtual": {*SCIENCE, "repository", *PRODUCTS},
    # Results of the rooms are what it draws.
    "plotting": {"geometry", *PRODUCTS, "regression"},
    # The independent truth: it must not share code with what it checks.
    "simulation": set(),
}
# A cutout writes itself, through the writer of small files.
ARROWS["cutouts"] = {*SCIENCE, "container"}
# Raws and calibrations are files of their own, which no Butler decodes.
ARROWS["recreation"] = {*SCIENCE, "container"}
# A mosaic is written tile by tile, through the writer of large files.
ARROWS["mosaics"] = {*SCIENCE, "container"}
# A coadd is written with the writer of images.
ARROWS["coadds"] = {*SCIENCE, "container"}
# Light curves are put in their places as other files are.
ARROWS["forced"] = {*SCIENCE, "container"}
ARROWS["cli"] = set(ARROWS)

# The files of a product room that work through a Butler.
BUTLER_FILES = {
    "_from_butler.py",
    "coadds/_grid_from_butler.py",
    "coadds/_inputs_from_butler.py",
    "coadds/_tiles_from_butler.py",
    "cutouts/_stamps_from_butler.py",
    "cutouts/factory.py",
    "mosaics/_refs_from_butler.py",
    "mosaics/_stream_from_butler.py",
    "mosaics/_tiles_from_butler.py",
    "recreation/_components_from_butler.py",
    "recreation/_difference_from_butler.py",
    "recreation/_inputs_from_butler.py",
    "regression/_release_checks_from_butler.py",
    "regression/_release_from_butler.py",
    "cutouts/stencils.py",
    "cutouts/projection_finders.py",
    "forced/_image_from_butler.py",
    "forced/_light_curves_from_butler.py",
    "forced/_search_from_butler.py",
}
BUTLER_ROOMS = {"repository", "virtual", "simulation", "cli"}
# Only these call methods of a Butler; all others hand it on.  The simulation
# is exempt: it fills a repository of its own.
BUTLER_CALLERS = {
    "repository/find.py",
    "repository/fetch.py",
    # A Butler around another one.
    "virtual/_finding.py",
    "virtual/_queries.py",
    "virtual/_setup.py",
    "virtual/handle.py",
    "virtual/virtual_butler.py",
}
BUTLER_METHODS = {"getDeferred", "getURI", "find_dataset", "get_dataset", "get_dataset_type"}

LSST = {"lsst.daf.butler", "lsst.dax.image", "lsst.images", "lsst.resources", "lsst.sphgeom", "lsst.utils"}
# Packages that only one room may import.
PRIVATE_PACKAGES = {"numba": "_kernels", "galsim": "simulation", "matplotlib": "plotting"}
KERNEL_PACKAGES = {"__future__", "math", "numba", "numpy", "typing"}
FORBIDDEN_PACKAGES = {"dill", "marshal", "pickle", "shelve"}
FORBIDDEN_CALLS = {"__import__", "eval", "exec"}

MAX_FILE = 600
MAX_FUNCTION = 60


@dataclass(frozen=True)
class Import:
    """One imported module, with a name from it where there is one."""

    line: int
    target: str
    at_top: bool
    """Whether it runs when the module is imported."""

    for_types: bool
    """Whether only a type checker follows it."""


def find_imports(tree: ast.Module, file: str) -> Iterator[Import]:
    """Yield every import of a module, with relative ones made absolute."""
    package = [*NAME.split("."), *PurePosixPath(file).parts[:-1]]
    late: set[ast.AST] = set()
    guarded: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            guarded.update(inner for statement in node.body for inner in ast.walk(statement))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            late.update(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            targets = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            yield Import(node.lineno, target, node not in late | guarded, node in guarded)


def is_below(target: str, package: str) -> bool:
    """Tell whether a dotted name is a package or lies in it."""
    return target == package or target.startswith(package + ".")


def check_own_import(room: str, file: str, item: Import) -> str | None:
    """Return what is wrong with an import from this package."""
    parts = item.target.removeprefix(NAME).strip(".").split(".")
    other, rest = parts[0], parts[1:]
    if not room or other in COMMON or other == room:
        return None
    if other not in ARROWS:
        # A name of the package itself, which holds the errors.
        return f"imports {item.target}, a room without arrows" if (PACKAGE / other).is_dir() else None
    if other == "plotting" and room != "cli":
        return "imports plotting when it is imported itself" if item.at_top else None
    allowed = set(ARROWS[room])
    works_through_butler = is_butler_file(file)
    if works_through_butler and room in PRODUCTS:
        allowed |= {"repository", *PRODUCTS[: PRODUCTS.index(room)]}
    if works_through_butler and room == "regression":
        allowed |= {"repository", *PRODUCTS}
    if room == "simulation" and parts[:2] == ["repository", "skymap"]:
        return None
    if other not in allowed:
        return f"imports {item.target}, but the arrows of {room} lead to {sorted(allowed) or 'no room'}"
    if rest and rest[0].startswith("_") and other != "_kernels":
        return f"reaches into {item.target}"
    return None


def is_butler_file(file: str) -> bool:
    """Tell whether a file may know the Butler."""
    path = PurePosixPath(file)
    return path.parts[0] in BUTLER_ROOMS or file in BUTLER_FILES or path.name in BUTLER_FILES


def check_foreign_import(room: str, file: str, item: Import) -> str | None:
    """Return what is wrong with an import from another distribution."""
    top = item.target.split(".")[0]
    if top in FORBIDDEN_PACKAGES:
        return f"imports {top}"
    if top == "lsst" and not any(is_below(item.target, package) for package in LSST):
        return f"imports {item.target}, which is no dependency"
    if is_below(item.target, "lsst.daf.butler") and not is_butler_file(file):
        # A result may say which dataset it was made from.
        typed = item.for_types and item.target == "lsst.daf.butler.DatasetRef"
        return None if typed else "imports the Butler"
    if room == "_kernels" and top not in KERNEL_PACKAGES and top != "lsst":
        return f"is a kernel and imports {top}"
    if top in PRIVATE_PACKAGES and room != PRIVATE_PACKAGES[top]:
        # A result's annotation may name a plotting type.
        return None if top == "matplotlib" and not item.at_top else f"imports {top}"
    if top == "matplotlib" and item.at_top:
        return "imports matplotlib outside of a function"
    return None


def check_calls(tree: ast.Module, file: str) -> Iterator[tuple[int, str]]:
    """Yield the calls that are not allowed in a file."""
    exempt = file in BUTLER_CALLERS or file.startswith("simulation/")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            yield node.lineno, f"calls {node.func.id}"
        if isinstance(node.func, ast.Attribute) and not exempt:
            method, receiver = node.func.attr, ast.unparse(node.func.value)
            is_get = method == "get" and receiver.split(".")[-1].lower().endswith("butler")
            is_query = method.startswith("query_") and not receiver.endswith("self")
            if is_get or is_query or method in BUTLER_METHODS:
                yield node.lineno, f"calls {receiver}.{method}"


def check_sizes(tree: ast.Module, source: str) -> Iterator[tuple[int, str]]:
    """Yield what is too long for a reader."""
    if (lines := len(source.splitlines())) > MAX_FILE:
        yield 1, f"has {lines} lines, more than {MAX_FILE}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            if length > MAX_FUNCTION:
                yield node.lineno, f"{node.name} has {length} lines, more than {MAX_FUNCTION}"


def find_violations(source: str, file: str) -> list[str]:
    """Return what is wrong with one file; its path is relative to the package."""
    tree = ast.parse(source)
    parts = PurePosixPath(file).parts
    room = parts[0] if len(parts) > 1 else ""
    found: list[tuple[int, str]] = [*check_calls(tree, file), *check_sizes(tree, source)]
    if room and room not in ARROWS:
        found.append((1, f"is in {room}, a room without arrows"))
        return [f"{file}:{line} {text}" for line, text in found]
    for item in find_imports(tree, file):
        own = is_below(item.target, NAME)
        wrong = check_own_import(room, file, item) if own else check_foreign_import(room, file, item)
        if room == "_kernels" and own and not is_below(item.target, f"{NAME}._kernels"):
            wrong = f"is a kernel and imports {item.target}"
        if wrong:
            found.append((item.line, wrong))
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    found.extend((node.lineno, "names lsst.afw") for node in constants if "lsst.afw" in str(node.value))
    return [f"{file}:{line} {text}" for line, text in sorted(found)]


SOURCES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", SOURCES)
def test_file_keeps_to_its_room(file: str) -> None:
    assert find_violations((PACKAGE / file).read_text(), file) == []


GOOD = [
    ("from ..geometry import Circle\nfrom ..errors import RequestError", "cutouts/_cutout.py"),
    ("from ..repository import fetch_image\nfrom lsst.daf.butler import Butler", "cutouts/_from_butler.py"),
    ("from ..cutouts import make_cutout", "mosaics/_from_butler.py"),
    ("from .._kernels.flux_nb import total", "forced/_flux.py"),
    ("def plot(self):\n    from ..plotting import show\n    show(self)", "cutouts/_cutout.py"),
    ("def draw():\n    import matplotlib.pyplot", "plotting/_image.py"),
    ("from ..repository.skymap import find_tract", "simulation/_survey.py"),
    ("from ..repository import skymap", "simulation/_survey.py"),
    ("import numba\nimport numpy as np\nfrom ._jit import kernel", "_kernels/flux_nb.py"),
    ("butler.get(ref)", "repository/fetch.py"),
    ("if TYPE_CHECKING:\n    from lsst.daf.butler import DatasetRef", "cutouts/_cutout.py"),
    ("options.get('radius')", "cutouts/_cutout.py"),
]
BAD = [
    ("from ..repository import fetch_image", "cutouts/_cutout.py", "the arrows of cutouts"),
    ("from .. import repository", "cutouts/_cutout.py", "the arrows of cutouts"),
    ("import lsst.dax.image.repository", "geometry/_circle.py", "the arrows of geometry"),
    ("def f():\n    from ..repository import fetch_image", "geometry/_circle.py", "the arrows of geometry"),
    ("from ..mosaics import make_mosaic", "cutouts/_from_butler.py", "the arrows of cutouts"),
    ("from ..cutouts import make_cutout", "mosaics/_make.py", "the arrows of mosaics"),
    ("from ..cutouts import make_cutout", "repository/fetch.py", "the arrows of repository"),
    ("from ..repository import fetch_image", "simulation/_survey.py", "lead to no room"),
    ("from ..repository.fetch import fetch_image", "simulation/_survey.py", "lead to no room"),
    ("from ..cutouts import make_cutout", "simulation/_survey.py", "lead to no room"),
    ("from ..geometry._stencils import helper", "cutouts/_cutout.py", "reaches into"),
    ("from lsst.daf.butler import Butler", "cutouts/_cutout.py", "imports the Butler"),
    ("from lsst.afw.image import Mask", "cutouts/_cutout.py", "no dependency"),
    ("import lsst.afw", "simulation/_survey.py", "no dependency"),
    ("load('lsst.afw.image')", "simulation/_survey.py", "names lsst.afw"),
    ("def f():\n    from lsst.daf.butler import Butler", "cutouts/_cutout.py", "imports the Butler"),
    ("if TYPE_CHECKING:\n    from lsst.daf.butler import Butler", "cutouts/_cutout.py", "imports the Butler"),
    ("import pickle", "container/_cache.py", "imports pickle"),
    ("eval('1 + 1')", "cli/_demo.py", "calls eval"),
    ("exec('x = 1')", "flags.py", "calls exec"),
    ("__import__('numba')", "flags.py", "calls __import__"),
    ("import numba", "forced/_flux.py", "imports numba"),
    ("import astropy", "_kernels/flux_nb.py", "is a kernel"),
    ("from ..geometry import Circle", "_kernels/flux_nb.py", "is a kernel"),
    ("import matplotlib.pyplot", "cutouts/_cutout.py", "imports matplotlib"),
    ("import matplotlib.pyplot", "plotting/_image.py", "outside of a function"),
    ("from ..plotting import show", "cutouts/_cutout.py", "imports plotting"),
    ("import galsim", "cutouts/_cutout.py", "imports galsim"),
    ("butler.get(ref)", "cutouts/_from_butler.py", "calls butler.get"),
    ("self._butler.get(ref)", "virtual/coadd.py", r"calls self._butler.get"),
    ("butler.getURI(ref)", "repository/provenance.py", "calls butler.getURI"),
    (
        "with butler.query() as q:\n    butler.query_datasets('raw')",
        "cli/_demo.py",
        "calls butler.query_datasets",
    ),
    ("x = 1", "attic/_old.py", "without arrows"),
    ("x = 1\n" * (MAX_FILE + 1), "cutouts/_cutout.py", "has 601 lines"),
    ("def f():\n" + "    x = 1\n" * (MAX_FUNCTION + 1), "cutouts/_cutout.py", "f has 61 lines"),
]


@pytest.mark.parametrize(("source", "file"), GOOD)
def test_checker_lets_pass(source: str, file: str) -> None:
    assert find_violations(source, file) == []


@pytest.mark.parametrize(("source", "file", "complaint"), BAD)
def test_checker_finds(source: str, file: str, complaint: str) -> None:
    (violation,) = find_violations(source, file)
    assert complaint in violation
    assert violation.startswith(f"{file}:")


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    stems = {PurePosixPath(file).stem for file in SOURCES} | {path.name for path in PACKAGE.iterdir()}
    assert stems & sys.stdlib_module_names == set()


def test_importing_the_package_brings_neither_numba_nor_matplotlib() -> None:
    code = "import sys, lsst.dax.image; print(sorted({'numba', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
