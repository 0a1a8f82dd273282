"""Virtual coadds: made on demand from a recipe, for a region, and never stored."""

from ._grid_from_butler import *
from ._inputs_from_butler import *
from .cell_psf import *
from .chi_squared import *
from .combination import *
from .noise import *
from .proper import *
from .psf_matching import *
from .ready_made import *
from .recipe import *
from .rules import *
from .selection import *
from .selection_rules import *
from .warp import *
