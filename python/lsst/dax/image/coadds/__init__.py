"""Virtual coadds: made on demand from a recipe, for a region, and never stored."""

from ._from_butler import *
from ._grid_from_butler import *
from ._inputs_from_butler import *
from .artifacts import *
from .cell_psf import *
from .chi_squared import *
from .coadd import *
from .combination import *
from .making import *
from .noise import *
from .proper import *
from .psf_matching import *
from .reading import *
from .ready_made import *
from .recipe import *
from .record import *
from .rules import *
from .selection import *
from .selection_rules import *
from .warp import *
