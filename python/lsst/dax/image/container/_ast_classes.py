"""Classes of AST objects, and what their rules have in common."""

from __future__ import annotations

__all__ = ("ANCESTORS", "check_child", "check_numbers", "check_range", "find_child", "find_family")

from collections.abc import Mapping
from types import MappingProxyType

from ..errors import InputDataError
from ._ast_text import AstNode

_FRAMES = frozenset(
    ("Frame", "SkyFrame", "CmpFrame", "FrameSet", "SpecFrame", "TimeFrame", "FluxFrame", "DSBSpecFrame")
)
_AXES = frozenset(("Axis", "SkyAxis"))
_MAPPINGS = frozenset(
    (
        *("UnitMap", "ZoomMap", "ShiftMap", "WinMap", "MatrixMap", "PolyMap", "ChebyMap"),
        *("CmpMap", "TranMap", "PermMap", "SphMap", "WcsMap", "PcdMap", "LutMap", "MathMap"),
        *(
            "SlaMap",
            "TimeMap",
            "SpecMap",
            "NormMap",
            "RateMap",
            "DssMap",
            "GrismMap",
            "XphMap",
            "UnitNormMap",
        ),
    )
)
ANCESTORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        **dict.fromkeys(_MAPPINGS, ("Object", "Mapping")),
        **dict.fromkeys(_FRAMES, ("Object", "Mapping", "Frame")),
        "Frame": ("Object", "Mapping"),
        "DSBSpecFrame": ("Object", "Mapping", "Frame", "SpecFrame"),
        "ChebyMap": ("Object", "Mapping", "PolyMap"),
        "Axis": ("Object",),
        "SkyAxis": ("Object", "Axis"),
    }
)


def find_family(node: AstNode) -> str | None:
    """Return what an object is, None for a class without rules."""
    if node.kind in _FRAMES:
        return "frame"
    if node.kind in _MAPPINGS:
        return "mapping"
    return "axis" if node.kind in _AXES else None


def find_child(node: AstNode, name: str, families: set[str]) -> AstNode:
    """Return an object within an object."""
    return check_child(node, name, node.values().get(name), families)


def check_child(node: AstNode, name: str, value: str | AstNode | None, families: set[str]) -> AstNode:
    """Return a value that has to be an object of some kind."""
    if not isinstance(value, AstNode) or find_family(value) not in {*families, None}:
        found = f"a {value.kind}" if isinstance(value, AstNode) else repr(value)
        raise InputDataError(
            f"An AST {node.kind} has {found} as {name}, but needs an object of the kind "
            f"{' or '.join(sorted(families))}."
        )
    return value


def check_numbers(node: AstNode, prefix: str, expected: range) -> None:
    """Refuse values of a name that are not numbered as expected."""
    numbers = sorted(number for number, _ in node.indexed(prefix.lower()))
    if numbers != list(expected):
        raise InputDataError(
            f"An AST {node.kind} has {prefix} of numbers {numbers}, but needs {expected.start} to "
            f"{expected.stop - 1}."
        )


def check_range(node: AstNode, name: str, value: int, first: int, last: int) -> None:
    """Refuse a number that is out of range."""
    if not first <= value <= last:
        raise InputDataError(
            f"An AST {node.kind} has {name} = {value}, which must be from {first} to {last}."
        )
