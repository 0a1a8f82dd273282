"""Many images on one pixel grid.

`make_mosaic` works on images in memory; `fetch_mosaic` reads what it needs of
datasets in a repository; `write_mosaic` makes a mosaic of any size, tile by
tile, into a file.
"""

from ._mosaic import *
from .grid import *
from .rules import *
