"""Virtual coadds: made on demand from a recipe, for a region, and never stored."""

from .rules import *
from .warp import *
