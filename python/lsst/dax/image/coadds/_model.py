"""The base of a recipe's parts: frozen, checked, and with errors of this library."""

from __future__ import annotations

__all__ = ("RecipePart", "explain_errors")

from typing import TYPE_CHECKING, Any, Self

import pydantic

from ..errors import RequestError

_MOST_ERRORS = 5
_LONGEST_VALUE = 80


class RecipePart(pydantic.BaseModel):
    """A value that knows its fields, cannot be changed, and is checked when it is made.

    Raises
    ------
    RequestError
        Raised if a field is unknown, missing, or has a value that makes no
        sense.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True
    )

    if not TYPE_CHECKING:  # a type checker knows the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except pydantic.ValidationError as error:
                raise RequestError(explain_errors(error, type(self))) from error

    def with_(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, and checked as a new one is.

        Parameters
        ----------
        **changes
            Fields and their new values.

        Returns
        -------
        changed
            The copy.

        Raises
        ------
        RequestError
            Raised if a field is unknown, or the result makes no sense.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**values, **changes})


def explain_errors(error: pydantic.ValidationError, model: type[pydantic.BaseModel]) -> str:
    """Return a message that says of each field what was given and what is needed.

    Parameters
    ----------
    error
        What pydantic found.
    model
        What was to be made.

    Returns
    -------
    message
        One line.
    """
    lines = []
    for item in error.errors(include_url=False)[:_MOST_ERRORS]:
        place = ".".join(str(part) for part in item["loc"]) or model.__name__
        message = item["msg"].removeprefix("Value error, ").removesuffix(".")
        if item["type"] == "extra_forbidden":
            # Parts check themselves, so that this is a field of the model itself.
            lines.append(f"{place} is no field; there are {', '.join(model.model_fields)}")
        elif item["type"] == "missing":
            lines.append(f"{place} is missing")
        elif item["type"] == "value_error":
            lines.append(message if place == model.__name__ else f"{place}: {message}")
        else:
            value = repr(item["input"])
            shown = value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
            lines.append(f"{place} is {shown}: {message[:1].lower()}{message[1:]}")
    more = error.error_count() - len(lines)
    tail = f"; and {more} more" if more > 0 else ""
    return f"This is no {model.__name__}: {'; '.join(lines)}{tail}."
