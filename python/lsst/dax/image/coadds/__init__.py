"""Virtual coadds: made on demand from a recipe, for a region, and never stored."""

from .cell_psf import *
from .noise import *
from .psf_matching import *
from .rules import *
from .warp import *
