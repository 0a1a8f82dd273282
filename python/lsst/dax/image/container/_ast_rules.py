"""What must be true of an AST text, so that AST can be given it.

AST makes arrays as long as a count says and uses an index without a look at
what it points to; the rules here are those that keep it within its memory.  Of
classes that have no rule, only the nesting is looked at.
"""

from __future__ import annotations

__all__ = ("check_ast_text", "check_ast_texts")

import itertools
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..errors import InputDataError
from ._ast_classes import ANCESTORS, check_child, check_numbers, check_range, find_child, find_family
from ._ast_text import AstNode, parse_ast_text

_MAX_AXES = 16
_MAX_FRAMES = 100
_MAX_POWER = 100
_MAX_COUNT = 10**6

_POWER = re.compile(r"p[fi]([0-9]{1,6})(_[0-9]{1,6}_([0-9]{1,6}))?\Z")
_INTEGER = re.compile(r"[0-9]{1,40}\Z")
_DIGITS = re.compile(r"[0-9]{1,6}\Z")

type _Shape = tuple[int, int] | None
"""Input and output coordinates of a mapping; None if that is not known."""


def check_ast_text(text: str) -> None:
    """Refuse the text of an AST object that contradicts itself.

    Parameters
    ----------
    text
        A mapping, or frame set, in AST's native encoding.

    Raises
    ------
    InputDataError
        Raised if the text is not that of one whole object; or if a count does
        not agree with what is there, an index is out of range, an object is
        missing or of the wrong kind, or mappings do not fit together.
    """
    node = parse_ast_text(text)
    if find_family(node) not in {"mapping", "frame", None}:
        raise InputDataError(f"An AST text is a {node.kind}, but a mapping is needed.")
    _check(node)


def check_ast_texts(tree: bytes) -> None:
    """Refuse a JSON tree with an AST object that contradicts itself, wherever it is.

    Parameters
    ----------
    tree
        JSON text that was parsed before.

    Raises
    ------
    InputDataError
        Raised as by `check_ast_text`.
    """
    values: list[Any] = [json.loads(tree)]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            text = value.get("ast")
            if isinstance(text, str):
                check_ast_text(text)
            values += value.values()
        elif isinstance(value, list):
            values += value


def _check(node: AstNode) -> _Shape:
    """Check an object and all within it; return its shape as a mapping."""
    ancestors = ANCESTORS.get(node.kind)
    if ancestors is not None:
        order = [*ancestors, node.kind]
        places = [order.index(kind) if kind in order else -1 for kind in node.sections]
        if -1 in places or any(after <= before for before, after in itertools.pairwise(places)):
            raise InputDataError(
                f"An AST {node.kind} is a {list(node.sections)}, in this order; {order} are right."
            )
    for values in node.sections.values():
        for name, value in values.items():
            # Whatever the class: what begins so is a count.
            if (
                name[0] == "n"
                and isinstance(value, str)
                and _INTEGER.match(value)
                and int(value) > _MAX_COUNT
            ):
                raise InputDataError(
                    f"An AST {node.kind} has {name} = {value}, more than {_MAX_COUNT} of anything."
                )
    shapes = {id(child): _check(child) for child in node.children()}
    rule = _RULES.get(node.kind)
    if rule is not None:
        return rule(node, shapes)
    family = find_family(node)
    if family == "mapping":
        return _mapping_shape(node)
    return _frame_shape(node) if family == "frame" else None


def _mapping_shape(node: AstNode) -> tuple[int, int]:
    """Return the declared numbers of coordinates of a mapping."""
    n_in = node.integer("nin", 0, "Mapping")
    n_out = node.integer("nout", n_in, "Mapping")
    check_range(node, "Nin", n_in, 1, _MAX_AXES)
    check_range(node, "Nout", n_out, 1, _MAX_AXES)
    return n_in, n_out


def _frame_shape(node: AstNode) -> tuple[int, int]:
    """Check the axes of a frame."""
    n_axes = node.integer("naxes", 0, "Frame")
    check_range(node, "Naxes", n_axes, 1, _MAX_AXES)
    if node.kind == "SkyFrame":
        check_range(node, "Naxes", n_axes, 2, 2)
    for number, value in node.indexed("ax", "Frame"):
        check_range(node, "Ax", number, 1, n_axes)
        check_child(node, f"Ax{number}", value, {"axis"})
    permutation = [node.integers("prm", "Frame").get(axis, axis) for axis in range(1, n_axes + 1)]
    if sorted(permutation) != list(range(1, n_axes + 1)):
        raise InputDataError(f"An AST {node.kind} has {n_axes} axes in the order {permutation}.")
    return n_axes, n_axes


