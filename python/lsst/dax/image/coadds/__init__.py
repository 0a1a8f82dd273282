"""Virtual coadds: made on demand from a recipe, for a region, and never stored."""

from .cell_psf import *
from .chi_squared import *
from .noise import *
from .proper import *
from .psf_matching import *
from .rules import *
from .warp import *
