"""The files around the library say the same as pyproject.toml."""

from __future__ import annotations

import ast
import os
import re
import runpy
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from pre_commit.clientlib import load_config

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAUNCHERS = [*sorted((ROOT / "bin").iterdir()), ROOT / ".ci" / "run"]
# Rubin products and how PyPI calls them; sconsUtils is a build tool of the stack.
RUBIN = {
    "daf_butler": "lsst-daf-butler",
    "images": "lsst-images",
    "resources": "lsst-resources",
    "sphgeom": "lsst-sphgeom",
    "utils": "lsst-utils",
}


def requirements() -> dict[str, Requirement]:
    found = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
    return {requirement.name: requirement for requirement in found}


def parse_table(text: str) -> list[tuple[str, list[str]]]:
    """Parse an eups table: one action with its arguments per line."""
    actions = []
    for line in text.splitlines():
        statement = line.partition("#")[0].strip()
        if not statement:
            continue
        match = re.fullmatch(r"(\w+)\((.*)\)", statement)
        assert match, f"not an action of an eups table: {line!r}"
        actions.append((match[1], [argument.strip() for argument in match[2].split(",")]))
    return actions


TABLE = parse_table((ROOT / "ups" / "dax_image.table").read_text())


def test_the_table_sets_up_the_rubin_dependencies_and_no_other() -> None:
    products = [arguments[0] for action, arguments in TABLE if action == "setupRequired"]
    assert len(products) == len(set(products))
    assert set(products) == {*RUBIN, "sconsUtils"}
    assert {name for name in requirements() if name.startswith("lsst-")} == set(RUBIN.values())


def test_the_table_puts_the_package_on_the_paths() -> None:
    paths = {arguments[0]: arguments[1] for action, arguments in TABLE if action == "envPrepend"}
    assert paths == {"PYTHONPATH": "${PRODUCT_DIR}/python", "PATH": "${PRODUCT_DIR}/bin"}
    for value in paths.values():
        assert (ROOT / value.removeprefix("${PRODUCT_DIR}/")).is_dir()


def test_the_table_has_no_other_actions() -> None:
    assert {action for action, _ in TABLE} == {"setupRequired", "envPrepend"}


def test_a_broken_table_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"not an action of an eups table: 'setupRequired\(utils'"):
        parse_table("setupRequired(utils")


def test_sconstruct_imports_scons_utils_under_guard_only() -> None:
    tree = ast.parse((ROOT / "SConstruct").read_text())
    guards = [node for node in tree.body if isinstance(node, ast.Try)]
    guarded = {inner for guard in guards for inner in ast.walk(guard)}
    uses = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lsst.sconsUtils")
    ]
    assert uses
    assert all(node in guarded for node in uses)
    assert all(ast.unparse(handler.type) == "ImportError" for guard in guards for handler in guard.handlers)  # type: ignore[arg-type]


class ExitedError(Exception):
    """What Exit of scons does, for the test."""


def run_sconstruct() -> None:
    def leave(code: int) -> None:
        raise ExitedError(code)

    runpy.run_path(str(ROOT / "SConstruct"), init_globals={"Exit": leave})


def test_sconstruct_without_scons_utils_says_so_and_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lsst.sconsUtils", None)
    with pytest.raises(ExitedError, match=r"^0$"):
        run_sconstruct()
    assert "lsst.sconsUtils is not set up" in capsys.readouterr().err


def test_sconstruct_builds_the_product_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    scripts = types.SimpleNamespace(BasicSConstruct=lambda *args, **kwargs: calls.append((args, kwargs)))
    module = types.ModuleType("lsst.sconsUtils")
    module.scripts = scripts  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lsst.sconsUtils", module)
    run_sconstruct()
    ((args, options),) = calls
    assert args == ("dax_image",)
    # The version module reads the installed version; scons must leave it alone.
    assert options == {"disableCc": True, "noCfgFile": True, "versionModuleName": None}


def test_the_rubin_packages_are_held_to_a_tested_range() -> None:
    for name, requirement in requirements().items():
        if name.startswith("lsst-"):
            operators = {specifier.operator for specifier in requirement.specifier}
            assert operators in ({"=="}, {">=", "<"}, {">=", "<="}), f"{requirement} is open at one end"


def test_the_extras_of_the_launchers_exist() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert {"plot", "demo", "test", "doc"} <= set(extras)
    text = "\n".join(path.read_text() for path in LAUNCHERS)
    used = set(" ".join(re.findall(r"^prepare_env (.+)$", text, re.MULTILINE)).split())
    assert used == {"demo", "test", "doc"}
    # bin/_python takes an environment with one of them for one with demo.
    assert all("lsst-dax-image[demo]" in extras[extra] for extra in used - {"demo"})