def _check_compound_frame(node: AstNode, shapes: Mapping[int, _Shape]) -> _Shape:
    """Check a frame that is made of two."""
    parts = [find_child(node, name, {"frame"}) for name in ("framea", "frameb")]
    axes = [shape[0] for part in parts if (shape := shapes[id(part)]) is not None]
    # The number is not written: that of the parts counts.
    n_axes = sum(axes) if len(axes) == len(parts) else _MAX_AXES
    order = node.integers("axp")
    for number, place in order.items():
        check_range(node, "Axp", number, 1, n_axes)
        check_range(node, f"Axp{number}", place, 1, n_axes)
    if len(set(order.values())) != len(order):
        raise InputDataError(f"An AST {node.kind} has {n_axes} axes in the order {order}.")
    return (n_axes, n_axes) if len(axes) == len(parts) else None


def _check_frame_set(node: AstNode, shapes: Mapping[int, _Shape]) -> _Shape:
    """Check frames, and the tree of nodes that mappings link."""
    if node.values("Frame"):
        # AST passes them on to the current frame before there is one.
        raise InputDataError(
            f"An AST FrameSet has attributes of its current frame itself: {sorted(node.values('Frame'))}."
        )
    n_frames = node.integer("nframe", 1)
    check_range(node, "Nframe", n_frames, 1, _MAX_FRAMES)
    n_nodes = node.integer("nnode", n_frames)
    check_range(node, "Nnode", n_nodes, 1, 2 * _MAX_FRAMES)
    check_numbers(node, "Frm", range(1, n_frames + 1))
    check_numbers(node, "Map", range(2, n_nodes + 1))
    check_numbers(node, "Lnk", range(2, n_nodes + 1))
    frames = [find_child(node, f"frm{number}", {"frame"}) for number in range(1, n_frames + 1)]
    places = node.integers("nod")
    at_node: dict[int, int] = {}
    for number, frame in enumerate(frames, start=1):
        place = places.get(number, number)
        check_range(node, f"Nod{number}", place, 1, n_nodes)
        shape = shapes[id(frame)]
        if shape is not None and at_node.setdefault(place, shape[1]) != shape[1]:
            raise InputDataError(
                f"Frames of an AST FrameSet with {at_node[place]} and {shape[1]} axes share a node."
            )
    for number, variant in node.integers("vfr").items():
        check_range(node, f"Vfr{number}", variant, 0, n_frames)
    links = node.integers("lnk")
    for number, parent in links.items():
        check_range(node, f"Lnk{number}", parent, 1, n_nodes)
        shape = shapes[id(find_child(node, f"map{number}", {"mapping", "frame"}))]
        if node.integer(f"inv{number}", 0) and shape is not None:
            shape = shape[::-1]
        _check_fit(node, f"Map{number}", shape, (at_node.get(parent), at_node.get(number)))
    _check_tree(links)
    base = node.integer("base", 1)
    current = node.integer("currnt", n_frames)
    check_range(node, "Base", base, 1, n_frames)
    check_range(node, "Currnt", current, 1, n_frames)
    ends = shapes[id(frames[base - 1])], shapes[id(frames[current - 1])]
    return None if ends[0] is None or ends[1] is None else (ends[0][1], ends[1][1])


def _check_tree(links: Mapping[int, int]) -> None:
    """Refuse nodes that are not linked to the first."""
    for start in links:
        place = start
        for _ in range(len(links) + 1):
            if place == 1:
                break
            place = links[place]
        else:
            raise InputDataError(
                f"Node {start} of an AST FrameSet does not lead to the first: {dict(links)}."
            )


def _check_compound(node: AstNode, shapes: Mapping[int, _Shape]) -> _Shape:
    """Check two mappings, one after the other or side by side, or one for each direction."""
    whole = _mapping_shape(node)
    parts: list[_Shape] = []
    for letter in "ab":
        shape = shapes[id(find_child(node, f"map{letter}", {"mapping", "frame"}))]
        is_inverted = bool(node.integer(f"inv{letter}", 0))
        parts.append(shape[::-1] if is_inverted and shape is not None else shape)
    first, second = parts
    if first is None or second is None:
        return whole
    if node.kind == "TranMap":
        fits = first == second == whole
    elif node.integer("series", 1):
        fits = first[1] == second[0] and (first[0], second[1]) == whole
    else:
        fits = (first[0] + second[0], first[1] + second[1]) == whole
    if not fits:
        raise InputDataError(f"An AST {node.kind} of {whole} coordinates is made of {first} and {second}.")
    return whole


