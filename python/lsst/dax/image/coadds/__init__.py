"""Virtual coadds: made on demand from a recipe, for a region, and never stored."""

from .cell_psf import *
from .rules import *
from .warp import *
