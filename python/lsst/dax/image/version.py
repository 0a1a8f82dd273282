"""Version of the installed distribution."""

import importlib.metadata

__all__ = ("__version__",)

__version__ = importlib.metadata.version("lsst-dax-image")
