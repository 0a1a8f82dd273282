"""Many images on one pixel grid.

`make_mosaic` works on images in memory; `fetch_mosaic` reads what it needs of
datasets in a repository; `write_mosaic` makes a mosaic of any size, tile by
tile, into a file.  `find_mosaic_grid` finds a grid for them.
`make_mosaic_psf` and `fetch_mosaic_psf` return the PSF of a mosaic.
"""

from ._from_butler import *
from ._mosaic import *
from ._preview import *
from ._stream_from_butler import *
from .grid import *
from .psf import *
from .rules import *
