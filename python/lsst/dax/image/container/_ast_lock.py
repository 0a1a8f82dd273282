"""One text of AST at a time."""

from __future__ import annotations

__all__ = ("AST_TEXT_LOCK",)

import threading

AST_TEXT_LOCK = threading.RLock()
"""Held while AST writes the text of an object.

AST counts the depth of what it writes for all threads together, so that two
texts at the same time are indented wrongly: they say the same, but files of
the same image would not be the same byte by byte.
"""
