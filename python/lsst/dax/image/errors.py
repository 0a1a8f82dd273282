"""The exceptions of this library, one tree under `DaxImageError`.

A service wrapper maps `LookupError` and `ValueError` to "the user's mistake"
and the rest to "fatal".  So `RequestError` is a `ValueError` and
`InputNotFoundError` is a `LookupError`, and nothing else in the tree is either
of them.  Every error pickles, because workers send them home.
"""

from __future__ import annotations

__all__ = (
    "CalibrationMismatchError",
    "DatasetNotFoundError",
    "DaxImageError",
    "InconsistentUnitsError",
    "InputDataError",
    "InputNotFoundError",
    "InternalError",
    "InvalidRegionError",
    "MissingCalibrationError",
    "MissingPsfError",
    "NoCoverageError",
    "OutputError",
    "RequestError",
    "RequestTooLargeError",
    "StencilNotContainedError",
    "StoreError",
    "UnsupportedProductError",
    "VirtualCycleError",
    "internal_errors_reported",
)

from collections.abc import Iterator
from contextlib import contextmanager


class DaxImageError(Exception):
    """Base of every exception that this library raises on purpose."""


class RequestError(DaxImageError, ValueError):
    """The request cannot be served as it stands; the caller can fix it."""


class InvalidRegionError(RequestError):
    """A stencil, region or position is not a usable shape on the sky."""


class NoCoverageError(RequestError):
    """The image holds no pixel of what was asked for."""


class StencilNotContainedError(NoCoverageError):
    """The stencil does not lie within the image as the edge policy demands."""


class RequestTooLargeError(RequestError):
    """The answer would have more pixels than the caller allows."""


class UnsupportedProductError(RequestError):
    """The dataset is of a kind that this function cannot work on."""


class VirtualCycleError(RequestError):
    """A virtual dataset needs itself as an input."""


class InputNotFoundError(DaxImageError, LookupError):
    """What was asked for is not there."""


class DatasetNotFoundError(InputNotFoundError):
    """The repository has no such dataset."""


class InputDataError(DaxImageError, RuntimeError):
    """Stored data behind the request are unusable or missing."""


class MissingCalibrationError(InputDataError):
    """A calibration that the reduction needs is not in the repository."""


class CalibrationMismatchError(InputDataError):
    """A calibration does not belong to the data that it is applied to."""


class InconsistentUnitsError(InputDataError):
    """Two inputs have units that cannot be combined."""


class MissingPsfError(InputDataError):
    """The image carries no usable point spread function."""


class OutputError(DaxImageError, OSError):
    """Writing failed; nothing half-written is left behind."""


class StoreError(DaxImageError, OSError):
    """A store failed in a way that may pass; retries are used up."""


class InternalError(DaxImageError, RuntimeError):
    """A bug of this library; please report it."""


@contextmanager
def internal_errors_reported(action: str) -> Iterator[None]:
    """Turn a stray built-in exception of our own code into `InternalError`.

    The functions that work through a Butler run within this context, so that
    a service never takes a bug of the library for its user's mistake.

    Parameters
    ----------
    action
        What was being done, for the message.

    Raises
    ------
    InternalError
        Raised, with the cause chained, where the body raises a `LookupError`,
        `ValueError` or `ArithmeticError` that is not of this module's tree.
    """
    try:
        yield
    except DaxImageError:
        raise
    except (LookupError, ValueError, ArithmeticError) as error:
        raise InternalError(f"{action} failed: {type(error).__name__}: {error}") from error
