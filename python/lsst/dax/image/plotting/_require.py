"""Tell a user clearly that an optional package is missing."""

from __future__ import annotations

__all__ = ("require_package",)

import importlib

from ..errors import RequestError


def require_package(package: str) -> None:
    """Check that a package of the extra ``plot`` can be imported.

    Parameters
    ----------
    package
        Import name of the package.

    Raises
    ------
    RequestError
        Raised if the package is not installed.
    """
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise RequestError(
            f"Pictures need the package {package!r}, which is not installed; "
            f"install the extra 'plot': pip install 'lsst-dax-image[plot]'."
        ) from error