def test_project_metadata() -> None:
    project = PROJECT["project"]
    assert project["name"] == "lsst-dax-image"
    assert project["license"] == "GPL-3.0-or-later"
    assert project["requires-python"] == ">=3.12"
    assert "GNU GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text()
    assert PROJECT["tool"]["mypy"]["strict"] is True
    assert PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"][0] == "error"


@pytest.mark.parametrize("package", ["lsst", "lsst/dax"])
def test_namespace_packages_only_extend_their_path(package: str) -> None:
    tree = ast.parse((ROOT / "python" / package / "__init__.py").read_text())
    statements = [ast.unparse(node) for node in tree.body[1:]]
    assert ast.get_docstring(tree)
    assert statements == ["import pkgutil", "__path__ = pkgutil.extend_path(__path__, __name__)"]


@pytest.mark.parametrize("path", LAUNCHERS, ids=lambda path: path.name)
def test_launcher_is_sound_shell(path: Path) -> None:
    done = subprocess.run(["sh", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    # What begins with an underscore is sourced by the others.
    assert os.access(path, os.X_OK) is not path.name.startswith("_")


def test_no_suitable_python_is_said_with_what_was_tried(tmp_path: Path) -> None:
    # A checkout of launchers alone, and a PATH that holds the tools they need
    # and a Python that is too old.
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "cat", "mkdir", "cksum", "rm"):
        (tools / name).symlink_to(
            next(p for p in (Path("/usr/bin") / name, Path("/bin") / name) if p.exists())
        )
    old = tools / "python3"
    old.write_text("#!/bin/sh\necho 'is Python 3.11.9'\nexit 3\n")
    shim = tools / "python3.13"
    shim.write_text("#!/bin/sh\necho 'version 3.13 is not active' >&2\nexit 127\n")
    for program in (old, shim):
        program.chmod(0o755)
    checkout = tmp_path / "checkout"
    (checkout / "bin").mkdir(parents=True)
    for name in ("_python", "test"):
        copy = checkout / "bin" / name
        copy.write_text((ROOT / "bin" / name).read_text())
        copy.chmod(0o755)
    done = subprocess.run(
        [checkout / "bin" / "test"],
        env={"PATH": str(tools), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{old}: is Python 3.11.9" in done.stderr
    assert f"{shim}: does not run" in done.stderr
    assert "python3.12: not found" in done.stderr
    assert "uv: not found" in done.stderr
    assert "apt install python3.12" in done.stderr
    assert not (checkout / ".venv").exists()


def test_readme_names_commands_that_exist() -> None:
    named = set(re.findall(r"(?<![\w/])bin/(\w+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named
    assert named <= {path.name for path in (ROOT / "bin").iterdir()}


def test_the_console_script_points_at_a_function() -> None:
    (target,) = PROJECT["project"]["scripts"].values()
    module, _, name = target.partition(":")
    source = ROOT.joinpath("python", *module.split("."))
    path = source.with_suffix(".py") if source.with_suffix(".py").exists() else source / "__init__.py"
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    assert names & {name, "*"}


def test_hooks_are_local_and_run_offline() -> None:
    path = ROOT / ".pre-commit-config.yaml"
    load_config(path)  # raises where pre-commit would
    repositories = yaml.safe_load(path.read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    (repository,) = repositories
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    ids = {hook["id"] for hook in repository["hooks"]}
    assert {"ruff", "ruff-format", "mypy", "numpydoc", "file-size"} <= ids


def test_the_checks_end_with_the_tests() -> None:
    commands = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "echo"))
    ]
    text = "\n".join(commands)
    order = [text.index(word) for word in ("ruff check", "ruff format --check", "-m mypy", "sphinx -W")]
    assert order == sorted(order)
    assert commands[-1] == 'exec "$root/bin/test"'


def test_every_change_is_on_the_page_of_changes() -> None:
    entries = {path.name for path in (ROOT / "doc" / "changes").glob("*.rst")} - {"README.rst"}
    included = re.findall(
        r"^\.\. include:: changes/(\S+)$", (ROOT / "doc" / "changes.rst").read_text(), re.MULTILINE
    )
    assert sorted(included) == sorted(entries)
    kinds = {"feature", "api", "bugfix", "perf", "removal", "misc"}
    assert all(len(parts := name.split(".")) == 3 and parts[1] in kinds for name in entries)
