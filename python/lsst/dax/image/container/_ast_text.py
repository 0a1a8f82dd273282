"""The text form of AST objects as a tree.

AST believes what the counts and indices in its text say, and ends the process
where they are wrong.  So the text is looked at before AST reads it: here line
by line, in `_ast_rules` for what it means.
"""

from __future__ import annotations

__all__ = ("AstNode", "parse_ast_text")

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..errors import InputDataError

_LINE = re.compile(
    r"[ \t]*(?:(Begin|IsA|End)[ \t]+([A-Za-z]\w*)"
    r'|([A-Za-z]\w*)[ \t]*=[ \t]*("(?:[^"]|"")*"|[^#"\s]*))?[ \t]*(?:#.*)?\Z',
    re.ASCII,
)
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}\Z")
_INDEX = re.compile(r"([a-z]+)([1-9][0-9]{0,5})\Z")
_MAX_DEPTH = 60
_MAX_LINES = 100_000


@dataclass(eq=False)
class AstNode:
    """One object: its class and what stands between its begin and end."""

    kind: str
    """Name of the class."""

    sections: dict[str, dict[str, str | AstNode]] = field(default_factory=dict)
    """Values by lower-case name, by the class that they belong to: those of
    ancestors first, those of the class itself last."""

    def values(self, kind: str | None = None) -> Mapping[str, str | AstNode]:
        """Return the values that belong to a class, by default the own one."""
        return self.sections.get(self.kind if kind is None else kind, {})

    def add_section(self, kind: str, values: dict[str, str | AstNode]) -> None:
        """Add the values that belong to a class, after those of its ancestors.

        Raises
        ------
        InputDataError
            Raised if that class had its turn already.
        """
        if kind in self.sections:
            raise InputDataError(f"An AST {self.kind} is a {kind} twice.")
        self.sections[kind] = values

    def integer(self, name: str, default: int, kind: str | None = None) -> int:
        """Return a value that has to be an integer.

        Raises
        ------
        InputDataError
            Raised if it is none.
        """
        value = self.values(kind).get(name)
        return default if value is None else self._to_integer(name, value)

    def indexed(self, prefix: str, kind: str | None = None) -> Iterator[tuple[int, str | AstNode]]:
        """Yield number and value of names like ``Frm1``."""
        for name, value in self.values(kind).items():
            if name.startswith(prefix) and (match := _INDEX.match(name)) and match[1] == prefix:
                yield int(match[2]), value

    def integers(self, prefix: str, kind: str | None = None) -> dict[int, int]:
        """Return the integers of names like ``Lnk2`` by number.

        Raises
        ------
        InputDataError
            Raised if one is no integer.
        """
        return {
            number: self._to_integer(f"{prefix}{number}", value)
            for number, value in self.indexed(prefix, kind)
        }

    def _to_integer(self, name: str, value: str | AstNode) -> int:
        """Return an integer, or raise."""
        if isinstance(value, AstNode) or not _INTEGER.match(value):
            raise InputDataError(
                f"An AST {self.kind} has {name} = {_shown(value)}, which must be an integer."
            )
        return int(value)

    def children(self) -> Iterator[AstNode]:
        """Yield the objects among the values."""
        for values in self.sections.values():
            for value in values.values():
                if isinstance(value, AstNode):
                    yield value


def parse_ast_text(text: str) -> AstNode:
    """Return the tree of an AST object.

    Parameters
    ----------
    text
        The object in AST's native encoding.

    Returns
    -------
    node
        The object.

    Raises
    ------
    InputDataError
        Raised if the text is not that of one whole object.
    """
    lines = text.splitlines()
    if len(lines) > _MAX_LINES:
        raise InputDataError(f"An AST text has {len(lines)} lines, more than the {_MAX_LINES} that are read.")
    stack: list[AstNode] = []
    values: list[dict[str, str | AstNode]] = []
    pending: list[str | None] = [None]  # name of the value that an object must follow, by level
    for number, line in enumerate(lines, start=1):
        match = _LINE.match(line)
        if match is None:
            raise InputDataError(f"Line {number} of an AST text makes no sense: {line[:80]!r}.")
        word, kind, name, value = match.groups()
        if word == "Begin":
            if len(stack) >= _MAX_DEPTH or (stack and pending[-1] is None):
                raise InputDataError(f"Line {number} of an AST text begins a {kind} where none belongs.")
            stack.append(AstNode(kind))
            values.append({})
            pending.append(None)
            continue
        if word is None and name is None:
            continue
        if not stack or pending[-1] is not None:
            raise InputDataError(
                f"Line {number} of an AST text has {line.strip()[:60]!r} instead of an object."
            )
        if word is None:
            key = name.lower()
            if key in values[-1]:
                raise InputDataError(f"An AST {stack[-1].kind} has {name} twice.")
            values[-1][key] = value
            pending[-1] = None if value else key
        elif word == "IsA":
            stack[-1].add_section(kind, values[-1])
            values[-1] = {}
        else:
            node = stack.pop()
            if kind != node.kind:
                raise InputDataError(f"An AST {node.kind} ends as a {kind} in line {number}.")
            node.add_section(kind, values.pop())
            pending.pop()
            if not stack:
                return node
            values[-1][str(pending[-1])] = node
            pending[-1] = None
    raise InputDataError(f"An AST text ends after {len(lines)} lines within {len(stack)} objects.")


def _shown(value: str | AstNode) -> str:
    return f"a {value.kind}" if isinstance(value, AstNode) else repr(value[:40])
