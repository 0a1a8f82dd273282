"""Options that are one of a few choices."""

from __future__ import annotations

__all__ = ("as_choice",)

import enum

from .errors import RequestError


def as_choice[E: enum.Enum](value: object, kind: type[E], name: str) -> E:
    """Return a member of an enumeration, which may be given by its value.

    An option that is compared with ``is`` takes any other object for another
    choice, so every option passes through here first.

    Parameters
    ----------
    value
        A member of the enumeration, or the value of one.
    kind
        The enumeration.
    name
        Name of the option, for the message.

    Returns
    -------
    choice
        The member.

    Raises
    ------
    RequestError
        Raised if the value is none of the choices.
    """
    if isinstance(value, kind):
        return value
    for choice in kind:
        if type(value) is type(choice.value) and value == choice.value:
            return choice
    choices = ", ".join(f"{choice} ({choice.value!r})" for choice in kind)
    raise RequestError(f"The option {name} is one of {choices}, not {value!r}.")