def _check_polynomial(node: AstNode, _: Mapping[int, _Shape]) -> _Shape:
    """Check the coefficients of polynomials and their powers."""
    n_in, n_out = shape = _mapping_shape(node)
    for letter, inputs, outputs in (("f", n_in, n_out), ("i", n_out, n_in)):
        highest, counts = (node.integers(f"{name}{letter}", "PolyMap") for name in ("mp", "nc"))
        if not highest and not counts:
            continue
        direction = letter.upper()
        if sorted(highest) != list(range(1, inputs + 1)) or sorted(counts) != list(range(1, outputs + 1)):
            raise InputDataError(
                f"An AST PolyMap of {shape} coordinates has MP{direction} {highest}, NC{direction} {counts}."
            )
        values = node.values("PolyMap")
        coefficients = sum(name[:2] == f"c{letter}" for name in values)
        for number, count in counts.items():
            check_range(node, f"NC{direction}{number}", count, 0, coefficients)
        if sum(counts.values()) != coefficients:
            raise InputDataError(
                f"An AST PolyMap has {coefficients} coefficients, but NC{direction} = {counts}."
            )
        for number, power in highest.items():
            check_range(node, f"MP{direction}{number}", power, 0, _MAX_POWER)
        for name, value in values.items():
            if name[:2] == f"p{letter}" and not _is_power(name, value, highest, coefficients * inputs):
                raise InputDataError(
                    f"An AST PolyMap of {coefficients} coefficients and powers up to {highest} has "
                    f"{name.upper()} = {value!r}."
                )
    return shape


def _is_power(name: str, value: str | AstNode, highest: Mapping[int, int], count: int) -> bool:
    """Return whether this is a power that is in AST's table, which ends at the highest."""
    numbers = _POWER.match(name)
    if numbers is None or isinstance(value, AstNode) or not _DIGITS.match(value):
        return False
    # One number counts through all; older texts have output, coefficient and input.
    place = int(numbers[3] or numbers[1])
    if not 1 <= place <= (len(highest) if numbers[3] else count):
        return False
    axis = place if numbers[3] else (place - 1) % len(highest) + 1
    return int(value) <= highest[axis]


def _check_permutation(node: AstNode, _: Mapping[int, _Shape]) -> _Shape:
    """Check a mapping that permutes coordinates or replaces them by constants."""
    n_in, n_out = shape = _mapping_shape(node)
    n_constants = node.integer("nconst", 0)
    check_range(node, "Nconst", n_constants, 0, 2 * _MAX_AXES)
    for name, count, other in (("in", n_in, n_out), ("out", n_out, n_in)):
        for number, place in node.integers(name).items():
            check_range(node, name.title(), number, 1, count)
            check_range(node, f"{name.title()}{number}", place, -n_constants, other)
    return shape


def _check_table(node: AstNode, _: Mapping[int, _Shape]) -> _Shape:
    """Check a look-up table."""
    count = node.integer("nlut", 2)
    check_range(node, "Nlut", count, 2, _MAX_COUNT)
    present = sum(1 for _ in node.indexed("l"))
    if present != count:
        raise InputDataError(f"An AST LutMap has {present} values, but Nlut = {count}.")
    return _mapping_shape(node)


def _check_projection(node: AstNode, _: Mapping[int, _Shape]) -> _Shape:
    """Check the axes of a map projection."""
    n_in, n_out = shape = _mapping_shape(node)
    if n_in != n_out or n_in < 2:
        raise InputDataError(f"An AST WcsMap has {shape} coordinates.")
    axes = [node.integer(f"wcsax{number}", number) for number in (1, 2)]
    for number, axis in enumerate(axes, start=1):
        check_range(node, f"WcsAx{number}", axis, 1, n_in)
    if axes[0] == axes[1]:
        raise InputDataError(f"An AST WcsMap has axis {axes[0]} for longitude and latitude.")
    return shape


def _check_conversions(node: AstNode, _: Mapping[int, _Shape]) -> _Shape:
    """Check a chain of conversions that have names."""
    prefix = node.kind.removesuffix("Map").lower()
    count = node.integer(f"n{prefix}", 0)
    present = sum(1 for _ in node.indexed(prefix))
    if present != count:
        raise InputDataError(f"An AST {node.kind} has {present} conversions, but N{prefix} = {count}.")
    return _mapping_shape(node)


_RULES: Mapping[str, Callable[[AstNode, Mapping[int, _Shape]], _Shape]] = MappingProxyType(
    {
        "CmpFrame": _check_compound_frame,
        "FrameSet": _check_frame_set,
        "CmpMap": _check_compound,
        "TranMap": _check_compound,
        "PolyMap": _check_polynomial,
        "ChebyMap": _check_polynomial,
        "PermMap": _check_permutation,
        "LutMap": _check_table,
        "WcsMap": _check_projection,
        "SlaMap": _check_conversions,
        "TimeMap": _check_conversions,
        "SpecMap": _check_conversions,
    }
)


def _check_fit(node: AstNode, name: str, shape: _Shape, ends: tuple[int | None, int | None]) -> None:
    """Refuse a mapping that does not fit the frames that it links."""
    if shape is not None and any(
        end is not None and end != own for own, end in zip(shape, ends, strict=True)
    ):
        raise InputDataError(
            f"An AST {node.kind} has {name} of {shape} coordinates between frames of {ends}."
        )
