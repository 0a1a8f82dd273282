"""Settings of the documentation.  Nothing here needs the network."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference_pages

project = "lsst.dax.image"
author = "The authors of lsst-dax-image"
version = release = importlib.metadata.version("lsst-dax-image")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode", "numpydoc"]
exclude_patterns = ["_build", "changes/*"]
default_role = "py:obj"
html_theme = "alabaster"
html_theme_options = {"description": "Rubin image pixels on demand", "page_width": "1100px"}

autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
# Names in a signature are spelled as in the source, not expanded to unions.
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
# autodoc lists the members of a class itself, with their docstrings.
numpydoc_show_class_members = False

# The rooms are those that exist; their pages are written before each build.
reference_pages.write(Path(__file__).parent / "reference")
